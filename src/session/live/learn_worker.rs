//! The learning thread: owns the learner, stores frames, teaches, consolidates, and publishes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::answered_frame::AnsweredFrame;
use super::live_event::LiveEvent;
use super::liveness::Worker;
use super::lock::locked;
use super::shared::Shared;
use super::status::BackboneState;
use crate::event::Event;
use crate::ids::SampleId;
use crate::memory::{LabelId, Sample, Stored, VersionId};
use crate::session::feature_learner::Consolidation;
use crate::session::learner::Learner;
use crate::session::network::Network;
use crate::session::power::{Power, yield_to_others};
use crate::session::training_control::TrainingControl;
use crate::vision::Frame;
use crate::{Error, Result};

/// The time between two checks for frames to store.
const NAP: Duration = Duration::from_millis(100);
/// The time without a job after which a training that waits begins.
const QUIET: Duration = Duration::from_secs(10);
/// The `nice` value of the threads that store frames and answer lessons.
const NICE: i32 = 10;
/// The `nice` value of the threads that take training steps. At 19 prediction is disturbed less,
/// but where frames are answered as fast as they can be, training then gets no time at all.
const STEP_NICE: i32 = 10;

/// Two backbones that are still being made, as with TensorRT's engine: the one that answers in the
/// end, and the learner's. Another backbone answers until then; its features are of another class,
/// so nothing is stored, taught or learned.
pub(crate) type PendingBackbones = Receiver<Result<[Network; 2]>>;

/// A job for the learning thread.
pub(super) struct Queued {
    /// The name of the job, for people.
    pub(super) what: &'static str,
    /// Whether training ends early for the job.
    pub(super) is_pressing: bool,
    /// What the job keeps in memory, until it is done.
    pub(super) held: Held,
    pub(super) job: Box<dyn FnOnce(&mut LearnWorker) + Send>,
}

