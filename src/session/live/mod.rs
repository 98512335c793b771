//! The live loop: a source is watched, answered and learned from at once. Three named threads: `kaizen-capture` reads
//! frames, `kaizen-infer` answers by the last published head, `kaizen-learn` owns the learner and does what is asked of
//! it. Between them stand a slot for the newest frame and bounded queues, so prediction waits for neither a slow reader
//! nor for training; what does not fit is dropped and counted.

mod capture_worker;
mod inference_worker;
mod learn_worker;
mod recent;
mod slot;
mod status;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use capture_worker::SourceOpener;
pub(crate) use inference_worker::AnsweredFrame;
pub(crate) use learn_worker::{LearnWorker, Taught};
pub(crate) use recent::{FrameBudget, MOST_RECENT};
pub(crate) use status::{BackboneState, LiveStatus, SourceState};

use super::feature_learner::ServingHead;
use super::learner::Learner;
use super::power::Power;
use super::published_head::PublishedHead;
use crate::backbone::Backbone;
use crate::event::Event;
use crate::vision::Frame;
use crate::{Error, Result};
use inference_worker::InferenceWorker;
use recent::Recent;
use slot::Slot;
use status::Meter;

/// Jobs that wait for the learning thread.
const QUEUED_JOBS: usize = 32;
/// Unlabelled frames that wait to be stored.
const QUEUED_FRAMES: usize = 16;
/// How long stopping waits for a thread that is inside a source's driver.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the live loop runs on.
pub(crate) struct LiveParts {
    /// Opens the source; called again at its end if it repeats.
    pub source: SourceOpener,
    /// The source as given, for people.
    pub uri: String,
    /// Whether a source that ends is opened again.
    pub repeats: bool,
    /// The backbone that answers. The learner has another one, for views of what is learned and for pictures that are sent,
    /// so that learning never delays an answer.
    pub inference_backbone: Box<dyn Backbone>,
    /// Where the learner's backbone comes from if it is still being made.
    pub pending_backbones: Option<PendingBackbones>,
    /// Learns, and owns the state.
    pub learner: Learner,
    /// How much of the machine learning takes.
    pub power: Power,
    /// How many pixels are held.
    pub frame_budget: FrameBudget,
    /// Told what happens, from any of the threads; must return quickly.
    pub watcher: Watcher,
}

/// Where two backbones come that are still being made, as with TensorRT's engine: the one that answers in the end, and the
/// learner's. Until then [`LiveParts::inference_backbone`] answers; its features are of another class, so nothing is
/// stored, taught or learned.
pub(crate) type PendingBackbones = Receiver<Result<[Box<dyn Backbone>; 2]>>;

/// Takes what happens.
pub(crate) type Watcher = Arc<dyn Fn(LiveEvent) + Send + Sync>;

/// What happens in the live loop.
#[derive(Clone, Debug)]
pub(crate) enum LiveEvent {
    /// A frame was answered.
    Answered(Arc<AnsweredFrame>),
    /// The learner reports something, or a frame was rejected.
    Learner(Event),
    /// Labels, samples or versions in the state changed.
    Changed(&'static str),
    /// The source began, ended or failed.
    Source(SourceState),
    /// A backbone is being made, answers, or failed.
    Backbone(BackboneState),
}

impl std::fmt::Debug for LiveParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveParts")
            .field("uri", &self.uri)
            .field("power", &self.power)
            .finish_non_exhaustive()
    }
}

type Job = Box<dyn FnOnce(&mut LearnWorker) + Send>;
type Jobs = SyncSender<Queued>;

/// A job for the learning thread.
struct Queued {
    what: &'static str,
    /// Whether training ends early for it.
    is_pressing: bool,
    job: Job,
}

/// A running live loop. Dropping it stops it.
pub(crate) struct Live {
    shared: Arc<Shared>,
    serving: ServingHead,
    jobs: Mutex<Option<Jobs>>,
    threads: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
    unfinished: Arc<Mutex<Vec<&'static str>>>,
}

