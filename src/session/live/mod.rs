//! The live loop: a source is watched, answered and learned from at once. Three named threads: `kaizen-capture` reads
//! frames, `kaizen-infer` answers by the last published head, `kaizen-learn` owns the learner and does what is asked of
//! it. Between them stand a slot for the newest frame and bounded queues, so prediction waits for neither a slow reader
//! nor for training; what does not fit is dropped and counted.

mod capture;
mod eye;
mod inference;
mod power;
mod recent;
mod slot;
mod status;
mod tutor;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use capture::SourceOpener;
pub use inference::{Answer, Seen};
pub use power::{Power, yield_to_others};
pub use recent::{FrameRoom, MOST_RECENT};
pub use status::{BackboneState, LiveStatus, Progress, SourceState};
pub use tutor::{Taught, Tutor};

use super::learner::Learner;
use super::meanwhile::Meanwhile;
use super::predictor::Predictor;
use crate::backbone::Backbone;
use crate::event::Event;
use crate::vision::Frame;
use crate::{Error, Result};
use inference::Inference;
use recent::Recent;
use slot::Slot;
use status::Meter;
use tutor::Pupil;

/// Jobs that wait for the learning thread.
const QUEUED_JOBS: usize = 32;
/// Unlabelled frames that wait to be stored.
const QUEUED_FRAMES: usize = 16;
/// How long stopping waits for a thread that is inside a source's driver.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the live loop runs on.
pub struct LiveParts {
    /// Opens the source; called again at its end if it repeats.
    pub source: SourceOpener,
    /// The source as given, for people.
    pub uri: String,
    /// Whether a source that ends is opened again.
    pub repeats: bool,
    /// The backbone that answers.
    pub eyes: Box<dyn Backbone>,
    /// A second one, for views of what is learned and for pictures that are sent; it never delays an answer.
    pub tutor: TutorBackbone,
    /// Learns, and owns the state.
    pub learner: Learner,
    /// How much of the machine learning takes.
    pub power: Power,
    /// How many pixels are held.
    pub room: FrameRoom,
    /// Told what happens, from any of the threads; must return quickly.
    pub watcher: Watcher,
}

/// The backbone for lessons.
pub enum TutorBackbone {
    /// It is loaded.
    Ready(Box<dyn Backbone>),
    /// It is still being made, as TensorRT's engine is, and with it the one that answers in the end: both come here, in
    /// the order of [`LiveParts`]. Until then `eyes` answers; its features are of another class, so nothing is stored,
    /// taught or learned.
    Awaited(AwaitedBackbones),
}

/// Where the backbones of [`TutorBackbone::Awaited`] come.
pub type AwaitedBackbones = Receiver<Result<[Box<dyn Backbone>; 2]>>;

/// Takes what happens.
pub type Watcher = Arc<dyn Fn(LiveEvent) + Send + Sync>;

/// What happens in the live loop.
#[derive(Clone, Debug)]
pub enum LiveEvent {
    /// A frame was answered.
    Seen(Arc<Seen>),
    /// The learner says something, or a frame was rejected.
    Told(Event),
    /// The state changed: labels, samples or versions are other than they were.
    Changed(&'static str),
    /// The source began, ended or failed.
    Source(SourceState),
    /// A backbone is awaited, answers, or failed.
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

type Job = Box<dyn FnOnce(&mut Tutor) + Send>;
type Jobs = SyncSender<Queued>;

/// A job for the learning thread.
struct Queued {
    what: &'static str,
    /// Whether training ends early for it.
    is_pressing: bool,
    job: Job,
}

/// A running live loop. Dropping it stops it.
pub struct Live {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Jobs>>,
    threads: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
    unfinished: Arc<Mutex<Vec<&'static str>>>,
}

/// What the threads share.
pub(super) struct Shared {
    stopping: AtomicBool,
    newest: Slot<(Frame, Instant)>,
    predictor: Mutex<Option<Arc<Predictor>>>,
    recent: Mutex<Recent>,
    kept: Mutex<std::collections::VecDeque<Arc<Seen>>>,
    room: FrameRoom,
    meter: Mutex<Meter>,
    waiting: AtomicUsize,
    /// Whether the backbone for lessons is not there.
    is_without_tutor: AtomicBool,
    /// What is to answer from now on.
    next_eyes: Mutex<Option<Box<dyn Backbone>>>,
    /// Queued jobs for which training ends early.
    pressing: AtomicUsize,
    watcher: Watcher,
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
    pub fn start(parts: LiveParts) -> Result<Self> {
        let LiveParts { source, uri, repeats, eyes, tutor, learner, power, room, watcher } = parts;
        let is_awaited = matches!(tutor, TutorBackbone::Awaited(_));
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            newest: Slot::default(),
            predictor: Mutex::new(learner.predictor_now()),
            recent: Mutex::new(Recent::new(room.recent)),
            room,
            kept: Mutex::default(),
            meter: Mutex::new(Meter::new(uri, eyes.provider().line(), is_awaited)),
            waiting: AtomicUsize::new(0),
            is_without_tutor: AtomicBool::new(is_awaited),
            next_eyes: Mutex::default(),
            pressing: AtomicUsize::new(0),
            watcher,
        });
        let inference = Inference::new(eyes, !is_awaited, shared.clone())?;
        let pupil = Pupil { learner, power, shared: shared.clone() };
        let (jobs, received) = sync_channel(QUEUED_JOBS);
        let unfinished = Arc::new(Mutex::new(Vec::new()));
        let live = Self { shared, jobs: Mutex::new(Some(jobs)), threads: Mutex::default(), unfinished };
        let (shared, left) = (live.shared.clone(), live.unfinished.clone());
        if is_awaited {
            shared.tell(LiveEvent::Backbone(BackboneState::Building));
        }
        match tutor {
            TutorBackbone::Ready(backbone) => {
                let tutor = Tutor::new(backbone, pupil)?;
                live.spawn("kaizen-learn", move || tutor::run(tutor, &received, &left))?;
            }
            TutorBackbone::Awaited(backbones) => {
                live.spawn("kaizen-learn", move || {
                    if let Some(tutor) = tutor::awaited(&backbones, pupil) {
                        tutor::run(tutor, &received, &left);
                    }
                })?;
            }
        }
        live.spawn("kaizen-infer", move || inference.run())?;
        live.spawn("kaizen-capture", move || capture::run(source, repeats, &shared))?;
        Ok(live)
    }

