//! The learner: what was observed and taught goes to memory; a consolidation trains the candidates, holds them
//! against held-out samples and publishes the best.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::candidates::Candidate;
use super::predictor::{Answer, HeadKind, Inputs, Predictor};
use super::settings::LearnerSettings;
use crate::event::{Event, EventSink};
use crate::heads::{Architecture, Parameters};
use crate::ids::{ClassId, SampleId};
use crate::learn::closed_form::{
    Assignment, ClassMeans, LdaSettings, MeanDistance, SemiLda, SemiSettings, StreamingLda,
};
use crate::learn::engine::Engine;
use crate::learn::trainer::Samples;
use crate::memory::{Memory, NewSample, Rows, Stored, StoredSample};
use crate::rng::Rng;
use crate::{Error, Result};

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
    pub(super) lda: StreamingLda,
    means: ClassMeans,
    counted: BTreeSet<SampleId>,
    pub(super) columns: Vec<ClassId>,
    pub(super) trained: Option<(Architecture, Parameters)>,
    pub(super) published: Option<Arc<Predictor>>,
    pub(super) tasks: usize,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner")
            .field("columns", &self.columns)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl Learner {
    /// A learner over `memory`; what is stored there is learned anew into the closed-form heads at once, so that a
    /// state with labels answers from the start.
    ///
    /// # Errors
    /// [`Error::State`] if the memory cannot be read, [`Error::Config`] for settings out of range.
    pub fn new(settings: LearnerSettings, memory: Memory, engine: Box<dyn Engine>) -> Result<Self> {
        let width = memory.identity().feature_width;
        let map = settings.map(width)?;
        let mut learner = Self {
            lda: StreamingLda::new(map.clone()),
            means: ClassMeans::new(map.clone(), MeanDistance::Standardised),
            inputs: Inputs(map),
            settings,
            memory,
            engine,
            counted: BTreeSet::new(),
            columns: Vec::new(),
            trained: None,
            published: None,
            tasks: 0,
        };
        learner.restore_training()?;
        let training = learner.memory.samples(Rows::Training)?;
        if !training.is_empty() {
            learner.count(&training)?;
            let held_out = learner.memory.samples(Rows::HeldOut)?;
            let answer = learner.closed_form(HeadKind::Slda)?;
            learner.published =
                Some(Arc::new(learner.predictor(HeadKind::Slda, answer, &held_out, &training)?));
        }
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
        self.memory.add_sample(NewSample {
            features: &observation.features,
            views: &observation.views,
            thumbnail: observation.thumbnail.as_deref(),
            name: &observation.name,
            timestamp_millis: observation.timestamp_millis,
            label: observation.label.as_deref(),
        })
    }

    /// Learns what came since the last time: trains the heads on new samples and replay, fits the closed forms, and
    /// publishes the best on held-out samples unless the old classes would suffer.
    ///
    /// # Errors
    /// [`Error::Config`] if nothing is labelled yet; [`Error::State`] from the memory; [`Error::Device`] from the
    /// engine. Training that runs into non-finite values only drops the trained candidate.
    pub fn consolidate(&mut self, events: &mut dyn EventSink) -> Result<Consolidation> {
        let start = Instant::now();
        let training = self.memory.samples(Rows::Training)?;
        let held_out = self.memory.samples(Rows::HeldOut)?;
        let unlabelled = self.memory.samples(Rows::Unlabelled)?;
        if training.is_empty() {
            return Err(Error::config("labels", 0, "at least one labelled sample: teach a class first"));
        }
        let fresh: Vec<_> = training.iter().filter(|s| !self.counted.contains(&s.id)).cloned().collect();
        let open: Vec<_> = unlabelled.into_iter().filter(|s| !self.counted.contains(&s.id)).collect();
        if fresh.is_empty() && open.is_empty() {
            return self.nothing_new(events);
        }
        self.announce(&fresh, open.len(), events)?;
        let replay = self.replay(&training)?;
        self.count(&fresh)?;
        self.count_unlabelled(&fresh, &open)?;
        let mut candidates = vec![
            Candidate { kind: HeadKind::Slda, answer: self.closed_form(HeadKind::Slda)? },
            Candidate { kind: HeadKind::Ncm, answer: self.closed_form(HeadKind::Ncm)? },
        ];
        match self.train(&fresh, &open, &replay, events) {
            Ok(answer) => candidates.push(Candidate { kind: HeadKind::Kaizen, answer }),
            Err(error @ Error::NonFinite { .. }) => {
                events.emit(&Event::CandidateFailed {
                    head: HeadKind::Kaizen.name(),
                    reason: error.to_string(),
                });
            }
            Err(error) => return Err(error),
        }
        // Without held-out samples (very few labels) the training rows must do.
        let judges = if held_out.is_empty() { &training } else { &held_out };
        self.publish_best(candidates, judges, &training, start, events)
    }

    fn nothing_new(&mut self, events: &mut dyn EventSink) -> Result<Consolidation> {
        let head = self.published.as_ref().map_or(HeadKind::Slda, |published| published.kind());
        events.emit(&Event::Consolidated {
            task: self.tasks,
            published: false,
            head: head.name(),
            candidates: Vec::new(),
            held_out: 0,
            reason: "every sample was learned before".to_owned(),
            learning_secs: 0.0,
        });
        self.tasks += 1;
        Ok(Consolidation { published: false, head, candidates: Vec::new() })
    }

    fn announce(&self, fresh: &[StoredSample], unlabelled: usize, events: &mut dyn EventSink) -> Result<()> {
        let new: BTreeSet<_> =
            fresh.iter().filter_map(|s| s.class).filter(|c| !self.columns.contains(c)).collect();
        let classes =
            self.memory.classes()?.into_iter().filter(|(id, _)| new.contains(id)).map(|(_, name)| name);
        events.emit(&Event::TaskStarted {
            task: self.tasks,
            classes: classes.collect(),
            frames: [fresh.len(), unlabelled],
            steps: self.settings.recipe.steps,
        });
        Ok(())
    }

    /// Adds labelled rows to the exact statistics of the closed forms.
    fn count(&mut self, rows: &[StoredSample]) -> Result<()> {
        let labelled = rows.iter().filter_map(|s| s.class.map(|class| (s, class)));
        let (mut h, mut classes) = (Vec::new(), Vec::new());
        for (sample, class) in labelled {
            h.extend_from_slice(&sample.features);
            classes.push(class);
            self.counted.insert(sample.id);
        }
        self.lda.add(&h, Assignment::Labels(&classes))?;
        self.means.add(&h, Assignment::Labels(&classes))
    }

    /// Shares unlabelled rows of the task out among the task's classes (EM) and adds them to the discriminant.
    fn count_unlabelled(&mut self, fresh: &[StoredSample], open: &[StoredSample]) -> Result<()> {
        if fresh.is_empty() || open.is_empty() {
            return Ok(());
        }
        let join =
            |rows: &[StoredSample]| rows.iter().flat_map(|s| s.features.iter().copied()).collect::<Vec<_>>();
        let classes: Vec<_> = fresh.iter().filter_map(|s| s.class).collect();
        let semi = SemiLda::new(self.inputs.0.clone(), SemiSettings::default())?;
        let open_rows = join(open);
        let outcome = semi.assign(&join(fresh), &classes, &open_rows)?;
        self.lda.add(&open_rows, outcome.assignment())?;
        self.counted.extend(open.iter().map(|s| s.id));
        Ok(())
    }

    fn closed_form(&self, kind: HeadKind) -> Result<Answer> {
        let settings = LdaSettings { shrinkage: self.settings.shrinkage, ..LdaSettings::default() };
        Ok(Answer::Closed(match kind {
            HeadKind::Ncm => self.means.fit()?,
            _ => self.lda.fit(settings)?.head,
        }))
    }

    /// Old classes' labelled samples to train on again: at most so many a class, drawn by seed.
    fn replay(&self, training: &[StoredSample]) -> Result<Samples> {
        let mut replay = Samples::default();
        for (column, &class) in self.columns.iter().enumerate() {
            let is_old = |s: &&StoredSample| s.class == Some(class) && self.counted.contains(&s.id);
            let mut rows: Vec<_> = training.iter().filter(is_old).collect();
            Rng::named(self.settings.seed, &format!("replay {class}")).shuffle(&mut rows);
            for sample in rows.into_iter().take(self.settings.replay_per_class) {
                self.push(&mut replay, sample, i32::try_from(column).unwrap_or(-1))?;
            }
        }
        Ok(replay)
    }

    pub(super) fn push(&self, samples: &mut Samples, sample: &StoredSample, label: i32) -> Result<()> {
        let mut views = vec![self.inputs.apply(&sample.features)?];
        for view in self.memory.views(sample.id)? {
            views.push(self.inputs.apply(&view)?);
        }
        samples.push(&views, label);
        Ok(())
    }
}
