//! The handlers for samples that have no name yet.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::class_name::class_name;
use crate::app::http::error::{ApiError, Failure};
use crate::app::http::reply::{Acknowledged, Name, Suggestions, UnknownCluster, UnknownFrames};
use crate::app::http::web::Web;
use crate::ids::SampleId;
use crate::session;

/// The most clusters that are shown.
const MOST_CLUSTERS: usize = 12;
/// The least number of frames that are shown as a cluster.
const SMALLEST_CLUSTER: usize = 2;
const MOST_SUGGESTIONS: usize = 12;

/// Clusters of frames that are unlike everything learned.
#[utoipa::path(get, path = "/api/v1/unknowns", tag = "teaching", responses((status = 200, body = UnknownFrames)))]
pub(crate) async fn unknowns(State(web): State<Arc<Web>>) -> Result<Response, ApiError> {
    let head = web.live.published_head();
    let read = web.read_once("unknowns".to_owned(), move |memory| {
        let Some(head) = head else { return Ok(UnknownFrames::default()) };
        let found = session::unknowns(memory, &head)?;
        let large = found.clusters.iter().filter(|cluster| cluster.samples.len() >= SMALLEST_CLUSTER);
        Ok(UnknownFrames {
            clusters: large.take(MOST_CLUSTERS).map(UnknownCluster::of).collect(),
            unknown: found.unknown,
            unlabelled: found.unlabelled,
        })
    });
    read.await
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
pub(crate) async fn name_cluster(
    State(web): State<Arc<Web>>,
    Path(cluster): Path<i64>,
    Json(Name { name }): Json<Name>,
) -> Result<Json<Acknowledged>, ApiError> {
    let name = class_name(&name)?;
    let class = name.clone();
    let job = web.job("a name for a cluster", move |worker| worker.name_cluster(SampleId(cluster), &name));
    Ok(Json(Acknowledged::new(class, &job.await?, 0)))
}

/// Stored frames whose label would tell most.
#[utoipa::path(get, path = "/api/v1/suggestions", tag = "teaching", responses((status = 200, body = Suggestions)))]
pub(crate) async fn suggestions(State(web): State<Arc<Web>>) -> Result<Response, ApiError> {
    let head = web.live.published_head();
    let read = web.read_once("suggestions".to_owned(), move |memory| {
        let Some(head) = head else { return Ok(Suggestions::default()) };
        Ok(Suggestions { suggestions: session::suggestions(memory, &head, MOST_SUGGESTIONS)? })
    });
    read.await
}

/// A small picture of a stored sample.
#[utoipa::path(get, path = "/api/v1/samples/{sample}/thumbnail", tag = "teaching", params(
    ("sample" = i64, Path, description = "the sample")
), responses(
    (status = 200, content_type = "image/jpeg", body = Vec<u8>),
    (status = 400, description = "no number", body = Failure),
    (status = 404, description = "no such sample, or one without a picture", body = Failure)
))]
pub(crate) async fn thumbnail(
    State(web): State<Arc<Web>>,
    Path(sample): Path<i64>,
) -> Result<Response, ApiError> {
    let jpeg = web.read(move |memory| memory.thumbnail(SampleId(sample))).await?;
    let jpeg = jpeg.ok_or_else(|| ApiError::not_found("this picture"))?;
    // A class that is forgotten is not to be found in a browser's cache either.
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, jpeg).into_response())
}