    fn spawn(&self, name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        locked(&self.threads).push((name, thread.map_err(Error::io(name))?));
        Ok(())
    }

    /// Figures of now.
    #[must_use]
    pub fn status(&self) -> LiveStatus {
        let recent = locked(&self.shared.recent).len();
        let head = self.predictor_now().map(|predictor| predictor.kind().name());
        let pending = self.shared.waiting.load(Ordering::Relaxed);
        locked(&self.shared.meter).status(recent, pending, head)
    }

    /// The head that answers, if anything was learned.
    #[must_use]
    pub fn predictor_now(&self) -> Option<Arc<Predictor>> {
        locked(&self.shared.predictor).clone()
    }

    /// The newest frames that were answered, at most `most`, the oldest first.
    #[must_use]
    pub fn recent(&self, most: usize) -> Vec<Arc<Seen>> {
        locked(&self.shared.recent).last(most)
    }

    /// Hands `job` to the learning thread; jobs are done in order, and training that runs ends early for it. A job still
    /// queued when the loop stops is dropped and named by [`Live::stop`].
    ///
    /// # Errors
    /// [`Busy`] if too many wait already, or the backbone for lessons is not there.
    pub fn submit(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut Tutor) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(Queued { what, is_pressing: true, job: Box::new(job) })
    }

    /// As [`Live::submit`], for a job that can wait until the training before it has taken all its steps.
    ///
    /// # Errors
    /// As there.
    pub fn submit_patient(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut Tutor) + Send + 'static,
    ) -> std::result::Result<(), Busy> {
        self.queue(Queued { what, is_pressing: false, job: Box::new(job) })
    }

    fn queue(&self, queued: Queued) -> std::result::Result<(), Busy> {
        if self.shared.is_without_tutor.load(Ordering::SeqCst) {
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
    pub fn stop(&self) -> Vec<&'static str> {
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
pub enum Busy {
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
    fn keep(&self, seen: Arc<Seen>) {
        let mut kept = locked(&self.kept);
        kept.push_back(seen);
        let bytes: usize = kept.iter().map(|seen| seen.frame.rgb.len()).sum();
        if kept.len() > QUEUED_FRAMES || (bytes > self.room.waiting && kept.len() > 1) {
            kept.pop_front();
            locked(&self.meter).not_kept += 1;
        }
    }
}

/// What a learner that consolidates asks and tells of the live loop.
fn meanwhile(shared: &Arc<Shared>) -> Meanwhile {
    let (asked, told) = (shared.clone(), shared.clone());
    Meanwhile {
        is_awaited: Arc::new(move || asked.is_stopping() || asked.pressing.load(Ordering::Relaxed) > 0),
        answer_with: Arc::new(move |predictor| *locked(&told.predictor) = Some(Arc::new(predictor))),
    }
}

/// A lock that outlives a panic of another thread: every value under it is whole between statements.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
