//! The check of every request before a handler sees it, and the form of refusals.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::page;
use super::peers::Peer;
use super::web::Web;

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
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
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
        let is_page = *request.method() == Method::GET && path == "/";
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
