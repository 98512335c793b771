//! What the handlers share: the live loop, a reader of the state, channels to streams, limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use utoipa::ToSchema;

use super::access::Access;
use super::error::ApiError;
use super::rate::Bucket;
use crate::memory::Memory;
use crate::session::live::{AnsweredFrame, LearnWorker, Live, LiveEvent};

/// Messages that a slow reader of events may be behind; then it is told how many it missed.
const QUEUED_MESSAGES: usize = 128;
/// Changes a second that are let through, and at once.
const WRITES: (f64, f64) = (20.0, 60.0);

/// What does not change while it runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app) struct Facts {
    /// Version of the program.
    pub(in crate::app) version: &'static str,
    /// Who trains, on what.
    pub(in crate::app) engine: String,
    /// Who runs the backbone, and why.
    pub(in crate::app) provider: String,
    /// The backbone.
    pub(in crate::app) model: String,
    /// How much of the machine learning takes.
    pub(in crate::app) power: &'static str,
    /// The state file.
    pub(in crate::app) state: String,
    /// Bytes that the state may take; none if it was not set.
    pub(in crate::app) quota_bytes: Option<u64>,
}

/// What a stream of events carries besides predictions.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Event(LiveEvent),
    End,
}

/// The newest picture of the live stream.
#[derive(Clone, Debug)]
pub(super) enum Picture {
    Nothing,
    Part(Bytes),
    End,
}

/// Channels from the live loop, made before it.
pub(in crate::app) struct Channels {
    seen: watch::Sender<Option<Arc<AnsweredFrame>>>,
    messages: broadcast::Sender<Message>,
}

impl Channels {
    pub(in crate::app) fn new() -> Self {
        Self { seen: watch::Sender::new(None), messages: broadcast::Sender::new(QUEUED_MESSAGES) }
    }

    /// A copy to give to the live loop. Never waits: a newer frame takes the place of the last.
    pub(in crate::app) fn sender(&self) -> impl Fn(LiveEvent) + Send + Sync + use<> {
        let (seen, messages) = (self.seen.clone(), self.messages.clone());
        move |event| match event {
            LiveEvent::Answered(frame) => {
                seen.send_replace(Some(frame));
            }
            // Without a reader there is nobody to tell.
            other => drop(messages.send(Message::Event(other))),
        }
    }
}

pub(in crate::app) struct Web {
    pub(super) live: Live,
    pub(super) facts: Facts,
    pub(super) access: Access,
    pub(super) seen: watch::Sender<Option<Arc<AnsweredFrame>>>,
    pub(super) messages: broadcast::Sender<Message>,
    pub(super) pictures: watch::Sender<Picture>,
    /// Somebody began to watch.
    pub(super) watched: Notify,
    pub(super) encoded: AtomicU64,
    pub(super) writes: Bucket,
    reader: Mutex<Memory>,
}

impl Web {
    pub(in crate::app) fn new(
        live: Live,
        reader: Memory,
        channels: Channels,
        facts: Facts,
        access: Access,
    ) -> Self {
        Self {
            live,
            facts,
            access,
            seen: channels.seen,
            messages: channels.messages,
            pictures: watch::Sender::new(Picture::Nothing),
            watched: Notify::new(),
            encoded: AtomicU64::new(0),
            writes: Bucket::new(WRITES),
            reader: Mutex::new(reader),
        }
    }

    /// Stops the live loop; gives what was queued and not done.
    pub(in crate::app) fn stop(&self) -> Vec<&'static str> {
        self.live.stop()
    }

    /// Has the learning thread do `work` and waits for it. The work is done also if nobody waits any more.
    pub(super) async fn job<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut LearnWorker) -> crate::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (done, result) = oneshot::channel();
        let job = move |worker: &mut LearnWorker| drop(done.send(work(worker)));
        self.live.submit(what, job).map_err(ApiError::busy)?;
        result.await.map_err(|_| ApiError::stopping())?.map_err(ApiError::from)
    }

    /// Reads the state on a thread of its own; sees the last acknowledged change.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Memory) -> crate::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let web = self.clone();
        let read = move || work(&web.reader.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(read).await.map_err(|_| ApiError::stopping())?.map_err(ApiError::from)
    }

    /// Ends every stream, so that their connections can close.
    pub(super) fn end_streams(&self) {
        let _ = self.messages.send(Message::End);
        self.pictures.send_replace(Picture::End);
    }

    pub(super) fn viewers(&self) -> usize {
        self.pictures.receiver_count()
    }

    pub(super) fn pictures_encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }
}
