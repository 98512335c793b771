//! The live loop watches a source, answers its frames and learns from them at the same time. It has
//! three named threads: `kaizen-capture` reads frames, `kaizen-infer` answers by the last published
//! head, and `kaizen-learn` owns the learner and does jobs. Between them stand a slot for the
//! newest frame and bounded queues, so prediction waits neither for a slow reader nor for training;
//! what does not fit is dropped and counted.

mod answered_frame;
mod capture_worker;
mod inference_worker;
mod learn_worker;
mod live_event;
mod liveness;
mod lock;
mod parts;
mod recent;
mod shared;
mod slot;
mod status;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use answered_frame::AnsweredFrame;
pub(crate) use learn_worker::LearnWorker;
pub(crate) use live_event::{Breakdown, LiveEvent};
pub(crate) use liveness::Liveness;
pub(crate) use parts::{LiveOptions, LiveParts};
pub(crate) use recent::MOST_RECENT;
pub(crate) use status::{BackboneState, LiveStatus, SourceState};

use super::feature_learner::ServingHead;
use super::published_head::PublishedHead;
use crate::error::redacted;
use crate::{Error, Result};
use inference_worker::InferenceWorker;
use learn_worker::{Held, Queued};
use liveness::Worker;
use lock::locked;
use shared::Shared;
use status::Meter;

/// The most jobs that wait for the learning thread.
const QUEUED_JOBS: usize = 32;
/// The longest that stopping waits for a thread that is inside a source's driver.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running live loop, which stops when this is dropped.
pub(crate) struct Live {
    shared: Arc<Shared>,
    serving: ServingHead,
    jobs: Mutex<Option<SyncSender<Queued>>>,
    threads: Mutex<Vec<(Worker, JoinHandle<()>)>>,
    unfinished: Arc<Mutex<Vec<&'static str>>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Live {
    /// Starts the three threads.
    ///
    /// # Errors
    /// [`Error::Config`] for preprocessing out of range, [`Error::Io`] if a thread cannot be
    /// started.
    pub(crate) fn start(parts: LiveParts) -> Result<Self> {
        let LiveParts { source, uri, inference_backbone, pending_backbones, .. } = parts;
        let LiveParts { mut learner, power, frame_budget, most_failures, watcher, .. } = parts;
        let (serving, is_pending) = (learner.restored()?.serving().clone(), pending_backbones.is_some());
        let was_cut_off = learner.memory().has_checkpoint()?;
        let meter = Meter::new(redacted(&uri), inference_backbone.backbone().provider().line(), is_pending);
        let shared = Arc::new(Shared::new(meter, frame_budget, most_failures, is_pending, watcher));
        let inference =
            InferenceWorker::new(inference_backbone, serving.clone(), !is_pending, shared.clone())?;
        let worker = LearnWorker::new(learner, power, shared.clone())?;
        let (jobs, received) = sync_channel(QUEUED_JOBS);
        let (jobs, unfinished) = (Mutex::new(Some(jobs)), Arc::new(Mutex::new(Vec::new())));
        let live = Self { shared, serving, jobs, threads: Mutex::default(), unfinished };
        let (shared, left) = (live.shared.clone(), live.unfinished.clone());
        if is_pending {
            shared.tell(LiveEvent::Backbone(BackboneState::Building));
        }
        live.spawn(Worker::Learn, move || {
            let ready = match pending_backbones {
                Some(backbones) => learn_worker::with_pending(&backbones, worker),
                None => Some(worker),
            };
            if let Some(worker) = ready {
                learn_worker::run(worker, &received, &left);
            }
        })?;
        live.spawn(Worker::Infer, move || inference.run())?;
        live.spawn(Worker::Capture, move || capture_worker::run(source, &shared))?;
        if was_cut_off {
            // The queue is empty yet, and whoever watches is told of a failure.
            let _ = live.submit_patient("the training that was cut off", |worker| drop(worker.learn()));
        }
        Ok(live)
    }

