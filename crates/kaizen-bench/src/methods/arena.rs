//! What every method is given: features, a scenario over them, a replay budget.

use std::time::{Duration, Instant};

use kaizen_edge::ClassId;
use kaizen_edge::Result;
use kaizen_edge::low_level::heads::{Extractor, Parameters};
use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::learn::closed_form::{FeatureMap, FeatureTransform, distinct};
use kaizen_edge::low_level::number::real;
use kaizen_edge::low_level::rng::Rng;

use crate::metrics::{AccuracyMatrix, auroc, fpr_at_95_tpr};
use crate::scenario::{ReplayBudget, Scenario, Task};

/// The features of a collection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Features {
    /// Width D.
    pub(crate) width: usize,
    /// Cached views V of each training sample; the first is the plain picture.
    pub(crate) views: usize,
    /// Features of the training side, `[N, V, D]`.
    pub(crate) train: Vec<f32>,
    /// Features of the test side, `[M, D]`.
    pub(crate) test: Vec<f32>,
    /// Latents of the same pictures, where a method needs them.
    pub(crate) latents: Option<Latents>,
    /// Class of each training sample, by its number in the collection.
    pub(crate) train_classes: Vec<usize>,
    /// Class of each test sample, by its number in the collection.
    pub(crate) test_classes: Vec<usize>,
}

/// The latents of a collection, and the tail behind them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Latents {
    pub(crate) extractor: Extractor,
    pub(crate) parameters: Parameters,
    /// Every view of each training sample, `[N, V]` rows.
    pub(crate) train: LatentTable,
    pub(crate) test: LatentTable,
}

/// What one run of a method is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arena<'a> {
    /// The features.
    pub(crate) features: &'a Features,
    /// The tasks.
    pub(crate) scenario: &'a Scenario,
    /// Whether every test row is judged after every task, also those of tasks to come: right where
    /// tasks share classes.
    pub(crate) judges_ahead: bool,
    /// How much of earlier tasks may be kept.
    pub(crate) replay: ReplayBudget,
    /// Seed of what the method draws.
    pub(crate) seed: u64,
}

/// What one run of a method gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The accuracies after each task.
    pub(crate) matrix: AccuracyMatrix,
    /// Time spent learning, without evaluation.
    pub(crate) learning: Duration,
    /// Bytes kept between tasks: statistics, heads, teacher, exemplars.
    pub(crate) memory_bytes: usize,
    /// How well test rows of classes to come are told from those of classes so far.
    pub(crate) unknowns: Option<Detection>,
}

/// How well unknowns are told from the known by novelty, as a mean over the tasks but the last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Detection {
    /// Area under the ROC curve, 0..=1.
    pub(crate) auroc: f64,
    /// Share of unknowns taken for known where 95 % of the known are accepted, 0..=1.
    pub(crate) fpr95: f64,
}

