//! The learner: what was observed and taught goes to memory; a consolidation trains the candidates, holds them
//! against held-out samples and publishes the best.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::candidates::Candidate;
use super::learned::{Learned, Statistics};
use super::meanwhile::Meanwhile;
use super::predictor::{Answer, HeadKind, Inputs, Predictor};
use super::publish::Trial;
use super::settings::LearnerSettings;
use crate::event::{Event, EventSink};
use crate::heads::{Architecture, Parameters};
use crate::ids::ClassId;
use crate::learn::closed_form::{EnsembleModel, EnsembleSettings, LdaModel};
use crate::learn::engine::Engine;
use crate::memory::{Memory, NewSample, Rows, Stored, StoredSample};
use crate::rng::Rng;
use crate::{Error, Result};

/// Of what is stored, one part in so many more must fit into the memory limit for an unlabelled sample to be stored.
const ROOM_FOR_LABELS: u64 = 10;

/// A frame's features, ready to remember.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Features of the frame itself, `[D]`.
    pub features: Vec<f32>,
    /// Features of augmented views, each `[D]`.
    pub views: Vec<Vec<f32>>,
    /// A small JPEG, to show.
    pub thumbnail: Option<Vec<u8>>,
    /// File name or position.
    pub name: String,
    /// When it was taken.
    pub timestamp_millis: i64,
    /// Its class, if known.
    pub label: Option<String>,
}

impl Observation {
    /// The same to the memory.
    pub(super) fn sample(&self) -> NewSample<'_> {
        NewSample {
            features: &self.features,
            views: &self.views,
            thumbnail: self.thumbnail.as_deref(),
            name: &self.name,
            timestamp_millis: self.timestamp_millis,
            label: self.label.as_deref(),
        }
    }
}

/// What a consolidation did.
#[derive(Clone, Debug)]
pub struct Consolidation {
    /// Whether new heads serve.
    pub published: bool,
    /// The head that was chosen.
    pub head: HeadKind,
    /// Held-out accuracy of each candidate, 0..1.
    pub candidates: Vec<(HeadKind, f64)>,
}

/// Observes, remembers, consolidates; answers by the last published head.
pub struct Learner {
    pub(super) settings: LearnerSettings,
    pub(super) memory: Memory,
    pub(super) engine: Box<dyn Engine>,
    pub(super) inputs: Inputs,
    pub(super) learned: Learned,
    /// Gathered when first needed: opening a state costs nothing by the sample.
    pub(super) statistics: Option<Statistics>,
    pub(super) columns: Vec<ClassId>,
    pub(super) trained: Option<(Architecture, Parameters)>,
    pub(super) published: Option<Arc<Predictor>>,
    /// What answers was fitted to the labels on opening and never stood before the guard.
    pub(super) is_provisional: bool,
    pub(super) meanwhile: Option<Meanwhile>,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner")
            .field("columns", &self.columns)
            .field("tasks", &self.learned.tasks)
            .finish_non_exhaustive()
    }
}

