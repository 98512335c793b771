//! Figures for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::error::ApiError;
use super::web::{Facts, Web};
use crate::memory::Counts;
use crate::session::live::LiveStatus;

type Labels = Vec<(&'static str, String)>;

/// Figures in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)
))]
pub(super) async fn metrics(State(web): State<Arc<Web>>) -> Result<Response, ApiError> {
    let (bytes, counts) = web.read(|memory| Ok((memory.bytes()?, memory.counts()?))).await?;
    let viewers = (web.viewers(), web.pictures_encoded());
    let registry = registry(&web.facts, &web.live.status(), (bytes, counts), viewers);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|e| ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn registry(
    facts: &Facts,
    live: &LiveStatus,
    (bytes, counts): (u64, Counts),
    (viewers, encoded): (usize, u64),
) -> Registry {
    let mut registry = Registry::with_prefix("kaizen");
    let labels: Labels = vec![
        ("version", facts.version.to_owned()),
        ("engine", facts.engine.clone()),
        ("provider", live.provider.clone()),
        ("model", facts.model.clone()),
    ];
    registry.register("build", "What runs", Info::new(labels));
    for (name, help, value) in [
        ("frames", "Frames answered", live.frames),
        ("frames_dropped", "Frames that a newer one replaced before they were looked at", live.dropped),
        ("frames_rejected", "Frames that could not be used", live.rejected),
        ("frames_kept", "Unlabelled frames stored", live.kept),
        ("frames_not_kept", "Unlabelled frames that found no room in the queue", live.not_kept),
        ("pictures_encoded", "Pictures encoded for the live stream", encoded),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let latency = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (quantile, millis) in [("0.5", live.latency_p50_millis), ("0.99", live.latency_p99_millis)] {
        latency.get_or_create(&vec![("quantile", quantile.to_owned())]).set(millis / 1e3);
    }
    let help = "From a frame's arrival to its answer, of the last 512";
    registry.register_with_unit("prediction_latency", help, Unit::Seconds, latency);
    registry.register("frame_rate_hz", "Answers a second", ConstGauge::new(live.frames_per_sec));
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float in this format")]
    for (name, help, value) in [
        ("state_bytes", "Bytes of the state on disk", bytes as f64),
        (
            "state_quota_bytes",
            "Bytes the state may take; 0 without a quota",
            facts.quota_bytes.unwrap_or(0) as f64,
        ),
        ("classes", "Classes that some sample is labelled with", counts.classes as f64),
        ("samples_labelled", "Labelled samples kept", (counts.training + counts.held_out) as f64),
        ("samples_unlabelled", "Unlabelled samples kept", counts.unlabelled as f64),
        ("versions", "Versions of the heads", counts.versions as f64),
        ("jobs_pending", "Jobs that wait for the learning thread or are being done", live.pending as f64),
        ("learning", "1 while a consolidation runs", f64::from(u8::from(live.learning.is_some()))),
        ("viewers", "Clients that watch the live picture", viewers as f64),
        ("newest_frame_age_seconds", "Seconds since the source gave a frame", live.frame_age_secs),
        ("uptime_seconds", "Seconds since the start", live.uptime_secs),
    ] {
        registry.register(name, help, ConstGauge::new(value));
    }
    registry
}
