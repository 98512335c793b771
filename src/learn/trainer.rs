//! A task's training from first to last step: which rows make up a batch, at which rates.
//! Everything drawn is a function of seed and step, so a run that stops after any step goes on bit
//! for bit from the engine's snapshot.

use serde::{Deserialize, Serialize};

use crate::heads::{ADAPTER, Architecture, Parameters, TAIL};
use crate::latent::LatentTable;
use crate::learn::engine::{Engine, Problem, STARTS_ANEW, StepInput, Table, Targets, Terms};
use crate::learn::objective::Objective;
use crate::learn::placement::Placement;
use crate::learn::schedule::{momentum_decay, warmup_cosine};
use crate::learn::step::{StepSpec, step_program};
use crate::learn::update::{ExtractorTraining, Optimizer};
use crate::rng::Rng;
use crate::{Error, Result};

/// How a task is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Terms and weights.
    pub objective: Objective,
    /// Update rule.
    pub optimizer: Optimizer,
    /// What of the extractor trains, and at which rates.
    #[serde(default)]
    pub extractor_training: ExtractorTraining,
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
    /// Share of each target that is spread over all classes, 0..1 (arXiv 1512.00567).
    #[serde(default)]
    pub label_smoothing: f64,
    /// First and last EMA decay of the momentum copies.
    pub momentum_decay: [f64; 2],
    /// Most steps of one submit.
    pub steps_per_submit: usize,
    /// Parts of each batch that are run one after the other, so that a step holds the activations
    /// of one part. Default 1.
    #[serde(default = "one")]
    pub micro_batches: usize,
}

fn one() -> usize {
    1
}

/// What the classifier is to say of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The column of its class, -1 without a label.
    Label(i32),
    /// Shares of columns, and the weight of the sample beside a labelled one.
    Shares(Vec<(usize, f32)>, f32),
}

impl From<i32> for Target {
    fn from(label: i32) -> Self {
        Self::Label(label)
    }
}

impl Target {
    /// Adds `rows` rows of targets `[classes]`, with their weights.
    fn spread(
        &self,
        rows: usize,
        classes: usize,
        smoothing: f32,
        (targets, weights): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        #[allow(clippy::cast_precision_loss, reason = "classes are few")]
        let mut row = vec![smoothing / classes.max(1) as f32; classes];
        let label;
        let (shares, weight) = match self {
            Self::Label(column) => {
                label = usize::try_from(*column).ok().map(|column| (column, 1.0));
                (label.as_slice(), if label.is_some() { 1.0 } else { 0.0 })
            }
            Self::Shares(shares, weight) => (&shares[..], *weight),
        };
        for (column, share) in shares {
            if let Some(value) = row.get_mut(*column) {
                *value += (1.0 - smoothing) * share;
            }
        }
        for _ in 0..rows {
            targets.extend_from_slice(&row);
            weights.push(weight);
        }
    }
}

/// Samples of a task or of the replay: their cached views and what the classifier is to say.
#[derive(Clone, Debug)]
pub struct Samples {
    /// All views' features or latents, sample after sample, `[sum of views, I]`.
    pub table: Table,
    /// Number of views of each sample, at least 1.
    pub views: Vec<usize>,
    /// What the classifier is to say of each sample.
    pub targets: Vec<Target>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { table: Table::Rows(Vec::new()), views: Vec::new(), targets: Vec::new() }
    }
}

impl Samples {
    /// Samples whose views are latents in 8 bits, maps of `positions` and `channels`.
    #[must_use]
    pub fn of_latents(positions: usize, channels: usize) -> Self {
        Self { table: Table::Latents(LatentTable::new(positions, channels)), ..Self::default() }
    }

    /// Adds a sample whose views are rows of `latents`.
    ///
    /// # Errors
    /// [`Error::Shape`] for latents of another shape, rows that are not there, or samples that are
    /// not of latents.
    pub fn push_latents(
        &mut self,
        latents: &LatentTable,
        rows: std::ops::Range<usize>,
        target: impl Into<Target>,
    ) -> Result<()> {
        let Table::Latents(table) = &mut self.table else {
            return Err(Error::shape("samples", "samples of latents", "samples of rows"));
        };
        rows.clone().try_for_each(|row| table.copy_row(latents, row))?;
        self.views.push(rows.len());
        self.targets.push(target.into());
        Ok(())
    }

