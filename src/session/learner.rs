//! The learner: what was observed and taught goes to memory; a consolidation trains the candidates, holds them
//! against held-out samples and publishes the best.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::candidates::{Candidate, Score, guard};
use super::predictor::{Answer, HeadKind, Inputs, Predictor, Trained, best_of, fit_temperature};
use super::settings::LearnerSettings;
use crate::event::{Event, EventSink};
use crate::heads::{Architecture, Parameters};
use crate::ids::{ClassId, SampleId};
use crate::learn::closed_form::{
    Assignment, ClassMeans, LdaSettings, MeanDistance, SemiLda, SemiSettings, StreamingLda,
};
use crate::learn::engine::Engine;
use crate::learn::trainer::{Samples, Trainer, take_teacher};
use crate::memory::{Memory, NewSample, NewVersion, Rows, Stored, StoredSample};
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
    settings: LearnerSettings,
    memory: Memory,
    engine: Box<dyn Engine>,
    inputs: Inputs,
    lda: StreamingLda,
    means: ClassMeans,
    counted: BTreeSet<SampleId>,
    columns: Vec<ClassId>,
    trained: Option<(Architecture, Parameters)>,
    published: Option<Arc<Predictor>>,
    tasks: usize,
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

    fn push(&self, samples: &mut Samples, sample: &StoredSample, label: i32) -> Result<()> {
        let mut views = vec![self.inputs.apply(&sample.features)?];
        for view in self.memory.views(sample.id)? {
            views.push(self.inputs.apply(&view)?);
        }
        samples.push(&views, label);
        Ok(())
    }

    /// Trains adapter and classifier on the task and the replay; keeps the state for the next task.
    fn train(
        &mut self,
        fresh: &[StoredSample],
        open: &[StoredSample],
        replay: &Samples,
        events: &mut dyn EventSink,
    ) -> Result<Answer> {
        for class in fresh.iter().filter_map(|s| s.class) {
            if !self.columns.contains(&class) {
                self.columns.push(class);
            }
        }
        let mut current = Samples::default();
        for sample in fresh.iter().chain(open) {
            let column = sample.class.and_then(|class| self.columns.iter().position(|c| *c == class));
            self.push(&mut current, sample, column.and_then(|c| i32::try_from(c).ok()).unwrap_or(-1))?;
        }
        let seed = self.settings.seed.wrapping_add(self.tasks as u64);
        let (architecture, state) = match self.trained.take() {
            Some((mut architecture, mut state)) => {
                take_teacher(&mut state);
                architecture.grow(&mut state, self.columns.len(), seed)?;
                (architecture, state)
            }
            None => {
                let width = self.memory.identity().feature_width;
                let architecture = self.settings.architecture(width, self.columns.len());
                let state = architecture.init(self.settings.seed);
                (architecture, state)
            }
        };
        let before = (architecture.clone(), state.clone());
        let outcome = self.train_from(&architecture, &state, [&current, replay], seed, events);
        let state = match outcome {
            Ok(state) => state,
            Err(error) => {
                self.trained = Some(before);
                return Err(error);
            }
        };
        let parameters = Arc::new(state.copied(&["adapter.", "classifier."], ""));
        self.trained = Some((architecture.clone(), state));
        Ok(Answer::Trained(Trained { architecture, parameters, columns: self.columns.clone() }))
    }

    fn train_from(
        &mut self,
        architecture: &Architecture,
        state: &Parameters,
        samples: [&Samples; 2],
        seed: u64,
        events: &mut dyn EventSink,
    ) -> Result<Parameters> {
        let recipe = &self.settings.recipe;
        let engine = self.engine.as_mut();
        let mut trainer = Trainer::load(engine, architecture, recipe, state, samples, seed)?;
        let stride = recipe.steps_per_submit.max(1) * 2;
        for from in (0..recipe.steps).step_by(stride) {
            let to = (from + stride).min(recipe.steps);
            let terms = trainer.run(engine, from, to)?;
            if let Some(last) = terms.last() {
                let total = last.total(&recipe.objective);
                events.emit(&Event::Trained { step: to, total, deviation: last.deviation });
            }
        }
        let state = engine.snapshot()?;
        match state.first_non_finite() {
            Some(name) => Err(Error::NonFinite { term: name.to_owned(), step: recipe.steps as u64 }),
            None => Ok(state),
        }
    }

    fn publish_best(
        &mut self,
        candidates: Vec<Candidate>,
        judges: &[StoredSample],
        training: &[StoredSample],
        start: Instant,
        events: &mut dyn EventSink,
    ) -> Result<Consolidation> {
        let mut scored = Vec::new();
        for candidate in candidates {
            let score = Score::of(&candidate.answer, &self.inputs, judges)?;
            scored.push((score, candidate));
        }
        let figures: Vec<_> = scored.iter().map(|(score, c)| (c.kind, score.balanced())).collect();
        // The sort is stable and closed forms come first: a trained head must be better, not equal.
        scored.sort_by(|(a, _), (b, _)| b.balanced().total_cmp(&a.balanced()));
        let old = match &self.published {
            Some(published) => {
                let known: Vec<_> = (judges.iter())
                    .filter(|s| s.class.is_some_and(|c| published.answer.columns().contains(&c)))
                    .cloned()
                    .collect();
                Score::of(&published.answer, &self.inputs, &known)?
            }
            None => Score { classes: std::collections::BTreeMap::new() },
        };
        let mut fall = None;
        let mut chosen = None;
        for (score, candidate) in scored {
            match guard(&old, &score, self.settings.guard_margin) {
                Ok(()) => {
                    chosen = Some((score, candidate));
                    break;
                }
                Err(by) => fall = fall.or(Some((candidate.kind, by))),
            }
        }
        let outcome = self.settle(chosen, fall, judges, training)?;
        events.emit(&Event::Consolidated {
            task: self.tasks,
            published: outcome.0,
            head: outcome.1.name(),
            candidates: figures.iter().map(|(kind, value)| (kind.name(), *value)).collect(),
            held_out: judges.len(),
            reason: outcome.2,
            learning_secs: start.elapsed().as_secs_f64(),
        });
        self.tasks += 1;
        Ok(Consolidation { published: outcome.0, head: outcome.1, candidates: figures })
    }

    fn settle(
        &mut self,
        chosen: Option<(Score, Candidate)>,
        fall: Option<(HeadKind, f64)>,
        judges: &[StoredSample],
        training: &[StoredSample],
    ) -> Result<(bool, HeadKind, String)> {
        let Some((score, candidate)) = chosen else {
            let (kind, by) = fall.unwrap_or((HeadKind::Slda, 0.0));
            let reason = format!("rolled back: the old classes would have lost {:.1} points", 100.0 * by);
            return Ok((false, kind, reason));
        };
        let heads = match &candidate.answer {
            Answer::Trained(trained) => trained.parameters.as_ref().clone(),
            Answer::Closed(head) => {
                let mut parameters = Parameters::default();
                let shape = [head.classes.len(), head.map.width()];
                parameters.insert("head.weight", crate::heads::Tensor::new(&shape, head.weight.clone())?);
                parameters.insert("head.bias", crate::heads::Tensor::new(&shape[..1], head.bias.clone())?);
                parameters
            }
        };
        let classes: Vec<_> = candidate.answer.columns().iter().map(|class| class.0).collect();
        let per_class: Vec<_> =
            score.classes.iter().map(|(class, (right, all))| (class.0, *right, *all)).collect();
        let figures = serde_json::json!({ "columns": classes, "held_out": per_class });
        let heads = heads.to_safetensors(&std::collections::BTreeMap::new())?;
        self.memory.publish(NewVersion {
            heads: &heads,
            head_kind: candidate.kind.name(),
            figures: &figures,
        })?;
        let reason = format!("best of the candidates on {} held-out samples", judges.len());
        let kind = candidate.kind;
        self.published = Some(Arc::new(self.predictor(kind, candidate.answer, judges, training)?));
        Ok((true, kind, reason))
    }

    fn predictor(
        &self,
        kind: HeadKind,
        answer: Answer,
        judges: &[StoredSample],
        training: &[StoredSample],
    ) -> Result<Predictor> {
        let settings = LdaSettings { shrinkage: self.settings.shrinkage, ..LdaSettings::default() };
        let geometry = self.lda.fit(settings)?;
        let known: Vec<_> =
            judges.iter().filter(|s| s.class.is_some_and(|c| answer.columns().contains(&c))).collect();
        let rows: Vec<f32> = known.iter().flat_map(|s| s.features.iter().copied()).collect();
        let truth: Vec<usize> = (known.iter())
            .filter_map(|s| answer.columns().iter().position(|c| Some(*c) == s.class))
            .collect();
        let logits = answer.logits(&self.inputs, &rows)?;
        let temperature = fit_temperature(&logits, answer.columns().len(), &truth);
        let reference: Vec<f32> = if rows.is_empty() {
            training.iter().take(256).flat_map(|s| s.features.iter().copied()).collect()
        } else {
            rows
        };
        let mut distances = geometry.novelty(&reference)?;
        distances.sort_by(f32::total_cmp);
        let novelty_scale =
            distances.get(distances.len() * 95 / 100).copied().unwrap_or(1.0).max(f32::MIN_POSITIVE);
        Ok(Predictor {
            kind,
            answer,
            inputs: self.inputs.clone(),
            names: self.memory.classes()?,
            geometry: Arc::new(geometry),
            temperature,
            novelty_scale,
        })
    }
}

/// Index of the best column.
pub(super) fn best_column(row: &[f32]) -> usize {
    best_of(row).0
}
