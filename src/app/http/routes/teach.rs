//! The handlers that give frames a name.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::class_name::class_name;
use crate::app::http::error::{ApiError, Failure};
use crate::app::http::reply::{Acknowledged, Lesson, Name};
use crate::app::http::web::Web;
use crate::ids::SampleId;
use crate::session::live::{BackboneState, Busy, LearnWorker, MOST_RECENT};
use crate::vision::decode;

/// The most pixels of a picture that is sent: more than any camera's frame has.
const MOST_PIXELS: u64 = 16_000_000;

/// Teaches the frames seen last. Durable when answered; `POST /api/v1/learn` then learns it.
#[utoipa::path(post, path = "/api/v1/teach", tag = "teaching", request_body = Lesson, responses(
    (status = 200, body = Acknowledged),
    (status = 409, description = "no frame was seen yet", body = Failure),
    (status = 400, description = "a body that is no JSON", body = Failure),
    (status = 415, description = "another content type than JSON", body = Failure),
    (status = 422, description = "a name or number out of range", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn teach(
    State(web): State<Arc<Web>>,
    Json(Lesson { name, frames }): Json<Lesson>,
) -> Result<Json<Acknowledged>, ApiError> {
    let name = class_name(&name)?;
    if !(1..=MOST_RECENT).contains(&frames) {
        return Err(ApiError::invalid(format!("frames is {frames}: allowed is 1 to {MOST_RECENT}")));
    }
    let frames = web.live.recent(frames);
    if frames.is_empty() {
        return Err(match web.live.status().backbone {
            BackboneState::Ready => {
                ApiError::new(StatusCode::CONFLICT, "no frame was seen yet: wait for the source")
            }
            BackboneState::Building | BackboneState::Failed { .. } => ApiError::busy(Busy::Building),
        });
    }
    let class = name.clone();
    let taught = web.job("a lesson of frames", move |worker| worker.teach(&name, &frames)).await?;
    Ok(Json(Acknowledged::new(class, &taught.labels, taught.duplicates)))
}

/// Teaches a picture: a JPEG or PNG as the body, at most 8 MiB and 16 million pixels.
#[utoipa::path(post, path = "/api/v1/teach/image", tag = "teaching", params(
    ("name" = String, Query, description = "name of the class, at most 64 characters")
), request_body(content = Vec<u8>, content_type = "image/jpeg"), responses(
    (status = 200, body = Acknowledged),
    (status = 400, description = "no name", body = Failure),
    (status = 413, description = "too many bytes", body = Failure),
    (status = 422, description = "not a JPEG or PNG, or too large, or a name out of range", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn teach_image(
    State(web): State<Arc<Web>>,
    Query(Name { name }): Query<Name>,
    picture: Bytes,
) -> Result<Json<Acknowledged>, ApiError> {
    let name = class_name(&name)?;
    let class = name.clone();
    let teach = move |worker: &mut LearnWorker| {
        worker.teach_picture(&name, &decode(&picture, "sent picture", MOST_PIXELS)?)
    };
    let taught = web.job("a picture", teach).await?;
    Ok(Json(Acknowledged::new(class, &taught.labels, taught.duplicates)))
}

/// Gives a stored sample a name.
#[utoipa::path(post, path = "/api/v1/samples/{sample}/label", tag = "teaching", params(
    ("sample" = i64, Path, description = "the sample")
), request_body = Name, responses(
    (status = 200, body = Acknowledged),
    (status = 400, description = "no number, or a body that is no JSON", body = Failure),
    (status = 415, description = "another content type than JSON", body = Failure),
    (status = 404, description = "no such sample", body = Failure),
    (status = 422, description = "a name out of range", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn label(
    State(web): State<Arc<Web>>,
    Path(sample): Path<i64>,
    Json(Name { name }): Json<Name>,
) -> Result<Json<Acknowledged>, ApiError> {
    let name = class_name(&name)?;
    let class = name.clone();
    let label = web.job("a label", move |worker| worker.label(SampleId(sample), &name)).await?;
    Ok(Json(Acknowledged::new(class, &[label], 0)))
}