    /// Adds a sample with its views `[V, I]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for samples of latents, which take [`Samples::push_latents`].
    pub fn push(&mut self, views: &[impl AsRef<[f32]>], target: impl Into<Target>) -> Result<()> {
        let Table::Rows(table) = &mut self.table else {
            return Err(Error::shape("samples", "samples of rows", "samples of latents"));
        };
        views.iter().for_each(|view| table.extend_from_slice(view.as_ref()));
        self.views.push(views.len());
        self.targets.push(target.into());
        Ok(())
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

/// Bytes that the buffers of a step on latents take, without the table of latents: parameters,
/// moments, gradients and what a batch of the recipe's rows leaves for its backward pass.
///
/// # Errors
/// As [`step_program`].
pub(crate) fn step_bytes(
    architecture: &Architecture,
    recipe: &Recipe,
    teacher_classes: Option<usize>,
) -> Result<u64> {
    let rows = recipe.current_rows + recipe.replay_rows;
    let program = step_program(&StepSpec {
        architecture,
        objective: &recipe.objective,
        optimizer: Some(&recipe.optimizer),
        extractor_training: recipe.extractor_training,
        rows,
        micro_batches: recipe.micro_batches,
        table_rows: rows,
        has_latents: true,
        has_soft_targets: true,
        teacher_classes,
    })?;
    Ok(Placement::of(&program).bytes())
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
        if !(0.0..1.0).contains(&recipe.label_smoothing) {
            return Err(Error::config("label_smoothing", recipe.label_smoothing, "at least 0 and below 1"));
        }
        let targets = targets([&current, &replay], architecture.classes(), recipe.label_smoothing);
        let mut next_row = 0_u32;
        let mut draw = |purpose, samples: &Samples, per_batch| -> Result<Draw> {
            let mut spans = Vec::with_capacity(samples.len());
            for &views in &samples.views {
                spans.push((next_row, views));
                next_row = u32::try_from(views)
                    .ok()
                    .and_then(|views| next_row.checked_add(views))
                    .ok_or_else(|| Error::shape("feature table rows", "below 2^32", samples.table.len()))?;
            }
            Ok(Draw { purpose, spans, per_batch, order: None })
        };
        let draws = (draw("current", &current, recipe.current_rows)?, draw("replay", &replay, replay_rows)?);
        let table = joined(current.table, replay.table)?;
        let rows = recipe.current_rows + replay_rows;
        let problem = Problem {
            architecture: architecture.clone(),
            objective: recipe.objective.clone(),
            optimizer: recipe.optimizer,
            extractor_training: recipe.extractor_training,
            rows,
            micro_batches: recipe.micro_batches,
            table,
            targets,
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
        // Every part of the batch has its share of new samples and of the replay.
        let parts = self.recipe.micro_batches;
        let part_rows = self.rows / parts;
        let mut at = 0;
        for draw in [&mut self.current, &mut self.replay] {
            for i in 0..draw.per_batch {
                let (row, views) = draw.sample(self.seed, step * draw.per_batch + i);
                let one = rng.below(views);
                let other = if views > 1 { (one + 1 + rng.below(views - 1)) % views } else { one };
                let row_of = |view: usize| row + u32::try_from(view).unwrap_or(0);
                let place = 2 * part_rows * (at % parts) + at / parts;
                (index[place], index[place + part_rows]) = (row_of(one), row_of(other));
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

/// One table of both.
fn joined(first: Table, second: Table) -> Result<Table> {
    match (first, second) {
        (first, second) if second.is_empty() => Ok(first),
        (Table::Rows(mut first), Table::Rows(second)) => {
            first.reserve_exact(second.len());
            first.extend(second);
            Ok(Table::Rows(first))
        }
        (Table::Latents(mut first), Table::Latents(second)) => {
            (0..second.rows()).try_for_each(|row| first.copy_row(&second, row))?;
            Ok(Table::Latents(first))
        }
        (Table::Rows(_), Table::Latents(_)) | (Table::Latents(_), Table::Rows(_)) => {
            Err(Error::shape("replay", "rows or latents as the task has", "the other"))
        }
    }
}

/// Targets of the rows of a table; soft ones if any sample has them or labels are smoothed.
fn targets(samples: [&Samples; 2], classes: usize, smoothing: f64) -> Targets {
    let all = || samples.into_iter().flat_map(|samples| samples.targets.iter().zip(&samples.views));
    let labels: Option<Vec<_>> = all()
        .map(|(target, &views)| match target {
            Target::Label(label) => Some(std::iter::repeat_n(*label, views)),
            Target::Shares(..) => None,
        })
        .collect();
    if let (Some(labels), true) = (labels, smoothing <= 0.0) {
        return Targets::Labels(labels.into_iter().flatten().collect());
    }
    let (mut targets, mut weights) = (Vec::new(), Vec::new());
    #[allow(clippy::cast_possible_truncation, reason = "the engines compute in f32")]
    let smoothing = smoothing as f32;
    for (target, &views) in all() {
        target.spread(views, classes, smoothing, (&mut targets, &mut weights));
    }
    Targets::Soft { targets, weights }
}

/// The teacher of the next task: frozen copies of extractor, projector and classifier, taken once
/// when a task is done. Optimiser moments are dropped, since they start anew.
pub fn take_teacher(state: &mut Parameters) {
    state.drop_prefixed(&STARTS_ANEW);
    let teacher = state.copied(&[ADAPTER, TAIL, "projector.", "classifier."], "teacher.");
    state.extend(teacher);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(targets: Vec<Target>) -> Samples {
        let mut samples = Samples::default();
        targets.into_iter().for_each(|target| samples.push(&[[0.0], [1.0]], target).unwrap());
        samples
    }

    #[test]
    fn rows_and_latents_are_not_mixed() {
        let mut latents = Samples::of_latents(1, 1);
        let error = latents.push(&[[0.0]], Target::Label(0)).unwrap_err().to_string();
        assert!(error.contains("samples of latents"), "{error}");
        let mut table = LatentTable::new(1, 1);
        table.push(&[0.5]).unwrap();
        let error = samples(Vec::new()).push_latents(&table, 0..1, Target::Label(0)).unwrap_err().to_string();
        assert!(error.contains("samples of rows"), "{error}");
        assert!(latents.is_empty());
    }

    #[test]
    fn labels_alone_stay_labels_and_anything_else_becomes_shares() {
        let hard = samples(vec![Target::Label(1), Target::Label(-1)]);
        assert_eq!(targets([&hard, &hard], 3, 0.0), Targets::Labels([1, 1, -1, -1].repeat(2)));
        let soft = samples(vec![Target::Shares(vec![(0, 0.25), (2, 0.75)], 0.5)]);
        let Targets::Soft { targets: rows, weights } = targets([&hard, &soft], 3, 0.0) else {
            panic!("shares need soft targets");
        };
        assert_eq!(weights, [1.0, 1.0, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!((&rows[..3], &rows[12..15]), (&[0.0, 1.0, 0.0][..], &[0.25, 0.0, 0.75][..]));
    }

    #[test]
    fn smoothing_spreads_a_share_of_each_target_over_all_classes() {
        let hard = samples(vec![Target::Label(1)]);
        let Targets::Soft { targets: rows, weights } = targets([&hard, &Samples::default()], 4, 0.2) else {
            panic!("smoothed labels are soft targets");
        };
        let want = [0.05, 0.85, 0.05, 0.05];
        assert!(rows[..4].iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{rows:?}");
        assert_eq!(weights, [1.0, 1.0]);
        // A column that the classifier does not have counts nowhere.
        let beyond = samples(vec![Target::Shares(vec![(9, 1.0)], 1.0)]);
        let Targets::Soft { targets: rows, .. } = targets([&beyond, &Samples::default()], 2, 0.0) else {
            panic!("shares need soft targets");
        };
        assert_eq!(rows, [0.0; 4]);
    }
}
