//! The handlers that tell what is going on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::http::error::{ApiError, Failure};
use crate::app::http::reply::{Class, MemoryUse, Prediction, Status};
use crate::app::http::web::{Facts, Web};

/// Frame rate, latency, engine, provider, state: everything about now.
#[utoipa::path(get, path = "/api/v1/status", tag = "live", responses((status = 200, body = Status)))]
pub(crate) async fn status(State(web): State<Arc<Web>>) -> Result<Json<Status>, ApiError> {
    let (bytes, counts) = web.read(|memory| Ok((memory.bytes()?, memory.counts()?))).await?;
    let prediction = web.seen.borrow().as_deref().map(Prediction::of);
    let live = web.live.status();
    Ok(Json(Status {
        facts: Facts { provider: live.provider.clone(), ..web.facts.clone() },
        live,
        prediction,
        memory: MemoryUse {
            bytes,
            quota_bytes: web.facts.quota_bytes,
            classes: counts.classes,
            labelled: counts.training + counts.held_out,
            unlabelled: counts.unlabelled,
            labels: counts.labels,
        },
        viewers: web.viewers(),
        pictures_encoded: web.pictures_encoded(),
    }))
}

/// Classes that were taught.
#[utoipa::path(get, path = "/api/v1/classes", tag = "teaching", responses((status = 200, body = Vec<Class>)))]
pub(crate) async fn classes(State(web): State<Arc<Web>>) -> Result<Json<Vec<Class>>, ApiError> {
    let learned = web.live.published_head();
    let classes = web.read(move |memory| {
        let samples = memory.samples_by_class()?;
        let classes = memory.classes()?.into_iter().map(|(id, name)| Class {
            name,
            samples: samples.get(&id).copied().unwrap_or(0),
            learned: learned.as_ref().is_some_and(|head| head.columns().contains(&id)),
        });
        Ok(classes.collect())
    });
    Ok(Json(classes.await?))
}

/// Whether frames are answered and can be taught: 200, or 503 with the reason.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses(
    (status = 200, description = "all is well"),
    (status = 503, description = "no frame comes, a thread is stuck, or the backbone failed", body = Failure)
))]
pub(crate) async fn health(State(web): State<Arc<Web>>) -> Result<Json<Value>, ApiError> {
    match web.live.health() {
        Ok(source) => Ok(Json(json!({ "healthy": true, "source": source }))),
        Err(reason) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason)),
    }
}
