//! The learning thread: owns the learner, stores frames, teaches, consolidates, and puts the new head in place.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::eye::Eye;
use super::inference::Seen;
use super::power::{DutyCycle, Power, yield_to_others};
use super::status::{BackboneState, Progress};
use super::{AwaitedBackbones, LiveEvent, Queued, Shared, locked, meanwhile};
use crate::backbone::Backbone;
use crate::event::Event;
use crate::ids::SampleId;
use crate::memory::{LabelId, VersionId};
use crate::rng::Rng;
use crate::session::learner::{Consolidation, Learner, Observation};
use crate::vision::{Augmentation, Frame, thumbnail_jpeg};
use crate::{Error, Result};

/// Augmented views stored with each sample.
const VIEWS: usize = 2;
const SEED: u64 = 1;
const THUMBNAIL_SIDE: u32 = 128;
const THUMBNAIL_QUALITY: u8 = 80;
/// Between two looks for frames to store.
const NAP: Duration = Duration::from_millis(100);
/// `nice` of everything that learns.
const NICE: i32 = 10;

/// What teaching stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taught {
    /// Rows of the label log, in order.
    pub labels: Vec<LabelId>,
    /// How many repeated a stored sample, to which their label went.
    pub duplicates: usize,
}

/// Owns the learner on the learning thread; jobs get it to work with.
pub struct Tutor {
    learner: Learner,
    eye: Eye,
    number: u64,
    power: Power,
    workers: rayon::ThreadPool,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Tutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tutor").field("learner", &self.learner).finish_non_exhaustive()
    }
}

/// What a tutor is made of besides its backbone.
pub(super) struct Pupil {
    pub(super) learner: Learner,
    pub(super) power: Power,
    pub(super) shared: Arc<Shared>,
}

/// Waits for the backbones, hands on the one that answers, and gives the tutor with the other one; `None` at the end of
/// the loop, or if they could not be made.
pub(super) fn awaited(backbones: &AwaitedBackbones, pupil: Pupil) -> Option<Tutor> {
    let shared = pupil.shared.clone();
    let made = loop {
        match backbones.recv_timeout(NAP) {
            Err(RecvTimeoutError::Timeout) if shared.is_stopping() => return None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Err("loading it panicked".to_owned()),
            Ok(made) => break made.map_err(|error| error.to_string()),
        }
    };
    let tutor = made.and_then(|[eyes, tutor]| {
        let tutor = Tutor::new(tutor, pupil).map_err(|error| error.to_string())?;
        *locked(&shared.next_eyes) = Some(eyes);
        shared.is_without_tutor.store(false, Ordering::SeqCst);
        Ok(tutor)
    });
    tutor.map_err(|reason| shared.set_backbone(BackboneState::Failed { reason }, None)).ok()
}

