//! The handlers that learn, and that take back what was learned.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::class_name::class_name;
use crate::app::http::error::{ApiError, Failure};
use crate::app::http::reply::{Forgotten, Label, Labels, Queued, Record, RolledBack, TakenBack, Version};
use crate::app::http::web::Web;
use crate::memory::{LabelId, MostEntries, VersionId};
use crate::session::live::LearnWorker;

/// The labels that a part of the record names, unless it is asked for otherwise, and the most.
const LABELS_OF_A_PART: u32 = 200;
const MOST_LABELS: u32 = 1000;
/// The most versions that the record names.
const MOST_VERSIONS: u32 = 100;
/// The most labels that are taken back together.
const MOST_UNDONE: usize = 1000;

/// Learns what was taught since the last time, and what was seen. Answered at once; the outcome
/// comes as an event and in the versions.
#[utoipa::path(post, path = "/api/v1/learn", tag = "heads", responses(
    (status = 202, body = Queued),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn learn(State(web): State<Arc<Web>>) -> Result<(StatusCode, Json<Queued>), ApiError> {
    // The live loop tells its watcher what comes of it.
    let job = |worker: &mut LearnWorker| drop(worker.learn());
    web.live.submit_patient("learning", job).map_err(ApiError::busy)?;
    Ok((StatusCode::ACCEPTED, Json(Queued { pending: web.live.status().pending })))
}

/// A part of the record.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// The most labels that are named, 1 to 1000; 200 if it is not given.
    limit: Option<u32>,
    /// Only labels that are older than this one; the newest ones if it is not given.
    before: Option<i64>,
}

/// Labels that count, or those of them before a label, and versions of the heads, the newest first.
#[utoipa::path(get, path = "/api/v1/history", tag = "heads", params(Part), responses(
    (status = 200, body = Record),
    (status = 400, description = "no number", body = Failure),
    (status = 422, description = "a number out of range", body = Failure)
))]
pub(crate) async fn history(
    State(web): State<Arc<Web>>,
    Query(Part { limit, before }): Query<Part>,
) -> Result<Response, ApiError> {
    let labels = limit.unwrap_or(LABELS_OF_A_PART);
    if !(1..=MOST_LABELS).contains(&labels) {
        return Err(ApiError::invalid(format!("limit is {labels}: allowed is 1 to {MOST_LABELS}")));
    }
    let before = LabelId(before.unwrap_or(i64::MAX));
    let read = web.read_once(format!("history {labels} {}", before.0), move |memory| {
        let newest = memory.newest(before, MostEntries { labels, versions: MOST_VERSIONS })?;
        let labels = newest.labels.into_iter().map(|entry| Label {
            label: entry.label_id.0,
            class: entry.class_name,
            sample: entry.sample.map(|sample| sample.0),
            name: entry.sample_name,
            created_millis: entry.created_millis,
        });
        let versions = newest.versions.into_iter().map(|entry| Version::of(entry, newest.serving));
        Ok(Record {
            labels: labels.collect(),
            labels_in_all: newest.labels_in_all,
            versions: versions.collect(),
        })
    });
    read.await
}

/// Takes labels back, exactly; what was learned from them is learned anew without them.
#[utoipa::path(post, path = "/api/v1/undo", tag = "heads", request_body = Labels, responses(
    (status = 200, body = TakenBack),
    (status = 400, description = "a body that is no JSON", body = Failure),
    (status = 415, description = "another content type than JSON", body = Failure),
    (status = 404, description = "a label that does not count", body = Failure),
    (status = 422, description = "no label, or too many", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn undo(
    State(web): State<Arc<Web>>,
    Json(Labels { labels }): Json<Labels>,
) -> Result<Json<TakenBack>, ApiError> {
    if !(1..=MOST_UNDONE).contains(&labels.len()) {
        let why = format!("{} labels: allowed are 1 to {MOST_UNDONE} at once", labels.len());
        return Err(ApiError::invalid(why));
    }
    let labels: Vec<_> = labels.into_iter().map(LabelId).collect();
    let outcome = web.job("an undo", move |worker| worker.undo(&labels)).await?;
    Ok(Json(TakenBack { learned_anew: outcome.is_some() }))
}

/// Takes a published version back; the newest one left answers from then on.
#[utoipa::path(post, path = "/api/v1/versions/{version}/roll-back", tag = "heads", params(
    ("version" = i64, Path, description = "the version")
), responses(
    (status = 200, body = RolledBack),
    (status = 400, description = "no number", body = Failure),
    (status = 404, description = "not a published version", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn roll_back(
    State(web): State<Arc<Web>>,
    Path(version): Path<i64>,
) -> Result<Json<RolledBack>, ApiError> {
    let serving = web.job("a roll-back", move |worker| worker.roll_back(VersionId(version))).await?;
    Ok(Json(RolledBack { serving: serving.map(|version| version.0) }))
}

/// Erases a class and everything learned from it.
#[utoipa::path(delete, path = "/api/v1/classes/{name}", tag = "heads", params(
    ("name" = String, Path, description = "name of the class")
), responses(
    (status = 200, body = Forgotten),
    (status = 400, description = "no text", body = Failure),
    (status = 422, description = "no such class", body = Failure),
    (status = 429, description = "too much waits", body = Failure)
))]
pub(crate) async fn forget(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
) -> Result<Json<Forgotten>, ApiError> {
    let name = class_name(&name)?;
    let samples = web.job("forgetting a class", move |worker| worker.forget(&name)).await?;
    Ok(Json(Forgotten { samples }))
}