/// What the threads share.
pub(super) struct Shared {
    stopping: AtomicBool,
    newest: Slot<(Frame, Instant)>,
    recent: Mutex<Recent>,
    kept: Mutex<std::collections::VecDeque<Arc<AnsweredFrame>>>,
    frame_budget: FrameBudget,
    meter: Mutex<Meter>,
    waiting: AtomicUsize,
    /// Whether the learner's backbone is not there.
    is_without_backbone: AtomicBool,
    /// The backbone that is to answer from now on.
    next_backbone: Mutex<Option<Box<dyn Backbone>>>,
    /// Queued jobs for which training ends early.
    pressing: AtomicUsize,
    watcher: Watcher,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("frame_budget", &self.frame_budget).finish_non_exhaustive()
    }
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
    /// [`Error::Config`] for preprocessing out of range, [`Error::Io`] if a thread cannot be started.
    pub(crate) fn start(parts: LiveParts) -> Result<Self> {
        let LiveParts { source, uri, repeats, inference_backbone, pending_backbones, .. } = parts;
        let LiveParts { learner, power, frame_budget, watcher, .. } = parts;
        let (serving, is_pending) = (learner.core().serving().clone(), pending_backbones.is_some());
        let provider = inference_backbone.provider().line();
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            newest: Slot::default(),
            recent: Mutex::new(Recent::new(frame_budget.recent)),
            frame_budget,
            kept: Mutex::default(),
            meter: Mutex::new(Meter::new(uri, provider, is_pending)),
            waiting: AtomicUsize::new(0),
            is_without_backbone: AtomicBool::new(is_pending),
            next_backbone: Mutex::default(),
            pressing: AtomicUsize::new(0),
            watcher,
        });
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
        live.spawn("kaizen-learn", move || {
            let ready = match pending_backbones {
                Some(backbones) => learn_worker::with_pending(&backbones, worker),
                None => Some(worker),
            };
            if let Some(worker) = ready {
                learn_worker::run(worker, &received, &left);
            }
        })?;
        live.spawn("kaizen-infer", move || inference.run())?;
        live.spawn("kaizen-capture", move || capture_worker::run(source, repeats, &shared))?;
        Ok(live)
    }

    fn spawn(&self, name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        locked(&self.threads).push((name, thread.map_err(Error::io(name))?));
        Ok(())
    }

    /// Figures of now.
    #[must_use]
    pub(crate) fn status(&self) -> LiveStatus {
        let recent = locked(&self.shared.recent).len();
        let head = self.published_head().map(|head| head.kind().name());
        let pending = self.shared.waiting.load(Ordering::Relaxed);
        locked(&self.shared.meter).status(recent, pending, head)
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

    /// Hands `job` to the learning thread; jobs are done in order, and training that runs ends early for it. A job still
    /// queued when the loop stops is dropped and named by [`Live::stop`].
    ///
    /// # Errors
    /// [`Busy`] if too many wait already, or the learner's backbone is not there.
    pub(crate) fn submit(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut LearnWorker) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(Queued { what, is_pressing: true, job: Box::new(job) })
    }

    /// As [`Live::submit`], for a job that can wait until the training before it has taken all its steps.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn submit_patient(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut LearnWorker) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(Queued { what, is_pressing: false, job: Box::new(job) })
    }

    fn queue(&self, queued: Queued) -> std::result::Result<(), Busy> {
        if self.shared.is_without_backbone.load(Ordering::SeqCst) {
            return Err(Busy::Building);
        }
        let Some(jobs) = locked(&self.jobs).clone() else { return Err(Busy::Full) };
        let presses = usize::from(queued.is_pressing);
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.shared.pressing.fetch_add(presses, Ordering::Relaxed);
        let sent = jobs.try_send(queued);
        if sent.is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.pressing.fetch_sub(presses, Ordering::Relaxed);
        }
        sent.map_err(|_| Busy::Full)
    }

    /// Ends the threads: capture and inference at once, learning after what it is doing. Gives the jobs that were
    /// queued and not done.
    pub(crate) fn stop(&self) -> Vec<&'static str> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        *locked(&self.jobs) = None;
        self.shared.newest.wake();
        for (name, thread) in std::mem::take(&mut *locked(&self.threads)) {
            // A driver that hangs must not hold the process; what learning does must be finished.
            let start = Instant::now();
            while name != "kaizen-learn" && !thread.is_finished() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            if name == "kaizen-learn" || thread.is_finished() {
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

/// Why the learning thread takes no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Too many wait, or it is stopping.
    Full,
    /// Its backbone is still being made, or could not be.
    Building,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn tell(&self, event: LiveEvent) {
        (self.watcher)(event);
    }

    fn set_backbone(&self, state: BackboneState, provider: Option<String>) {
        let mut meter = locked(&self.meter);
        meter.backbone = state.clone();
        meter.provider = provider.unwrap_or_else(|| meter.provider.clone());
        drop(meter);
        self.tell(LiveEvent::Backbone(state));
    }

    /// Queues an unlabelled frame to be stored; the oldest goes if too many wait.
    fn keep(&self, answered: Arc<AnsweredFrame>) {
        let mut kept = locked(&self.kept);
        kept.push_back(answered);
        let bytes: usize = kept.iter().map(|answered| answered.frame.rgb.len()).sum();
        if kept.len() > QUEUED_FRAMES || (bytes > self.frame_budget.waiting && kept.len() > 1) {
            kept.pop_front();
            locked(&self.meter).not_kept += 1;
        }
    }
}

/// Locks also after another thread panicked: every value is consistent whenever its lock is free.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