/// Does jobs until there are no more senders, and stores frames in between. Jobs left at the end are named in `left`.
pub(super) fn run(mut tutor: Tutor, jobs: &Receiver<Queued>, left: &Mutex<Vec<&'static str>>) {
    yield_to_others(NICE);
    loop {
        match jobs.recv_timeout(NAP) {
            Ok(queued) if tutor.shared.is_stopping() => locked(left).push(queued.what),
            Ok(Queued { is_pressing, job, .. }) => {
                tutor.shared.pressing.fetch_sub(usize::from(is_pressing), Ordering::Relaxed);
                job(&mut tutor);
                tutor.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => tutor.store_kept(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Tutor {
    pub(super) fn new(backbone: Box<dyn Backbone>, pupil: Pupil) -> Result<Self> {
        let Pupil { mut learner, power, shared } = pupil;
        let eye = Eye::new(backbone)?;
        learner.meanwhile = Some(meanwhile(&shared));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(power.threads(cores))
            .thread_name(|number| format!("kaizen-learn-{number}"))
            .start_handler(|_| yield_to_others(NICE))
            .build()
            .map_err(|error| Error::io("threads kaizen-learn")(std::io::Error::other(error)))?;
        Ok(Self { learner, eye, number: 0, power, workers, shared })
    }

    /// The learner, to be read.
    #[must_use]
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Teaches frames that were seen; durable when it returns.
    ///
    /// # Errors
    /// As [`Learner::observe_all`].
    pub fn teach(&mut self, name: &str, frames: &[Arc<Seen>]) -> Result<Taught> {
        let mut observations = Vec::with_capacity(frames.len());
        for seen in frames {
            observations.push(self.observation(&seen.frame, seen.features.clone(), Some(name))?);
        }
        self.remember(&observations)
    }

    /// Teaches a picture; durable when it returns.
    ///
    /// # Errors
    /// As [`Learner::observe_all`], and whatever the backbone reports.
    pub fn teach_picture(&mut self, name: &str, frame: &Frame) -> Result<Taught> {
        let features = self.embed(frame)?;
        let observation = self.observation(frame, features, Some(name))?;
        self.remember(&[observation])
    }

    /// Gives a stored sample a label; durable when it returns.
    ///
    /// # Errors
    /// As [`crate::memory::Memory::label`].
    pub fn label(&mut self, sample: SampleId, name: &str) -> Result<LabelId> {
        let label = self.learner.label(sample, name)?;
        self.shared.tell(LiveEvent::Changed("labels"));
        Ok(label)
    }

    /// Names a cluster of unknown samples.
    ///
    /// # Errors
    /// As [`super::super::name_cluster`].
    pub fn name_cluster(&mut self, cluster: SampleId, name: &str) -> Result<Vec<LabelId>> {
        let labels = self.learner.name_cluster(cluster, name);
        self.shared.tell(LiveEvent::Changed("labels"));
        labels
    }

    /// Consolidates; a new head answers when it returns. A failure is told to the watcher too.
    ///
    /// # Errors
    /// As [`Learner::consolidate`].
    pub fn learn(&mut self) -> Result<Consolidation> {
        let outcome = self.while_learning(|learner, events| learner.consolidate(events));
        if let Err(error) = &outcome {
            let failed = Event::CandidateFailed { head: "learning", reason: error.to_string() };
            self.shared.tell(LiveEvent::Told(failed));
        }
        outcome
    }

    /// Takes labels back; what was learned from them is learned anew without them, once.
    ///
    /// # Errors
    /// As [`Learner::undo`]; labels before the one that is refused are taken back.
    pub fn undo(&mut self, labels: &[LabelId]) -> Result<Option<Consolidation>> {
        self.while_learning(|learner, events| learner.undo_all(labels, events))
    }

    /// Erases a class; gives the number of samples erased.
    ///
    /// # Errors
    /// As [`Learner::forget`].
    pub fn forget(&mut self, name: &str) -> Result<usize> {
        self.while_learning(|learner, events| Ok(learner.forget(name, events)?.0))
    }

    /// Takes a version back; the one before answers when it returns, if there is one.
    ///
    /// # Errors
    /// As [`Learner::roll_back`].
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.while_learning(|learner, _| learner.roll_back(version))
    }

    fn while_learning<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Learner, &mut DutyCycle<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let (shared, power, learner) = (self.shared.clone(), self.power, &mut self.learner);
        let outcome = self.workers.install(|| {
            let mut tell = |event: &Event| {
                let mut meter = locked(&shared.meter);
                match event {
                    Event::TaskStarted { steps, .. } => {
                        meter.learning = Some(Progress { step: 0, of: *steps });
                    }
                    Event::Trained { step, .. } => {
                        let of = meter.learning.map_or(*step, |progress| progress.of);
                        meter.learning = Some(Progress { step: *step, of });
                    }
                    _ => {}
                }
                drop(meter);
                shared.tell(LiveEvent::Told(event.clone()));
            };
            work(learner, &mut DutyCycle { power, since: Instant::now(), tell: &mut tell })
        });
        locked(&self.shared.meter).learning = None;
        *locked(&self.shared.predictor) = self.learner.predictor_now();
        self.shared.tell(LiveEvent::Changed("versions"));
        outcome
    }

    /// Stores one frame that waits, if there is one.
    fn store_kept(&mut self) {
        let Some(seen) = locked(&self.shared.kept).pop_front() else { return };
        let stored = match self.learner.has_room() {
            Ok(false) => {
                locked(&self.shared.meter).not_kept += 1;
                return;
            }
            Ok(true) => self
                .observation(&seen.frame, seen.features.clone(), None)
                .and_then(|observation| self.learner.observe_all(&[observation])),
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
                let (name, reason) = (seen.frame.name.clone(), error.to_string());
                self.shared.tell(LiveEvent::Told(Event::FrameRejected { name, reason }));
            }
        }
    }

    fn remember(&mut self, observations: &[Observation]) -> Result<Taught> {
        let stored = self.learner.observe_all(observations)?;
        self.shared.tell(LiveEvent::Changed("labels"));
        let duplicates = stored.iter().filter(|stored| stored.duplicate).count();
        Ok(Taught { labels: stored.iter().filter_map(|stored| stored.label).collect(), duplicates })
    }

    fn observation(&mut self, frame: &Frame, features: Vec<f32>, label: Option<&str>) -> Result<Observation> {
        self.number += 1;
        let mut rng = Rng::named(SEED, &format!("augment live {} {}", frame.name, self.number));
        let side = self.eye.side();
        let mut views = Vec::with_capacity(VIEWS);
        for _ in 0..VIEWS {
            views.push(self.embed(&Augmentation::gentle().view(frame, side, &mut rng)?)?);
        }
        Ok(Observation {
            features,
            views,
            thumbnail: Some(thumbnail_jpeg(frame, THUMBNAIL_SIDE, THUMBNAIL_QUALITY)?),
            name: frame.name.clone(),
            timestamp_millis: i64::try_from(frame.timestamp_millis).unwrap_or(i64::MAX),
            label: label.map(str::to_owned),
        })
    }

    /// Features `[D]` of one picture.
    fn embed(&mut self, frame: &Frame) -> Result<Vec<f32>> {
        let eye = &mut self.eye;
        self.workers.install(|| eye.embed(frame))
    }
}
