//! What every method is given: features, a scenario over them, a replay budget.

use std::time::{Duration, Instant};

use crate::metrics::{AccuracyMatrix, auroc, fpr_at_95_tpr};
use crate::scenario::{ReplayBudget, Scenario, Task};
use kaizen_edge::Result;
use kaizen_edge::low_level::ids::ClassId;
use kaizen_edge::low_level::number::real;
use kaizen_edge::low_level::rng::Rng;

/// Features of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Width D.
    pub width: usize,
    /// Cached views V of each training sample; the first is the plain picture.
    pub views: usize,
    /// Training side, `[N, V, D]`.
    pub train: Vec<f32>,
    /// Test side, `[M, D]`.
    pub test: Vec<f32>,
    /// Class of each training sample, by its number in the collection.
    pub train_classes: Vec<usize>,
    /// Class of each test sample.
    pub test_classes: Vec<usize>,
}

/// One run's givens.
#[derive(Clone, Copy, Debug)]
pub struct Arena<'a> {
    /// The features.
    pub features: &'a Features,
    /// The tasks.
    pub scenario: &'a Scenario,
    /// Whether every test row is judged after every task, also those of tasks to come: right where tasks share classes.
    pub judges_ahead: bool,
    /// What may be kept of earlier tasks.
    pub replay: ReplayBudget,
    /// Seed of what the method draws.
    pub seed: u64,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Row t = after task t.
    pub matrix: AccuracyMatrix,
    /// Time spent learning, without evaluation.
    pub learning: Duration,
    /// Bytes kept between tasks: statistics, heads, teacher, exemplars.
    pub memory_bytes: usize,
    /// How well test rows of classes to come are told from those of classes so far.
    pub unknowns: Option<Detection>,
}

/// Unknowns told from the known by novelty, mean over the tasks but the last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detection {
    /// Area under the ROC curve, 0..=1.
    pub auroc: f64,
    /// Share of unknowns taken for known where 95 % of the known are accepted, 0..=1.
    pub fpr95: f64,
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

    /// Bytes of one kept sample: its features in half precision.
    pub(super) fn sample_bytes(&self) -> usize {
        2 * self.features.width
    }

    /// Class-balanced random choice of labelled rows of the tasks `0..=last`, within the budget; ascending in class.
    pub(super) fn exemplars(&self, last: usize) -> Vec<usize> {
        let labelled: Vec<usize> = self.tasks()[..=last].iter().flat_map(|t| &t.labelled).copied().collect();
        let ids = self.ids(&labelled);
        let all: Vec<usize> = self.tasks()[..=last]
            .iter()
            .flat_map(|t| t.labelled.iter().chain(&t.unlabelled))
            .copied()
            .collect();
        let mut classes = ids.clone();
        classes.sort_unstable();
        classes.dedup();
        let mut kept = Vec::new();
        for &class in &classes {
            let mut members: Vec<usize> =
                labelled.iter().zip(&ids).filter(|(_, id)| **id == class).map(|(&row, _)| row).collect();
            let of_class = all
                .iter()
                .filter(|&&row| self.scenario.id(self.features.train_classes[row]) == Some(class))
                .count();
            let most = self.replay.per_class(classes.len(), of_class, self.sample_bytes());
            Rng::named(self.seed, &format!("exemplars {class}")).shuffle(&mut members);
            kept.extend(members.into_iter().take(most));
        }
        kept
    }

    /// Fills the matrix' row of task `after` with the accuracies of `predict`, rows h `[N, D]` to classes `[N]`.
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
            matrix.set(after, on, real(right) / real(task.test.len().max(1)))?;
        }
        Ok(())
    }

    /// Adds to `mean` how well `novelty` tells, after task `after`, test rows of later tasks from those of tasks so far.
    /// Nothing where tasks share classes, and after the last one.
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

/// Adds up the time spent in learning.
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