    /// Starts a thread. A panic on it breaks the loop down.
    fn spawn(&self, worker: Worker, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let (name, shared) = (worker.name(), self.shared.clone());
        shared.liveness.beat(worker);
        let body = move || {
            // After a panic the process ends; what its threads share is not used any more.
            match catch_unwind(AssertUnwindSafe(body)) {
                Ok(()) => shared.liveness.end(worker),
                Err(panic) => shared.break_down(name, format!("it panicked: {}", words_of(panic.as_ref()))),
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        locked(&self.threads).push((worker, thread.map_err(Error::io(name))?));
        Ok(())
    }

    /// The present figures.
    #[must_use]
    pub(crate) fn status(&self) -> LiveStatus {
        let recent = locked(&self.shared.recent).len();
        let head = self.published_head().map(|head| head.kind().name());
        let pending = self.shared.waiting.load(Ordering::Relaxed);
        locked(&self.shared.meter).status(recent, pending, head, self.shared.liveness.frame_age())
    }

    /// The signs of life of the threads.
    pub(crate) fn liveness(&self) -> &Arc<Liveness> {
        &self.shared.liveness
    }

    /// Whether frames are answered and can be taught.
    ///
    /// # Errors
    /// The reason why they are not, for people.
    pub(crate) fn health(&self) -> std::result::Result<SourceState, String> {
        let liveness = &self.shared.liveness;
        if let Some(stall) = liveness.stall() {
            return Err(stall.to_string());
        }
        let meter = locked(&self.shared.meter);
        let (source, backbone) = (meter.source.clone(), meter.backbone.clone());
        drop(meter);
        match (source, backbone) {
            (SourceState::Failed { reason }, _) | (_, BackboneState::Failed { reason }) => Err(reason),
            (SourceState::Waiting { reason }, _) => Err(format!("the source is tried again: {reason}")),
            (SourceState::Ended { is_expected: false }, _) => {
                Err("the source came to its end, though it is no recording".to_owned())
            }
            (SourceState::Opening | SourceState::Playing, _) if liveness.is_without_frames() => {
                Err(format!("no frame came for {:.0} s", liveness.frame_age().as_secs_f64()))
            }
            (source, BackboneState::Ready | BackboneState::Building) => Ok(source),
        }
    }

    /// The head that answers, if anything was learned.
    #[must_use]
    pub(crate) fn published_head(&self) -> Option<Arc<PublishedHead>> {
        self.serving.now()
    }

    /// The newest frames that were answered, at most `most`, the oldest first.
    #[must_use]
    pub(crate) fn recent(&self, most: usize) -> Vec<Arc<AnsweredFrame>> {
        locked(&self.shared.recent).last(most)
    }

    /// Hands `job` to the learning thread. Jobs are done in order, and running training ends early
    /// for this one. A job that is still queued when the loop stops is dropped and named by
    /// [`Live::stop`].
    ///
    /// # Errors
    /// [`Busy`] if too many jobs wait already, or the learner's backbone is not there.
    pub(crate) fn submit(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut LearnWorker) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(what, true, 0, Box::new(job))
    }

    /// Hands over a job as [`Live::submit`] does, but one that keeps `bytes` of frames or pictures
    /// in memory until it is done.
    ///
    /// # Errors
    /// As [`Live::submit`], and [`Busy::Full`] if the jobs that wait hold as much as the newest
    /// frames may take.
    pub(crate) fn submit_holding(
        &self,
        bytes: usize,
        what: &'static str,
        job: impl FnOnce(&mut LearnWorker) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(what, true, bytes, Box::new(job))
    }

    /// Hands over a job as [`Live::submit`] does, but one that can wait until the training before
    /// it has taken all its steps.
    ///
    /// # Errors
    /// As [`Live::submit`].
    pub(crate) fn submit_patient(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut LearnWorker) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(what, false, 0, Box::new(job))
    }

    fn queue(
        &self,
        what: &'static str,
        is_pressing: bool,
        bytes: usize,
        job: Box<dyn FnOnce(&mut LearnWorker) + Send>,
    ) -> std::result::Result<(), Busy> {
        if self.shared.is_without_backbone.load(Ordering::SeqCst) {
            return Err(Busy::Building);
        }
        let Some(jobs) = locked(&self.jobs).clone() else { return Err(Busy::Full) };
        let most = self.shared.frame_budget.recent;
        let held = Held::count(&self.shared.held, bytes, most).ok_or(Busy::Full)?;
        let (presses, queued) = (usize::from(is_pressing), Queued { what, is_pressing, held, job });
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.shared.pressing.fetch_add(presses, Ordering::Relaxed);
        let sent = jobs.try_send(queued);
        if sent.is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.pressing.fetch_sub(presses, Ordering::Relaxed);
        }
        sent.map_err(|_| Busy::Full)
    }

    /// Ends the threads: capture and inference at once, learning after its present job. Returns the
    /// names of the jobs that were queued and not done.
    pub(crate) fn stop(&self) -> Vec<&'static str> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        *locked(&self.jobs) = None;
        self.shared.newest.wake();
        for (worker, thread) in std::mem::take(&mut *locked(&self.threads)) {
            // A driver that hangs must not hold the process; a job of the learner must be finished.
            let start = Instant::now();
            while worker != Worker::Learn && !thread.is_finished() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            if worker == Worker::Learn || thread.is_finished() {
                let _ = thread.join();
            }
        }
        std::mem::take(&mut locked(&self.unfinished))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The message of a panic.
fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The reason why the learning thread takes no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Too many jobs wait, or the loop is stopping.
    Full,
    /// The learner's backbone is still being made, or could not be made.
    Building,
}

#[cfg(test)]
mod tests;
