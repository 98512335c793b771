//! Names for frames.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;

use super::super::error::{ApiError, Failure};
use super::super::reply::{Acknowledged, Lesson, Name};
use super::super::web::Web;
use super::class_name;
use crate::ids::SampleId;
use crate::session::live::{BackboneState, Busy, MOST_RECENT};
use crate::vision::decode;

/// Pixels of a picture that is sent: more than any camera's frame.
const MOST_PIXELS: u64 = 16_000_000;
/// Its bytes.
const MOST_BYTES: usize = 8 << 20;

/// Teaches the frames seen last. Durable when answered; `POST /api/v1/learn` then learns it.
#[utoipa::path(post, path = "/api/v1/teach", tag = "teaching", request_body = Lesson, responses(
    (status = 200, body = Acknowledged),
    (status = 409, description = "no frame was seen yet", body = Failure),
    (status = 400, description = "a body that is no JSON", body = Failure),
    (status = 415, description = "another content type than JSON", body = Failure),
    (status = 422, description = "a name or number out of range", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(in super::super) async fn teach(
    State(web): State<Arc<Web>>,
    lesson: Result<Json<Lesson>, JsonRejection>,
) -> Result<Json<Acknowledged>, ApiError> {
    let Json(Lesson { name, frames }) = lesson?;
    let name = class_name(&name)?;
    if !(1..=MOST_RECENT).contains(&frames) {
        let why = format!("frames is {frames}: allowed is 1 to {MOST_RECENT}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why));
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
    Ok(Json(Acknowledged::taught(class, &taught)))
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
pub(in super::super) async fn teach_image(
    State(web): State<Arc<Web>>,
    name: Result<Query<Name>, QueryRejection>,
    picture: Result<Picture, ApiError>,
) -> Result<Json<Acknowledged>, ApiError> {
    let Query(Name { name }) = name?;
    let name = class_name(&name)?;
    let Picture(bytes) = picture?;
    let class = name.clone();
    let teach = move |worker: &mut crate::session::live::LearnWorker| {
        let frame = decode(&bytes, "sent picture", MOST_PIXELS)?;
        worker.teach_picture(&name, &frame)
    };
    let taught = web.job("a picture", teach).await?;
    Ok(Json(Acknowledged::taught(class, &taught)))
}

/// A body with room for a picture.
pub(in super::super) struct Picture(Bytes);

impl<S: Send + Sync> axum::extract::FromRequest<S> for Picture {
    type Rejection = ApiError;

    async fn from_request(mut request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        DefaultBodyLimit::max(MOST_BYTES).apply(&mut request);
        let bytes: Result<Bytes, BytesRejection> = Bytes::from_request(request, state).await;
        Ok(Self(bytes?))
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
pub(in super::super) async fn label(
    State(web): State<Arc<Web>>,
    sample: Result<Path<i64>, PathRejection>,
    name: Result<Json<Name>, JsonRejection>,
) -> Result<Json<Acknowledged>, ApiError> {
    let (Path(sample), Json(Name { name })) = (sample?, name?);
    let name = class_name(&name)?;
    let class = name.clone();
    let label = web.job("a label", move |worker| worker.label(SampleId(sample), &name)).await?;
    Ok(Json(Acknowledged::new(class, &[label], 0)))
}
