//! The routes. The router and the OpenAPI document are made from the same list.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::error::ApiError;
use super::guard::MOST_BYTES;
use super::routes::teach::MOST_PICTURE_BYTES;
use super::web::Web;
use super::{guard, metrics, page, routes as handlers, stream};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "kaizen", description = "A camera that learns on the device. Accuracies and probabilities are in 0..1."),
    tags(
        (name = "live", description = "what is seen now"),
        (name = "teaching", description = "names for frames"),
        (name = "heads", description = "learning, and taking it back"),
        (name = "operations", description = "for machines that watch this one")
    )
)]
struct Document;

/// The router and its document.
pub(super) fn router(web: &Arc<Web>) -> (Router, OpenApi) {
    let (api, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(handlers::status::status))
        .routes(routes!(handlers::status::classes))
        .routes(routes!(handlers::status::health))
        .routes(routes!(stream::events))
        .routes(routes!(stream::picture))
        .routes(routes!(handlers::teach::teach))
        .routes(
            routes!(handlers::teach::teach_image)
                .layer(DefaultBodyLimit::max(MOST_PICTURE_BYTES))
                .layer(middleware::from_fn_with_state(web.clone(), handlers::teach::receive)),
        )
        .routes(routes!(handlers::teach::label))
        .routes(routes!(handlers::unknowns::unknowns))
        .routes(routes!(handlers::unknowns::name_cluster))
        .routes(routes!(handlers::unknowns::suggestions))
        .routes(routes!(handlers::unknowns::thumbnail))
        .routes(routes!(handlers::heads::learn))
        .routes(routes!(handlers::heads::history))
        .routes(routes!(handlers::heads::undo))
        .routes(routes!(handlers::heads::roll_back))
        .routes(routes!(handlers::heads::forget))
        .routes(routes!(handlers::backup::backup))
        .routes(routes!(metrics::metrics))
        .split_for_parts();
    describe(&mut document);
    let published = document.clone();
    let router = api
        .route("/api/v1/openapi.json", get(async move || Json(published)))
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::part))
        .route(page::LOGIN, post(page::enter))
        .fallback(async || ApiError::not_found("this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "this path has no such method")
        })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(middleware::map_response(guard::reword))
        .layer(middleware::from_fn_with_state(web.clone(), guard::check))
        .layer(middleware::map_response(page::harden))
        .with_state(web.clone());
    (router, document)
}

/// Adds to the document what holds for every route.
fn describe(document: &mut OpenApi) {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", bearer);
}
