//! The handlers that give frames a name.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::class_name::class_name;
use crate::app::http::error::{ApiError, Failure};
use crate::app::http::reply::{Acknowledged, Lesson, Name};
use crate::app::http::web::Web;
use crate::ids::SampleId;
use crate::session::live::{BackboneState, Busy, LearnWorker, MOST_RECENT};
use crate::vision::decode;

/// The path that a picture is sent to.
pub(crate) const TEACH_IMAGE: &str = "/api/v1/teach/image";
/// The most bytes of a picture that is sent.
pub(crate) const MOST_PICTURE_BYTES: usize = 8 << 20;
/// The most pixels of a picture that is sent: more than any camera's frame has.
const MOST_PIXELS: u64 = 16_000_000;
/// The most bytes that decoding takes for a pixel.
const DECODING_BYTES: u64 = 9;
/// The part of a memory limit that decoding may take: nothing is learned meanwhile.
const DECODING_SHARE: u64 = 3;
/// The longest that a picture may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let held = frames.iter().map(|answered| answered.frame.rgb.len()).sum();
    let lesson = move |worker: &mut LearnWorker| worker.teach(&name, &frames);
    let taught = web.job_holding(held, "a lesson of frames", lesson).await?;
    Ok(Json(Acknowledged::new(class, &taught.labels, taught.duplicates)))
}

/// Teaches a picture: a JPEG or PNG as the body, at most 8 MiB and 16 million pixels.
#[utoipa::path(post, path = "/api/v1/teach/image", tag = "teaching", params(
    ("name" = String, Query, description = "name of the class, at most 64 characters")
), request_body(content = Vec<u8>, content_type = "image/jpeg"), responses(
    (status = 200, body = Acknowledged),
    (status = 400, description = "no name", body = Failure),
    (status = 408, description = "the picture took too long to come", body = Failure),
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
    let (held, most) = (picture.len(), most_pixels(web.facts.memory_limit_megabytes));
    let teach =
        move |worker: &mut LearnWorker| worker.teach_picture(&name, &decode(&picture, "sent picture", most)?);
    let taught = web.job_holding(held, "a picture", teach).await?;
    Ok(Json(Acknowledged::new(class, &taught.labels, taught.duplicates)))
}

/// The most pixels of a picture that is sent, under a memory limit.
fn most_pixels(memory_limit_megabytes: Option<u64>) -> u64 {
    let of_limit = |megabytes: u64| megabytes * 1_000_000 / DECODING_SHARE / DECODING_BYTES;
    memory_limit_megabytes.map_or(MOST_PIXELS, |megabytes| of_limit(megabytes).min(MOST_PIXELS))
}

/// Receives the picture of a request, a few at a time and none for ever: what is being received is
/// in memory, and nothing else bounds it.
pub(crate) async fn receive(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let Ok(_place) = web.pictures_received.try_acquire() else {
        return ApiError::busy(Busy::Full).into_response();
    };
    let (head, body) = request.into_parts();
    match timeout(PATIENCE, to_bytes(body, MOST_PICTURE_BYTES)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(_)) => {
            let why = format!("the picture has more than {MOST_PICTURE_BYTES} bytes, or broke off");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, why).into_response()
        }
        Err(_) => {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "the picture took too long to come").into_response()
        }
    }
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
