//! A task's training from first to last step: which rows make up a batch, at which rates.
//! Everything drawn is a function of seed and step, so a run that stops after any step goes on bit
//! for bit from the engine's snapshot.

use serde::{Deserialize, Serialize};

use crate::heads::{ADAPTER, Architecture, Parameters, TAIL};
use crate::learn::engine::{Engine, Problem, StepInput, Targets, Terms};
use crate::learn::objective::Objective;
use crate::learn::schedule::{momentum_decay, warmup_cosine};
use crate::learn::update::Optimizer;
use crate::rng::Rng;
use crate::{Error, Result};

/// How a task is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Terms and weights.
    pub objective: Objective,
    /// Update rule.
    pub optimizer: Optimizer,
    /// Rows of the current task in each batch.
    pub current_rows: usize,
    /// Rows of replay in each batch, if there is any replay.
    pub replay_rows: usize,
    /// Steps per task.
    pub steps: usize,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Peak learning rate of adapter, projector and predictors.
    pub learning_rate: f64,
    /// Peak learning rate of the classifier.
    pub classifier_rate: f64,
    /// First and last EMA decay of the momentum copies.
    pub momentum_decay: [f64; 2],
    /// Most steps of one submit.
    pub steps_per_submit: usize,
}

/// Samples of a task or of the replay: their cached views' features and their class.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// All views' features, sample after sample, `[sum of views, D]`.
    pub features: Vec<f32>,
    /// Number of views of each sample, at least 1.
    pub views: Vec<usize>,
    /// Index of each sample's class in the classifier, -1 without label.
    pub labels: Vec<i32>,
}

impl Samples {
    /// Adds a sample with its views `[V, D]`.
    pub fn push(&mut self, views: &[impl AsRef<[f32]>], label: i32) {
        views.iter().for_each(|view| self.features.extend_from_slice(view.as_ref()));
        self.views.push(views.len());
        self.labels.push(label);
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.views.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }
}

/// A task being trained on an engine.
#[derive(Clone, Debug)]
pub struct Trainer {
    recipe: Recipe,
    rows: usize,
    seed: u64,
    current: Draw,
    replay: Draw,
}

/// Samples of one kind: first table row and number of views of each.
#[derive(Clone, Debug)]
struct Draw {
    purpose: &'static str,
    spans: Vec<(u32, usize)>,
    per_batch: usize,
    order: Option<(usize, Vec<usize>)>,
}

impl Trainer {
    /// Loads a task into `engine`, samples and all: `state` holds the heads and, from the second
    /// task on, the teacher.
    ///
    /// # Errors
    /// [`Error::NotReady`] for no samples, and whatever the engine refuses.
    pub fn load(
        engine: &mut dyn Engine,
        architecture: &Architecture,
        recipe: &Recipe,
        state: &Parameters,
        [current, replay]: [Samples; 2],
        seed: u64,
    ) -> Result<Self> {
        if current.is_empty() {
            return Err(Error::not_ready("training", "the task has no samples", "add some first"));
        }
        let replay_rows = if replay.is_empty() { 0 } else { recipe.replay_rows };
        let mut labels = Vec::new();
        let mut next_row = 0_u32;
        let mut draw = |purpose, samples: &Samples, per_batch| -> Result<Draw> {
            let mut spans = Vec::with_capacity(samples.len());
            for (&views, &label) in samples.views.iter().zip(&samples.labels) {
                spans.push((next_row, views));
                next_row =
                    u32::try_from(views).ok().and_then(|views| next_row.checked_add(views)).ok_or_else(
                        || Error::shape("feature table rows", "below 2^32", samples.features.len()),
                    )?;
                labels.extend(std::iter::repeat_n(label, views));
            }
            Ok(Draw { purpose, spans, per_batch, order: None })
        };
        let draws = (draw("current", &current, recipe.current_rows)?, draw("replay", &replay, replay_rows)?);
        let mut table = current.features;
        table.reserve_exact(replay.features.len());
        table.extend(replay.features);
        let rows = recipe.current_rows + replay_rows;
        let problem = Problem {
            architecture: architecture.clone(),
            objective: recipe.objective.clone(),
            optimizer: recipe.optimizer,
            rows,
            table,
            targets: Targets::Labels(labels),
            steps_per_submit: recipe.steps_per_submit,
        };
        engine.load(problem, state)?;
        let (current, replay) = draws;
        Ok(Self { recipe: recipe.clone(), rows, seed, current, replay })
    }

    /// Runs steps `from..to` (counted within the task) and returns their losses.
    ///
    /// # Errors
    /// [`Error::NonFinite`] and whatever else the engine reports.
    pub fn run(&mut self, engine: &mut dyn Engine, from: usize, to: usize) -> Result<Vec<Terms>> {
        let inputs: Vec<_> = (from..to).map(|step| self.input(step)).collect();
        engine.step(&inputs)
    }

    fn input(&mut self, step: usize) -> StepInput {
        let mut rng = Rng::named(self.seed, &format!("views {step}"));
        let mut index = vec![0; 2 * self.rows];
        let (first, second) = index.split_at_mut(self.rows);
        let mut at = 0;
        for draw in [&mut self.current, &mut self.replay] {
            for i in 0..draw.per_batch {
                let (row, views) = draw.sample(self.seed, step * draw.per_batch + i);
                let one = rng.below(views);
                let other = if views > 1 { (one + 1 + rng.below(views - 1)) % views } else { one };
                let row_of = |view: usize| row + u32::try_from(view).unwrap_or(0);
                (first[at], second[at]) = (row_of(one), row_of(other));
                at += 1;
            }
        }
        let Recipe { steps, warmup_steps, learning_rate, classifier_rate, .. } = self.recipe;
        let rate = |peak: f64| warmup_cosine(step, steps, warmup_steps, peak / 10.0, peak);
        let [base, last] = self.recipe.momentum_decay;
        StepInput {
            index,
            learning_rate: rate(learning_rate),
            classifier_rate: rate(classifier_rate),
            momentum_decay: momentum_decay(step, steps, base, last),
            step: step as u64,
            queue_start: step * self.rows % self.recipe.objective.queue.max(1),
        }
    }
}

impl Draw {
    /// The sample at `position` of an endless sequence of shuffled epochs.
    fn sample(&mut self, seed: u64, position: usize) -> (u32, usize) {
        let (epoch, place) = (position / self.spans.len(), position % self.spans.len());
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut order: Vec<usize> = (0..self.spans.len()).collect();
            Rng::named(seed, &format!("{} {epoch}", self.purpose)).shuffle(&mut order);
            self.order = Some((epoch, order));
        }
        let place = self.order.as_ref().map_or(place, |(_, order)| order[place]);
        self.spans[place]
    }
}

/// The teacher of the next task: frozen copies of extractor, projector and classifier, taken once
/// when a task is done. Optimiser moments are dropped, since they start anew.
pub fn take_teacher(state: &mut Parameters) {
    state.drop_prefixed(&["teacher.", "optimizer."]);
    let teacher = state.copied(&[ADAPTER, TAIL, "projector.", "classifier."], "teacher.");
    state.extend(teacher);
}