/// Bytes that a job keeps in memory, counted until this is dropped.
pub(super) struct Held {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    /// Counts `bytes`; `None` if more than `most` were held then. A job alone may hold any number,
    /// and one that holds nothing is always taken.
    pub(super) fn count(total: &Arc<AtomicUsize>, bytes: usize, most: usize) -> Option<Self> {
        let fits = |held: usize| (held == 0 || bytes == 0 || held + bytes <= most).then_some(held + bytes);
        total.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Self { total: total.clone(), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// The result of teaching frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taught {
    /// The rows of the label log, in order.
    pub labels: Vec<LabelId>,
    /// The number of frames that repeated a stored sample; their label went to that sample.
    pub duplicates: usize,
}

/// The owner of the learner on the learning thread; each job gets it to work with.
#[derive(Debug)]
pub(crate) struct LearnWorker {
    learner: Learner,
    power: Power,
    workers: rayon::ThreadPool,
    step_threads: rayon::ThreadPool,
    shared: Arc<Shared>,
    /// Errors of the engine, or of the provider in a lesson, since the last job without one.
    failures: usize,
    /// Errors of the provider since the last frame that became a sample.
    frame_failures: usize,
}

/// Waits for both backbones, hands on the one that answers, and gives the other one to the learner.
/// Returns `None` if the loop ends first, or if they could not be made.
pub(super) fn with_pending(backbones: &PendingBackbones, mut worker: LearnWorker) -> Option<LearnWorker> {
    let shared = worker.shared.clone();
    let made = loop {
        match backbones.recv_timeout(NAP) {
            Err(RecvTimeoutError::Timeout) if shared.is_stopping() => return None,
            Err(RecvTimeoutError::Timeout) => shared.liveness.beat(Worker::Learn),
            Err(RecvTimeoutError::Disconnected) => break Err("loading it panicked".to_owned()),
            Ok(made) => break made.map_err(|error| error.to_string()),
        }
    };
    let ready = made.and_then(|[inference, learning]| {
        worker.learner.set_network(learning).map_err(|error| error.to_string())?;
        *locked(&shared.next_backbone) = Some(inference);
        shared.is_without_backbone.store(false, Ordering::SeqCst);
        Ok(worker)
    });
    ready.map_err(|reason| shared.set_backbone(BackboneState::Failed { reason }, None)).ok()
}

/// Does jobs until there are no more senders, and stores frames in between. The names of the jobs
/// that are left at the end go into `left`.
pub(super) fn run(mut worker: LearnWorker, jobs: &Receiver<Queued>, left: &Mutex<Vec<&'static str>>) {
    yield_to_others(NICE);
    let mut quiet_since = Some(Instant::now());
    loop {
        worker.shared.liveness.beat(Worker::Learn);
        match jobs.recv_timeout(NAP) {
            Ok(queued) if worker.shared.is_stopping() => locked(left).push(queued.what),
            Ok(Queued { is_pressing, job, held, .. }) => {
                worker.shared.pressing.fetch_sub(usize::from(is_pressing), Ordering::Relaxed);
                job(&mut worker);
                drop(held);
                worker.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                quiet_since = Some(Instant::now());
            }
            Err(RecvTimeoutError::Timeout) if quiet_since.is_some_and(|since| since.elapsed() >= QUIET) => {
                worker.train_waiting();
                quiet_since = None;
            }
            Err(RecvTimeoutError::Timeout) => worker.store_kept(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl LearnWorker {
    pub(super) fn new(learner: Learner, power: Power, shared: Arc<Shared>) -> Result<Self> {
        let workers = threads("kaizen-learn", power, NICE)?;
        let step_threads = threads("kaizen-train", power, STEP_NICE)?;
        Ok(Self { learner, power, workers, step_threads, shared, failures: 0, frame_failures: 0 })
    }

    /// The learner, for reading.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Teaches frames that were answered. They are durable when this returns.
    ///
    /// # Errors
    /// As [`Learner::teach`].
    pub(crate) fn teach(&mut self, name: &str, frames: &[Arc<AnsweredFrame>]) -> Result<Taught> {
        let mut samples = Vec::with_capacity(frames.len());
        for answered in frames {
            samples.push(self.sample(answered, Some(name))?);
        }
        self.store_labelled(&samples)
    }

    /// Teaches a picture. It is durable when this returns.
    ///
    /// # Errors
    /// As [`Learner::teach`].
    pub(crate) fn teach_picture(&mut self, name: &str, frame: &Frame) -> Result<Taught> {
        let learner = &mut self.learner;
        let stored = self.workers.install(|| learner.add(Some(name), [frame]))?;
        Ok(self.taught(&stored))
    }

    /// Gives a stored sample a label. It is durable when this returns.
    ///
    /// # Errors
    /// As [`crate::memory::Memory::label`].
    pub(crate) fn label(&mut self, sample: SampleId, name: &str) -> Result<LabelId> {
        let label = self.learner.restored()?.label(sample, name)?;
        self.shared.tell(LiveEvent::Changed("labels"));
        Ok(label)
    }

    /// Names a cluster of unknown samples.
    ///
    /// # Errors
    /// As [`Learner::name`].
    pub(crate) fn name_cluster(&mut self, cluster: SampleId, name: &str) -> Result<Vec<LabelId>> {
        let labels = self.learner.name(cluster, name);
        self.shared.tell(LiveEvent::Changed("labels"));
        labels
    }

    /// Consolidates. A new head answers when this returns, and the watcher is told of a failure.
    ///
    /// # Errors
    /// As [`Learner::learn`].
    pub(crate) fn learn(&mut self) -> Result<Consolidation> {
        let outcome = self.while_learning(Learner::consolidate);
        self.tell_failure(&outcome);
        outcome
    }

    /// Trains the tail on lessons that wait for it; a pressing job ends it early.
    fn train_waiting(&mut self) {
        if self.learner.waits() {
            let outcome = self.while_learning(Learner::train_waiting);
            self.tell_failure(&outcome);
        }
    }

    fn tell_failure(&self, outcome: &Result<Consolidation>) {
        if let Err(error) = outcome {
            let failed = Event::CandidateFailed { head: "learning", reason: error.to_string() };
            self.shared.tell(LiveEvent::Learner(failed));
        }
    }

    /// Takes labels back. What was learned from them is learned anew without them, once for all.
    ///
    /// # Errors
    /// As [`Learner::undo`]; labels before the one that is refused are taken back.
    pub(crate) fn undo(&mut self, labels: &[LabelId]) -> Result<Option<Consolidation>> {
        self.while_learning(|learner, control| learner.restored()?.undo_all(labels, control))
    }

    /// Erases a class and returns the number of samples erased.
    ///
    /// # Errors
    /// As [`Learner::forget`].
    pub(crate) fn forget(&mut self, name: &str) -> Result<usize> {
        self.while_learning(|learner, control| Ok(learner.restored()?.forget(name, control)?.0))
    }

    /// Takes a version back. The version before it answers when this returns, if there is one.
    ///
    /// # Errors
    /// As [`Learner::roll_back`].
    pub(crate) fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.while_learning(|learner, _| learner.roll_back(version))
    }

    /// Runs `work` on the learning threads, beside prediction: it pauses as the power demands and
    /// ends early for a pressing job.
    fn while_learning<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Learner, &mut TrainingControl<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let (shared, power, learner) = (&self.shared, self.power, &mut self.learner);
        let step_threads = &self.step_threads;
        let outcome = self.workers.install(|| {
            let mut tell = |event: &Event| {
                shared.liveness.beat(Worker::Learn);
                shared.note_progress(event);
                shared.tell(LiveEvent::Learner(event.clone()));
            };
            let is_awaited = || {
                shared.liveness.beat(Worker::Learn);
                shared.is_stopping() || shared.pressing.load(Ordering::Relaxed) > 0
            };
            let control = TrainingControl::new(&mut tell);
            work(learner, &mut control.beside_prediction(power, &is_awaited, step_threads))
        });
        count_failure(&self.shared, &mut self.failures, &outcome);
        locked(&self.shared.meter).learning = None;
        self.shared.tell(LiveEvent::Changed("versions"));
        outcome
    }

    /// Stores the oldest frame that waits, if there is one.
    fn store_kept(&mut self) {
        let Some(answered) = locked(&self.shared.kept).pop_front() else { return };
        let stored = match self.learner.restored().and_then(|learner| learner.has_room()) {
            Ok(false) => {
                locked(&self.shared.meter).not_kept += 1;
                return;
            }
            Ok(true) => self
                .sample(&answered, None)
                .and_then(|sample| self.learner.restored()?.add(std::slice::from_ref(&sample))),
            Err(error) => Err(error),
        };
        match stored {
            Ok(stored) if stored.iter().any(|stored| !stored.duplicate) => {
                locked(&self.shared.meter).kept += 1;
                self.shared.tell(LiveEvent::Changed("samples"));
            }
            Ok(_) => {}
            Err(error) => {
                locked(&self.shared.meter).not_kept += 1;
                self.shared.tell_rejected(answered.frame.name.clone(), error.to_string());
            }
        }
    }

    fn sample(&mut self, answered: &AnsweredFrame, label: Option<&str>) -> Result<Sample> {
        let learner = &mut self.learner;
        let sample = self.workers.install(|| learner.sample_of(&answered.frame, &answered.embedding, label));
        count_failure(&self.shared, &mut self.frame_failures, &sample);
        sample
    }

    fn store_labelled(&mut self, samples: &[Sample]) -> Result<Taught> {
        let stored = self.learner.restored()?.add(samples)?;
        Ok(self.taught(&stored))
    }

    fn taught(&self, stored: &[Stored]) -> Taught {
        self.shared.tell(LiveEvent::Changed("labels"));
        let duplicates = stored.iter().filter(|stored| stored.duplicate).count();
        Taught { labels: stored.iter().filter_map(|stored| stored.label).collect(), duplicates }
    }
}

/// Threads for as much of the machine as `power` leaves to learning.
fn threads(name: &'static str, power: Power, nice: i32) -> Result<rayon::ThreadPool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    rayon::ThreadPoolBuilder::new()
        .num_threads(power.threads(cores))
        .thread_name(move |number| format!("{name}-{number}"))
        .start_handler(move |_| yield_to_others(nice))
        .build()
        .map_err(|error| Error::io(format!("threads {name}"))(std::io::Error::other(error)))
}

/// Counts an outcome of the engine or the provider in `failures`. Whatever else goes wrong is for
/// whoever asked for it to mend.
fn count_failure<T>(shared: &Shared, failures: &mut usize, outcome: &Result<T>) {
    match outcome {
        Ok(_) => *failures = 0,
        Err(error @ (Error::Device { .. } | Error::Provider { .. })) => {
            shared.count_failure(Worker::Learn, failures, error);
        }
        Err(_) => {}
    }
}
