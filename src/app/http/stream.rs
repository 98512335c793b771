//! The answers that last as long as a client listens: events, and the live picture.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};

use super::encoder::{BOUNDARY, boundary};
use super::error::{ApiError, Failure};
use super::reply::Prediction;
use super::web::{Message, Picture, Web};
use crate::session::live::LiveEvent;

/// The most viewers of the live picture at once.
const MOST_VIEWERS: usize = 128;
/// The time without an event after which a line is sent that keeps the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What happens, as server-sent events.
///
/// The events are `prediction` (the newest answer; older ones are skipped if the reader is slow),
/// `learning` (`engine`, `task_started`, `narrowed`, `trained`, `cut_short`, `candidate_failed`,
/// `consolidated`, `frame_rejected`), `changed` (`labels`, `samples` or `versions` have changed:
/// read them again), `source`, `backbone`, and `missed` (the number of messages that were skipped).
#[utoipa::path(get, path = "/api/v1/events", tag = "live", responses(
    (status = 200, description = "a stream without end", content_type = "text/event-stream", body = String)
))]
pub(super) async fn events(
    State(web): State<Arc<Web>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let seen = WatchStream::new(web.seen.subscribe()).filter_map(|seen| {
        let prediction = serde_json::to_value(Prediction::of(seen?.as_ref())).ok()?;
        Some(Some(("prediction", prediction)))
    });
    let messages = BroadcastStream::new(web.messages.subscribe()).filter_map(|message| match message {
        Ok(Message::Event(event)) => named(&event).map(Some),
        Ok(Message::End) => Some(None),
        Err(BroadcastStreamRecvError::Lagged(number)) => {
            Some(Some(("missed", json!({ "messages": number }))))
        }
    });
    let all = seen.merge(messages).map_while(|message: Option<(&str, Value)>| message);
    let stream = all.map(|(name, data)| Ok(Event::default().event(name).data(data.to_string())));
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn named(event: &LiveEvent) -> Option<(&'static str, Value)> {
    match event {
        LiveEvent::Learner(event) => Some(("learning", serde_json::to_value(event).ok()?)),
        LiveEvent::Changed(what) => Some(("changed", json!({ "what": what }))),
        LiveEvent::Source(state) => Some(("source", serde_json::to_value(state).ok()?)),
        LiveEvent::Backbone(state) => Some(("backbone", serde_json::to_value(state).ok()?)),
        LiveEvent::Broken(breakdown) => Some(("broken", serde_json::to_value(breakdown).ok()?)),
        LiveEvent::Answered(_) => None,
    }
}

/// The live picture as motion JPEG; a slow viewer skips frames.
#[utoipa::path(get, path = "/api/v1/stream.mjpeg", tag = "live", responses(
    (status = 200, description = "a stream without end",
        content_type = "multipart/x-mixed-replace; boundary=kaizen-frame", body = Vec<u8>),
    (status = 429, description = "too many are watching", body = Failure)
))]
pub(super) async fn picture(State(web): State<Arc<Web>>) -> Result<Response, ApiError> {
    if web.viewers() >= MOST_VIEWERS {
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many are watching the live picture"));
    }
    let pictures = WatchStream::from_changes(web.pictures.subscribe());
    web.watched.notify_one();
    let parts = pictures.map_while(|picture| match picture {
        Picture::Part(part) => Some(Ok::<Bytes, Infallible>(part)),
        Picture::Nothing => Some(Ok(Bytes::new())),
        Picture::End => None,
    });
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store".to_owned())];
    let first = tokio_stream::once(Ok(Bytes::from(boundary())));
    Ok((headers, Body::from_stream(first.chain(parts))).into_response())
}