impl Arena<'_> {
    /// Plain features `[N, D]` of training rows.
    pub(super) fn plain(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&row| self.view(row, 0)).copied().collect()
    }

    /// One view of a training row, `[D]`.
    pub(super) fn view(&self, row: usize, view: usize) -> &[f32] {
        let (width, at) = (self.features.width, row * self.features.views + view);
        &self.features.train[at * width..(at + 1) * width]
    }

    /// Classes of training rows that belong to a task.
    pub(super) fn ids(&self, rows: &[usize]) -> Vec<ClassId> {
        rows.iter().filter_map(|&row| self.scenario.id(self.features.train_classes[row])).collect()
    }

    /// Test features `[N, D]` of tasks.
    fn test_rows(&self, tasks: &[Task]) -> Vec<f32> {
        let width = self.features.width;
        let rows = tasks.iter().flat_map(|task| &task.test);
        rows.flat_map(|row| &self.features.test[row * width..(row + 1) * width]).copied().collect()
    }

    /// The tasks in order.
    pub(super) fn tasks(&self) -> &[Task] {
        &self.scenario.tasks
    }

    /// Number of classes of all tasks.
    pub(super) fn classes(&self) -> usize {
        self.scenario.order.len()
    }

    /// Bytes of one kept sample: its features in half precision.
    pub(super) fn sample_bytes(&self) -> usize {
        2 * self.features.width
    }

    /// A class-balanced random choice of labelled rows of the tasks `0..=last`, within the budget,
    /// in ascending order of their classes.
    pub(super) fn exemplars(&self, last: usize) -> Vec<usize> {
        let tasks = &self.tasks()[..=last];
        let labelled: Vec<usize> = tasks.iter().flat_map(|task| &task.labelled).copied().collect();
        let ids = self.ids(&labelled);
        let unlabelled: Vec<usize> = tasks.iter().flat_map(|task| &task.unlabelled).copied().collect();
        let unlabelled_ids = self.ids(&unlabelled);
        let classes = distinct(&ids);
        let mut kept = Vec::new();
        for &class in &classes {
            let mut members: Vec<usize> =
                labelled.iter().zip(&ids).filter(|(_, id)| **id == class).map(|(&row, _)| row).collect();
            let of_class = members.len() + unlabelled_ids.iter().filter(|id| **id == class).count();
            let most = self.replay.per_class(classes.len(), of_class, self.sample_bytes());
            Rng::named(self.seed, &format!("exemplars {class}")).shuffle(&mut members);
            kept.extend(members.into_iter().take(most));
        }
        kept
    }

    /// Fills the matrix' row of task `after` with the accuracies of `predict`, which names rows h
    /// `[N, D]` as classes `[N]`.
    pub(super) fn judge(
        &self,
        matrix: &mut AccuracyMatrix,
        after: usize,
        predict: &mut dyn FnMut(&[f32]) -> Result<Vec<ClassId>>,
    ) -> Result<()> {
        let last = if self.judges_ahead { self.tasks().len() - 1 } else { after };
        for (on, task) in self.tasks()[..=last].iter().enumerate() {
            let named = predict(&self.test_rows(std::slice::from_ref(task)))?;
            let truth = task.test.iter().map(|&row| self.scenario.id(self.features.test_classes[row]));
            let right = named.iter().zip(truth).filter(|(named, truth)| Some(**named) == *truth).count();
            matrix.set(after, on, right, task.test.len());
        }
        Ok(())
    }

    /// Adds to `mean` how well `novelty` tells, after task `after`, test rows of later tasks from
    /// those of tasks so far. Does nothing where tasks share classes, and after the last one.
    pub(super) fn detect(
        &self,
        mean: &mut Option<Detection>,
        after: usize,
        novelty: &mut dyn FnMut(&[f32]) -> Result<Vec<f32>>,
    ) -> Result<()> {
        let rounds = self.tasks().len() - 1;
        if self.judges_ahead || after >= rounds {
            return Ok(());
        }
        let (known, novel) = self.tasks().split_at(after + 1);
        let (known, novel) = (novelty(&self.test_rows(known))?, novelty(&self.test_rows(novel))?);
        let mean = mean.get_or_insert_default();
        mean.auroc += auroc(&known, &novel)? / real(rounds);
        mean.fpr95 += fpr_at_95_tpr(&known, &novel)? / real(rounds);
        Ok(())
    }
}

/// Features after the transform that all heads share, scaled so that each has mean square 1, as
/// training by gradients expects.
pub(super) struct Scaled {
    map: FeatureMap,
    factor: f32,
}

impl Scaled {
    pub(super) fn new(arena: &Arena<'_>) -> Result<Self> {
        let width = arena.features.width;
        #[expect(clippy::cast_possible_truncation, reason = "a scale")]
        let factor = real(width).sqrt() as f32;
        Ok(Self { map: FeatureMap::new(width, FeatureTransform::SqrtL2)?, factor })
    }

    /// Scaled rows `[N, D]` of rows h `[N, D]`.
    pub(super) fn apply(&self, h: &[f32]) -> Result<Vec<f32>> {
        Ok(self.map.apply(h)?.into_iter().map(|value| self.factor * value).collect())
    }
}

/// A clock that adds up the time spent in learning.
#[derive(Debug, Default)]
pub(super) struct Clock(Duration);

impl Clock {
    pub(super) fn time<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work();
        self.0 += start.elapsed();
        result
    }

    pub(super) fn total(&self) -> Duration {
        self.0
    }
}
