//! Metrics of continual learning and of novelty detection. Accuracies are fractions in 0..=1.

use kaizen_edge::low_level::number::real;
use kaizen_edge::{Error, Result};

/// Accuracy after each task on the test samples of each task, `[T, T]`.
///
/// Row t holds the accuracies after training task t, column k those on the test samples of task k.
/// A cell above the diagonal (a task not yet taught) is 0 unless it was evaluated: a
/// class-incremental classifier cannot name a class that it has never seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccuracyMatrix(Vec<Vec<f64>>);

impl AccuracyMatrix {
    /// A matrix of zeros for `tasks` tasks, 1 or more.
    pub(crate) fn new(tasks: usize) -> Self {
        Self(vec![vec![0.0; tasks]; tasks])
    }

    /// Enters that after task `after` `right` of the `of` test samples of task `on` were named
    /// rightly.
    pub(crate) fn set(&mut self, after: usize, on: usize, right: usize, of: usize) {
        self.0[after][on] = real(right) / real(of.max(1));
    }

    /// The rows, each T long, in task order.
    pub(crate) fn rows(&self) -> &[Vec<f64>] {
        &self.0
    }

    fn last(&self) -> usize {
        self.0.len() - 1
    }

    /// Mean accuracy over all tasks after the last one: (1/T) Σ_k A[T-1, k].
    pub(crate) fn final_accuracy(&self) -> f64 {
        mean(self.0[self.last()].iter().copied())
    }

    /// Mean over the stages of the mean accuracy on the tasks so far:
    /// (1/T) Σ_t (1/(t+1)) Σ_{k≤t} A[t, k].
    pub(crate) fn continual_accuracy(&self) -> f64 {
        mean(self.0.iter().enumerate().map(|(t, row)| mean(row[..=t].iter().copied())))
    }

    /// Mean drop from the best to the last accuracy over all tasks but the last:
    /// (1/(T-1)) Σ_{k<T-1} max_t (A[t, k] - A[T-1, k]). Never negative; 0 for one task, which
    /// nothing followed.
    pub(crate) fn forgetting(&self) -> f64 {
        mean((0..self.last()).map(|k| {
            let best = self.0.iter().map(|row| row[k]).fold(0.0, f64::max);
            best - self.0[self.last()][k]
        }))
    }

    /// Mean change of each earlier task from just after it was taught to the end:
    /// (1/(T-1)) Σ_{k<T-1} (A[T-1, k] - A[k, k]) (Lopez-Paz and Ranzato, 2017, eq. 3). 0 for one
    /// task.
    pub(crate) fn backward_transfer(&self) -> f64 {
        mean((0..self.last()).map(|k| self.0[self.last()][k] - self.0[k][k]))
    }
}

/// The mean of `values`; 0 without any.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / real(count.max(1))
}

/// Area under the ROC curve of novelty scores (higher means more novel): the probability that a
/// novel sample scores above a known one, ties counting half (Mann-Whitney U).
///
/// # Errors
/// [`Error::Refused`] when either side is empty or holds a value that is not finite.
pub(crate) fn auroc(known: &[f32], novel: &[f32]) -> Result<f64> {
    let sorted = sorted(known, novel)?;
    let wins = |score: &f32| {
        let below = sorted.partition_point(|known| known < score);
        let equal = sorted.partition_point(|known| known <= score) - below;
        real(below) + 0.5 * real(equal)
    };
    Ok(novel.iter().map(wins).sum::<f64>() / (real(known.len()) * real(novel.len())))
}

/// Share of novel samples taken for known at the lowest threshold that accepts at least 95 % of the
/// known ones (a sample is accepted when its novelty score is at most the threshold).
///
/// # Errors
/// [`Error::Refused`] when either side is empty or holds a value that is not finite.
pub(crate) fn fpr_at_95_tpr(known: &[f32], novel: &[f32]) -> Result<f64> {
    let sorted = sorted(known, novel)?;
    let needed = (sorted.len() * 19).div_ceil(20);
    let threshold = sorted[needed - 1];
    let accepted = novel.iter().filter(|&&score| score <= threshold).count();
    Ok(real(accepted) / real(novel.len()))
}

/// The scores of known samples in ascending order, after both sides were checked.
fn sorted(known: &[f32], novel: &[f32]) -> Result<Vec<f32>> {
    for (side, scores) in [("known", known), ("novel", novel)] {
        let refused = |reason| {
            let what = format!("novelty of {side} samples");
            Error::refused(what, reason, "give at least one score a side, all of them finite")
        };
        if scores.is_empty() {
            return Err(refused("there is no score".to_owned()));
        }
        if let Some(bad) = scores.iter().find(|score| !score.is_finite()) {
            return Err(refused(format!("a score is {bad}")));
        }
    }
    let mut sorted = known.to_vec();
    sorted.sort_by(f32::total_cmp);
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix<const T: usize>(rows: [[f64; T]; T]) -> AccuracyMatrix {
        AccuracyMatrix(rows.map(Vec::from).into())
    }

    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() < 1e-12, "{got} is not {wanted}");
    }

    #[test]
    fn matrix_metrics_match_the_hand_computed_example() {
        let matrix = matrix([[0.9, 0.1, 0.0], [0.5, 0.8, 0.2], [0.6, 0.4, 0.7]]);
        close(matrix.final_accuracy(), 1.7 / 3.0);
        close(matrix.continual_accuracy(), (0.9 + 0.65 + 1.7 / 3.0) / 3.0);
        close(matrix.forgetting(), f64::midpoint(0.3, 0.4));
        close(matrix.backward_transfer(), f64::midpoint(-0.3, -0.4));
    }

    #[test]
    fn improvement_is_no_forgetting_but_positive_transfer() {
        let matrix = matrix([[0.5, 0.0], [0.7, 0.6]]);
        close(matrix.forgetting(), 0.0);
        close(matrix.backward_transfer(), 0.2);
    }

    #[test]
    fn one_task_forgets_nothing() {
        let matrix = matrix([[0.8]]);
        close(matrix.final_accuracy(), 0.8);
        close(matrix.continual_accuracy(), 0.8);
        close(matrix.forgetting(), 0.0);
        close(matrix.backward_transfer(), 0.0);
    }

    #[test]
    fn cells_are_shares_whatever_the_counts() {
        let mut matrix = AccuracyMatrix::new(2);
        matrix.set(1, 0, 1, 4);
        matrix.set(1, 1, 0, 0);
        assert_eq!(matrix.rows(), [[0.0, 0.0], [0.25, 0.0]]);
    }

    #[test]
    fn auroc_counts_pairs_and_halves_ties() {
        close(auroc(&[1.0, 2.0, 3.0], &[2.0, 4.0]).unwrap(), (1.5 + 3.0) / 6.0);
        close(auroc(&[1.0, 2.0], &[3.0, 4.0]).unwrap(), 1.0);
        close(auroc(&[3.0, 4.0], &[1.0, 2.0]).unwrap(), 0.0);
        close(auroc(&[1.0], &[1.0]).unwrap(), 0.5);
    }

    #[test]
    fn fpr_takes_the_threshold_that_keeps_95_percent_of_the_known() {
        let known: Vec<f32> = (1_u8..=20).map(f32::from).collect();
        close(fpr_at_95_tpr(&known, &[18.0, 19.0, 19.5, 30.0]).unwrap(), 0.5);
        close(fpr_at_95_tpr(&[1.0], &[0.5]).unwrap(), 1.0);
        assert!(fpr_at_95_tpr(&[], &[1.0]).is_err());
        assert!(auroc(&[1.0], &[f32::NAN]).is_err());
    }
}