impl Learner {
    /// A learner over `memory`: it answers and goes on as the one that last wrote there. A state with labels and
    /// without a version answers from the start, by a closed-form head.
    ///
    /// # Errors
    /// [`Error::State`] if the memory cannot be read, [`Error::Config`] for settings out of range.
    pub fn new(settings: LearnerSettings, memory: Memory, engine: Box<dyn Engine>) -> Result<Self> {
        let inputs = Inputs(settings.map(memory.identity().feature_width)?);
        let mut learner = Self {
            learned: Learned::default(),
            statistics: None,
            inputs,
            settings,
            memory,
            engine,
            columns: Vec::new(),
            trained: None,
            published: None,
            is_provisional: false,
            meanwhile: None,
        };
        learner.restore_training()?;
        learner.is_provisional = learner.memory.published()?.is_none();
        learner.published = Predictor::restore(&learner.memory, &learner.settings)?.map(Arc::new);
        Ok(learner)
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The engine that trains.
    #[must_use]
    pub fn engine(&mut self) -> &mut dyn Engine {
        self.engine.as_mut()
    }

    /// The published head, if anything was learned.
    #[must_use]
    pub fn predictor_now(&self) -> Option<Arc<Predictor>> {
        self.published.clone()
    }

    /// Remembers a frame, durably if the memory is a file.
    ///
    /// # Errors
    /// [`Error::State`] if the quota or the disk is full, [`Error::Frame`] for features that are not finite.
    pub fn observe(&mut self, observation: &Observation) -> Result<Stored> {
        self.memory.add_sample(observation.sample())
    }

    /// Learns what came since the last time: trains the heads on new samples and replay, fits the closed forms, and
    /// publishes the best on held-out samples unless the old classes would suffer.
    ///
    /// # Errors
    /// [`Error::Config`] if nothing is labelled yet; [`Error::State`] from the memory. Training that runs into non-finite
    /// values, or whose engine fails, only drops the trained candidate.
    pub fn consolidate(&mut self, events: &mut dyn EventSink) -> Result<Consolidation> {
        let start = Instant::now();
        self.settle_removals(events)?;
        let ensemble = self.ensemble()?;
        let training = self.memory.samples(Rows::Training)?;
        let held_out = self.memory.samples(Rows::HeldOut)?;
        let unlabelled = self.memory.samples(Rows::Unlabelled)?;
        if training.is_empty() {
            return Err(Error::config("labels", 0, "at least one labelled sample: teach a class first"));
        }
        self.learned.keep_shared(&unlabelled);
        let fresh: Vec<_> = training.iter().filter(|s| !self.learned.has(s)).cloned().collect();
        // A sample with the held-out mark, labelled later, is to judge heads that never saw it.
        let shared = self.learned.shared();
        let is_open = |s: &StoredSample| !s.held_out && !shared.contains(&s.id);
        // Closed forms learn nothing from unlabelled samples alone.
        if fresh.is_empty() && (self.settings.recipe.steps == 0 || !unlabelled.iter().any(is_open)) {
            return self.nothing_new(events);
        }
        let mut statistics = self.statistics(ensemble, &training, &unlabelled)?;
        let mut open = unlabelled;
        open.retain(is_open);
        self.announce(&fresh, open.len(), events)?;
        let of = self.settings.ensemble(self.inputs.0.features()).random_features;
        if ensemble.random_features < of {
            events.emit(&Event::Narrowed { random_features: ensemble.random_features, of });
        }
        let replay = self.replay(&training);
        statistics.learn(&mut self.learned, &fresh, &open)?;
        if self.settings.recipe.steps == 0 {
            // The solutions need the room.
            open = Vec::new();
        }
        let (candidates, model) = closed_forms(&statistics)?;
        self.keep(statistics);
        let trial = Trial { held_out: &held_out, training: &training, model, start, guarded: true };
        let mut scored = self.scored(candidates, &trial)?;
        if self.settings.recipe.steps > 0 {
            self.answer_meanwhile(&scored, &trial)?;
            let meanwhile = self.meanwhile.clone();
            let trained = self.train(&fresh, &open, &replay, meanwhile.as_ref(), events);
            scored.extend(self.scored(Self::unless_it_failed(trained, events)?, &trial)?);
        }
        self.publish_best(scored, trial, events)
    }

    /// The closed forms as they are to be on what is stored, within the memory limit.
    pub(super) fn ensemble(&self) -> Result<EnsembleSettings> {
        self.settings.ensemble_for(self.inputs.0.features(), &self.memory.counts()?)
    }

    /// Whether another unlabelled sample may be stored, so that what is taught later can still be learned within the memory
    /// limit; true without one.
    pub(super) fn has_room(&self) -> Result<bool> {
        if self.settings.memory_limit.is_none() {
            return Ok(true);
        }
        let mut counts = self.memory.counts()?;
        let samples = counts.training + counts.held_out + counts.unlabelled;
        counts.unlabelled += samples / ROOM_FOR_LABELS + 1;
        Ok(self.settings.ensemble_for(self.inputs.0.features(), &counts).is_ok())
    }

    /// Takes the statistics out, gathered anew from the stored samples unless they are at hand.
    pub(super) fn statistics(
        &mut self,
        settings: EnsembleSettings,
        training: &[StoredSample],
        unlabelled: &[StoredSample],
    ) -> Result<Statistics> {
        if let Some(statistics) = self.statistics.take() {
            return Ok(statistics);
        }
        let mut statistics = Statistics::new(&self.inputs, settings, self.settings.seed)?;
        statistics.relearn(&mut self.learned, training, unlabelled)?;
        Ok(statistics)
    }

    /// Keeps the statistics for the next time; under a memory limit they are gathered anew then.
    pub(super) fn keep(&mut self, statistics: Statistics) {
        self.statistics = self.settings.memory_limit.is_none().then_some(statistics);
    }

    /// Training that ran into values that are not finite, or an engine that failed, only costs its candidate: what was
    /// taught is in the closed forms.
    pub(super) fn unless_it_failed(
        trained: Result<Answer>,
        events: &mut dyn EventSink,
    ) -> Result<Vec<Candidate>> {
        match trained {
            Err(error @ (Error::NonFinite { .. } | Error::Device { .. })) => {
                let (head, reason) = (HeadKind::Kaizen.name(), error.to_string());
                events.emit(&Event::CandidateFailed { head, reason });
                Ok(Vec::new())
            }
            other => Ok(vec![Candidate { kind: HeadKind::Kaizen, answer: other? }]),
        }
    }

    fn nothing_new(&mut self, events: &mut dyn EventSink) -> Result<Consolidation> {
        let head = self.published.as_ref().map_or(HeadKind::Slda, |published| published.kind());
        events.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published: false,
            head: head.name(),
            candidates: Vec::new(),
            held_out: 0,
            reason: "every sample was learned before".to_owned(),
            learning_secs: 0.0,
        });
        self.learned.tasks += 1;
        Ok(Consolidation { published: false, head, candidates: Vec::new() })
    }

    fn announce(&self, fresh: &[StoredSample], unlabelled: usize, events: &mut dyn EventSink) -> Result<()> {
        let new: BTreeSet<_> =
            fresh.iter().filter_map(|s| s.class).filter(|c| !self.columns.contains(c)).collect();
        let classes =
            self.memory.classes()?.into_iter().filter(|(id, _)| new.contains(id)).map(|(_, name)| name);
        events.emit(&Event::TaskStarted {
            task: self.learned.tasks,
            classes: classes.collect(),
            frames: [fresh.len(), unlabelled],
            steps: self.settings.recipe.steps,
        });
        Ok(())
    }

    /// Old classes' labelled samples to train on again, with their columns: at most so many a class, drawn by seed.
    fn replay(&self, training: &[StoredSample]) -> Vec<(StoredSample, i32)> {
        let mut replay = Vec::new();
        for (column, &class) in self.columns.iter().enumerate() {
            let is_old = |s: &&StoredSample| s.class == Some(class) && self.learned.has(s);
            let mut rows: Vec<_> = training.iter().filter(is_old).collect();
            Rng::named(self.settings.seed, &format!("replay {class}")).shuffle(&mut rows);
            let column = i32::try_from(column).unwrap_or(-1);
            let rows = rows.into_iter().take(self.settings.replay_per_class);
            replay.extend(rows.map(|sample| (sample.clone(), column)));
        }
        replay
    }
}

/// The closed forms, best guess first, and the discriminant behind them.
pub(super) fn closed_forms(statistics: &Statistics) -> Result<(Vec<Candidate>, LdaModel)> {
    let EnsembleModel { lda, head } = statistics.ensemble.fit()?;
    let means = statistics.means.fit()?;
    let candidates = vec![
        Candidate { kind: HeadKind::Ensemble, answer: Answer::Ensemble(head.clone()) },
        Candidate { kind: HeadKind::Slda, answer: Answer::Linear(head.lda) },
        Candidate { kind: HeadKind::Ridge, answer: Answer::Linear(head.ridge) },
        Candidate { kind: HeadKind::Ncm, answer: Answer::Linear(means) },
    ];
    Ok((candidates, lda))
}
