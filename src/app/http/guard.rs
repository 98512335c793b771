//! The check of every request before a handler sees it, and the form of refusals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::error::ApiError;
use super::page;
use super::peers::Peer;
use super::routes::teach::TEACH_IMAGE;
use super::web::Web;

/// The most bytes of a request that is no picture.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// The longest that such a request's body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of a refusal that is put into words anew.
const LONGEST_REFUSAL: usize = 4096;

/// Checks each request against [`Access`](super::access::Access).
pub(super) async fn check(
    State(web): State<Arc<Web>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = Peer(web.access.peer(connected.ip(), request.headers()));
    request.extensions_mut().insert(peer);
    match verdict(&web, &request, peer) {
        Ok(()) if has_small_body(&request) => match received(request).await {
            Ok(request) => next.run(request).await,
            Err(refused) => refused.into_response(),
        },
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    }
}

/// Whether the body of a request is received here: that of a picture is received by its route.
fn has_small_body(request: &Request) -> bool {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    is_change && request.uri().path() != TEACH_IMAGE
}

/// The request with its whole body, which must come soon: whoever sends it slowly would hold the
/// connection.
async fn received(request: Request) -> Result<Request, ApiError> {
    let (head, body) = request.into_parts();
    match timeout(PATIENCE, to_bytes(body, MOST_BYTES)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
        Ok(Err(_)) => {
            let why = format!("the body has more than {MOST_BYTES} bytes, or broke off");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come")),
    }
}

#[allow(clippy::result_large_err, reason = "it is the answer itself, made once")]
fn verdict(web: &Web, request: &Request, Peer(peer): Peer) -> Result<(), Response> {
    let (headers, path) = (request.headers(), request.uri().path());
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refuse = |status, why: &str| Err(ApiError::new(status, why).into_response());
    let Some(host) = text(header::HOST).or_else(|| request.uri().host()) else {
        return refuse(StatusCode::BAD_REQUEST, "a Host is needed");
    };
    if !web.access.knows_host(host) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not served: use the address, or start with --allow-host NAME",
        );
    }
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // A page of another site can make a browser send requests here, also by a link or as a picture;
    // the browser then says where they come from.
    let from_elsewhere = text(header::ORIGIN).is_some_and(|origin| {
        let same = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        same != Some(host)
    });
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    let across = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if from_elsewhere || across {
        return refuse(StatusCode::FORBIDDEN, "requests from pages of other sites are refused");
    }
    if path == page::LOGIN {
        return Ok(());
    }
    if let Err(refusal) = web.access.admit(headers, peer) {
        let is_page = *request.method() == Method::GET && path == "/" && refusal.asks_for_a_token();
        return Err(if is_page { page::login() } else { refusal.into_response() });
    }
    if is_change && web.changes.check().is_err() {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many changes at once: wait a second");
    }
    Ok(())
}

/// Gives the refusals of the framework (a body that is no JSON, a path that is no number) the form
/// of all others.
pub(super) async fn reword(response: Response) -> Response {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/plain")));
    if !(response.status().is_client_error() && is_text) {
        return response;
    }
    let status = response.status();
    match to_bytes(response.into_body(), LONGEST_REFUSAL).await {
        Ok(bytes) => ApiError::new(status, String::from_utf8_lossy(&bytes)).into_response(),
        Err(error) => ApiError::new(status, error.to_string()).into_response(),
    }
}
