//! The page and its parts, which are embedded: nothing is read from the disk, so no path leads
//! anywhere else.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use rust_embed::RustEmbed;
use serde::Deserialize;

use super::error::ApiError;
use super::peers::Peer;
use super::web::Web;

/// The path that the login form is sent to.
pub(super) const LOGIN: &str = "/login";
/// The content policy: everything comes from this server, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "src/app/http/page"]
struct Assets;

pub(super) async fn index() -> Response {
    asset("index.html")
}

pub(super) async fn part(Path(name): Path<String>) -> Response {
    asset(&name)
}

fn asset(name: &str) -> Response {
    match Assets::get(name) {
        Some(file) => {
            let kind = file.metadata.mimetype().to_owned();
            let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind };
            ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
        }
        None => ApiError::not_found("this part of the page").into_response(),
    }
}

/// The answer to a browser without the token.
pub(super) fn login() -> Response {
    let form = Assets::get("login.html").map(|file| file.data.into_owned()).unwrap_or_default();
    (StatusCode::UNAUTHORIZED, Html(form)).into_response()
}

#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

pub(super) async fn enter(
    State(web): State<Arc<Web>>,
    Extension(Peer(peer)): Extension<Peer>,
    Form(login): Form<Login>,
) -> Response {
    match web.access.cookie(&login.token, peer) {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Adds headers that keep a browser from doing more with an answer than it should.
pub(super) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let resource_policy = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (resource_policy, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
