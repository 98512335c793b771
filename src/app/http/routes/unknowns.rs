//! What nobody has named yet.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::super::error::{ApiError, Failure};
use super::super::reply::{Acknowledged, Name, Strangers, Suggestions, UnknownCluster};
use super::super::web::Web;
use super::class_name;
use crate::ids::SampleId;
use crate::session;

/// Clusters that are shown.
const MOST_CLUSTERS: usize = 12;
/// A single frame is no cluster to a person.
const SMALLEST_CLUSTER: usize = 2;
const MOST_SUGGESTIONS: usize = 12;

/// Clusters of frames that are unlike everything learned.
#[utoipa::path(get, path = "/api/v1/unknowns", tag = "teaching", responses((status = 200, body = Strangers)))]
pub(in super::super) async fn unknowns(State(web): State<Arc<Web>>) -> Result<Json<Strangers>, ApiError> {
    let Some(head) = web.live.published_head() else { return Ok(Json(Strangers::default())) };
    let found = web.read(move |memory| session::unknowns(memory, &head)).await?;
    let large = found.clusters.iter().filter(|cluster| cluster.samples.len() >= SMALLEST_CLUSTER);
    Ok(Json(Strangers {
        clusters: large.take(MOST_CLUSTERS).map(UnknownCluster::of).collect(),
        unknown: found.unknown,
        unlabelled: found.unlabelled,
    }))
}

/// Names every frame of a cluster.
#[utoipa::path(post, path = "/api/v1/unknowns/{cluster}", tag = "teaching", params(
    ("cluster" = i64, Path, description = "a sample of the cluster")
), request_body = Name, responses(
    (status = 200, body = Acknowledged),
    (status = 400, description = "no number, or a body that is no JSON", body = Failure),
    (status = 415, description = "another content type than JSON", body = Failure),
    (status = 404, description = "no such cluster", body = Failure),
    (status = 422, description = "a name out of range", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(in super::super) async fn name_cluster(
    State(web): State<Arc<Web>>,
    cluster: Result<Path<i64>, PathRejection>,
    name: Result<Json<Name>, JsonRejection>,
) -> Result<Json<Acknowledged>, ApiError> {
    let (Path(cluster), Json(Name { name })) = (cluster?, name?);
    let name = class_name(&name)?;
    let class = name.clone();
    let job = web.job("a name for a cluster", move |worker| worker.name_cluster(SampleId(cluster), &name));
    Ok(Json(Acknowledged::new(class, &job.await?, 0)))
}

/// Stored frames whose label would tell most.
#[utoipa::path(get, path = "/api/v1/suggestions", tag = "teaching", responses((status = 200, body = Suggestions)))]
pub(in super::super) async fn suggestions(
    State(web): State<Arc<Web>>,
) -> Result<Json<Suggestions>, ApiError> {
    let Some(head) = web.live.published_head() else {
        return Ok(Json(Suggestions { suggestions: Vec::new() }));
    };
    let read = web.read(move |memory| session::suggestions(memory, &head, MOST_SUGGESTIONS));
    Ok(Json(Suggestions { suggestions: read.await? }))
}

/// A small picture of a stored sample.
#[utoipa::path(get, path = "/api/v1/samples/{sample}/thumbnail", tag = "teaching", params(
    ("sample" = i64, Path, description = "the sample")
), responses(
    (status = 200, content_type = "image/jpeg", body = Vec<u8>),
    (status = 400, description = "no number", body = Failure),
    (status = 404, description = "no such sample, or one without a picture", body = Failure)
))]
pub(in super::super) async fn thumbnail(
    State(web): State<Arc<Web>>,
    sample: Result<Path<i64>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(sample) = sample?;
    let jpeg = web.read(move |memory| memory.thumbnail(SampleId(sample))).await?;
    let jpeg = jpeg.ok_or_else(|| ApiError::not_found("this picture"))?;
    // A sample's picture never changes.
    let headers =
        [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=86400, immutable")];
    Ok((headers, jpeg).into_response())
}
