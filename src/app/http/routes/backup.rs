//! The handler that copies the state.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::app::http::error::{ApiError, Failure};
use crate::app::http::reply::Backup;
use crate::app::http::web::Web;

/// Copies the state into the folder of `--backup-folder`, verified, beside whatever writes it. The
/// newest seven copies are kept.
#[utoipa::path(post, path = "/api/v1/backup", tag = "operations", responses(
    (status = 200, body = Backup),
    (status = 404, description = "no folder is configured", body = Failure),
    (status = 409, description = "another copy is being made", body = Failure),
    (status = 422, description = "the folder is not there", body = Failure),
    (status = 429, description = "too many changes at once", body = Failure),
    (status = 500, description = "the state is damaged", body = Failure),
    (status = 507, description = "no room for it", body = Failure)
))]
pub(crate) async fn backup(State(web): State<Arc<Web>>) -> Result<Json<Backup>, ApiError> {
    if web.copies.is_none() {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no folder for copies is configured: start with --backup-folder DIR",
        ));
    }
    let report = tokio::task::spawn_blocking(move || web.copies.as_ref().map(|copies| copies.make())).await;
    match report {
        Ok(Some(report)) => Ok(Json(Backup::of(&report?))),
        Ok(None) | Err(_) => Err(ApiError::stopping()),
    }
}
