//! The objects that the handlers share: the live loop, a reader of the state, channels to streams,
//! limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot, watch};
use utoipa::ToSchema;

use super::access::Access;
use super::copies::Copies;
use super::error::ApiError;
use super::limiter::{Limiter, limiter};
use super::shared_reads::SharedReads;
use crate::memory::Memory;
use crate::session::live::{AnsweredFrame, LearnWorker, Live, LiveEvent};

/// The most messages that a slow reader of events may be behind; then it is told how many it
/// missed.
const QUEUED_MESSAGES: usize = 128;

/// The most pictures that are received at once.
const MOST_PICTURES: usize = 4;

/// Facts about a running server that do not change.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Facts {
    /// Version of the program.
    pub(crate) version: &'static str,
    /// The engine that trains, and its device.
    pub(crate) engine: String,
    /// The provider that runs the backbone, and why.
    pub(crate) provider: String,
    /// The backbone.
    pub(crate) model: String,
    /// The share of the machine that learning takes.
    pub(crate) power: &'static str,
    /// The state file.
    pub(crate) state: String,
    /// Bytes that the state may take; none if there is no quota.
    pub(crate) quota_bytes: Option<u64>,
    /// Megabytes that the process stays below while it learns; none if there is no limit.
    pub(crate) memory_limit_megabytes: Option<u64>,
}

/// A message of the stream of events; predictions come beside them.
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
pub(crate) struct Channels {
    seen: watch::Sender<Option<Arc<AnsweredFrame>>>,
    messages: broadcast::Sender<Message>,
    changes: Arc<AtomicU64>,
}

impl Channels {
    pub(crate) fn new() -> Self {
        let messages = broadcast::Sender::new(QUEUED_MESSAGES);
        Self { seen: watch::Sender::new(None), messages, changes: Arc::default() }
    }

    /// A sender for the live loop. It never waits: a newer frame takes the place of the last.
    pub(crate) fn sender(&self) -> impl Fn(LiveEvent) + Send + Sync + use<> {
        let (seen, messages, changes) = (self.seen.clone(), self.messages.clone(), self.changes.clone());
        move |event| match event {
            LiveEvent::Answered(frame) => {
                seen.send_replace(Some(frame));
            }
            other => {
                if matches!(other, LiveEvent::Changed(_)) {
                    changes.fetch_add(1, Ordering::SeqCst);
                }
                // Sending fails if nobody reads.
                drop(messages.send(Message::Event(other)));
            }
        }
    }
}

/// The live loop with all that the handlers share.
pub(crate) struct Web {
    pub(super) live: Live,
    pub(super) facts: Facts,
    pub(super) access: Access,
    /// The newest answered frame.
    pub(super) seen: watch::Sender<Option<Arc<AnsweredFrame>>>,
    pub(super) messages: broadcast::Sender<Message>,
    pub(super) pictures: watch::Sender<Picture>,
    /// Notified when somebody begins to watch the live picture.
    pub(super) watched: Notify,
    /// The number of pictures encoded for the live stream.
    pub(super) encoded: AtomicU64,
    /// Requests that change something; further ones have to wait.
    pub(super) changes: Limiter,
    /// The folder for copies of the state, if there is one.
    pub(super) copies: Option<Copies>,
    /// Pictures that are being received.
    pub(super) pictures_received: Semaphore,
    reader: Mutex<Memory>,
    shared_reads: SharedReads,
    /// The number of changes of the state that were told.
    state_changes: Arc<AtomicU64>,
}

impl Web {
    pub(crate) fn new(
        live: Live,
        reader: Memory,
        channels: Channels,
        facts: Facts,
        access: Access,
        copies: Option<Copies>,
    ) -> Self {
        Self {
            live,
            copies,
            facts,
            access,
            seen: channels.seen,
            messages: channels.messages,
            pictures: watch::Sender::new(Picture::Nothing),
            watched: Notify::new(),
            encoded: AtomicU64::new(0),
            changes: limiter(20, 60),
            pictures_received: Semaphore::new(MOST_PICTURES),
            reader: Mutex::new(reader),
            shared_reads: SharedReads::default(),
            state_changes: channels.changes,
        }
    }

    /// Stops the live loop; gives the names of the jobs that were queued and not done.
    pub(crate) fn stop(&self) -> Vec<&'static str> {
        self.live.stop()
    }

    /// Lets the learning thread do `work` and waits for it. The work is done also if the caller
    /// goes away.
    pub(super) async fn job<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut LearnWorker) -> crate::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (job, result) = awaited(work);
        self.live.submit(what, job).map_err(ApiError::busy)?;
        result.await.map_err(|_| ApiError::stopping())?.map_err(ApiError::from)
    }

    /// Lets the learning thread do `work` as [`Web::job`] does; it keeps `bytes` of frames or
    /// pictures in memory until then.
    pub(super) async fn job_holding<T: Send + 'static>(
        &self,
        bytes: usize,
        what: &'static str,
        work: impl FnOnce(&mut LearnWorker) -> crate::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (job, result) = awaited(work);
        self.live.submit_holding(bytes, what, job).map_err(ApiError::busy)?;
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

    /// Reads the state as [`Web::read`] does, and answers with the result as JSON. Clients that ask
    /// for the same `key` at the same time share one read. A change of the state is counted before
    /// it is acknowledged, and the count is part of the key: a client never gets a read that began
    /// before a change that was acknowledged to it.
    pub(super) async fn read_once<T: Serialize + Send + 'static>(
        self: &Arc<Self>,
        key: String,
        work: impl FnOnce(&Memory) -> crate::Result<T> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let key = format!("{key} {}", self.state_changes.load(Ordering::SeqCst));
        let read = async {
            let found = self.read(work).await?;
            let failed = |error: serde_json::Error| {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            };
            serde_json::to_vec(&found).map(Bytes::from).map_err(failed)
        };
        let bytes = self.shared_reads.join(key, read).await?;
        Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
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

/// A job that does `work`, and what comes of it.
fn awaited<T: Send + 'static>(
    work: impl FnOnce(&mut LearnWorker) -> crate::Result<T> + Send + 'static,
) -> (impl FnOnce(&mut LearnWorker) + Send + 'static, oneshot::Receiver<crate::Result<T>>) {
    let (done, result) = oneshot::channel();
    (move |worker: &mut LearnWorker| drop(done.send(work(worker))), result)
}
