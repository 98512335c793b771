//! Metrics of continual learning and of novelty detection. Accuracies are fractions in 0..=1.

use kaizen_edge::low_level::ids::ClassId;
use kaizen_edge::{Error, Result};

/// Accuracy after each task on the test samples of each task: a full [T, T] matrix.
///
/// Row t holds the accuracies after training task t, column k those on the test set of task k. A cell above the
/// diagonal (a task not yet taught) is 0 unless it was evaluated: a class-incremental classifier cannot name a
/// class it has never seen.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyMatrix {
    tasks: usize,
    cells: Vec<f64>,
}

impl AccuracyMatrix {
    /// A matrix of zeros for `tasks` tasks.
    ///
    /// # Errors
    /// [`Error::Config`] when `tasks` is 0.
    pub fn new(tasks: usize) -> Result<Self> {
        if tasks == 0 {
            return Err(Error::config("tasks", tasks, "1 or more"));
        }
        Ok(Self { tasks, cells: vec![0.0; tasks * tasks] })
    }

    /// A matrix from its rows, `[T][T]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when it is not square, [`Error::Config`] when it is empty or a value is outside 0..=1.
    pub fn from_rows(rows: &[Vec<f64>]) -> Result<Self> {
        let mut matrix = Self::new(rows.len())?;
        for (after, row) in rows.iter().enumerate() {
            if row.len() != rows.len() {
                return Err(Error::shape(format!("accuracy row {after}"), [rows.len()], [row.len()]));
            }
            for (on, &accuracy) in row.iter().enumerate() {
                matrix.set(after, on, accuracy)?;
            }
        }
        Ok(matrix)
    }

    /// Number of tasks T.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Sets the accuracy on the test set of task `on` after training task `after` (both from 0).
    ///
    /// # Errors
    /// [`Error::Shape`] for a task outside the matrix, [`Error::Config`] for a value that is not in 0..=1.
    pub fn set(&mut self, after: usize, on: usize, accuracy: f64) -> Result<()> {
        if after >= self.tasks || on >= self.tasks {
            return Err(Error::shape("accuracy cell", [self.tasks, self.tasks], [after, on]));
        }
        if !(0.0..=1.0).contains(&accuracy) {
            return Err(Error::config("accuracy", accuracy, "a fraction in 0..=1"));
        }
        self.cells[after * self.tasks + on] = accuracy;
        Ok(())
    }

    /// Accuracy on task `on` after task `after`; `None` outside the matrix.
    #[must_use]
    pub fn get(&self, after: usize, on: usize) -> Option<f64> {
        (on < self.tasks).then(|| self.cells.get(after * self.tasks + on).copied()).flatten()
    }

    /// The rows, each T long, in task order.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.cells.chunks_exact(self.tasks)
    }

    fn at(&self, after: usize, on: usize) -> f64 {
        self.cells[after * self.tasks + on]
    }

    /// Mean accuracy over all tasks after the last one: (1/T) Σ_k A[T-1, k].
    #[must_use]
    pub fn final_accuracy(&self) -> f64 {
        mean((0..self.tasks).map(|k| self.at(self.tasks - 1, k)))
    }

    /// Mean over the stages of the mean accuracy on the tasks seen so far: (1/T) Σ_t (1/(t+1)) Σ_{k≤t} A[t, k].
    #[must_use]
    pub fn continual_accuracy(&self) -> f64 {
        mean((0..self.tasks).map(|t| mean((0..=t).map(|k| self.at(t, k)))))
    }

    /// Mean drop from the best to the last accuracy over all tasks but the last:
    /// (1/(T-1)) Σ_{k<T-1} max_t (A[t, k] - A[T-1, k]). Never negative; 0 for one task, which nothing followed.
    #[must_use]
    pub fn forgetting(&self) -> f64 {
        let last = self.tasks - 1;
        mean((0..last).map(|k| {
            let best = (0..self.tasks).map(|t| self.at(t, k)).fold(0.0, f64::max);
            best - self.at(last, k)
        }))
    }

    /// Mean change of each earlier task from just after it was taught to the end:
    /// (1/(T-1)) Σ_{k<T-1} (A[T-1, k] - A[k, k]) (Lopez-Paz and Ranzato, 2017, eq. 3). 0 for one task.
    #[must_use]
    pub fn backward_transfer(&self) -> f64 {
        let last = self.tasks - 1;
        mean((0..last).map(|k| self.at(last, k) - self.at(k, k)))
    }

    /// Head start of each task over a random network: (1/(T-1)) Σ_{k≥1} (A[k-1, k] - R_k).
    ///
    /// `random` `[T]` holds R_k, the linear-probe accuracy of a random network on task k (entry 0 is not used), and
    /// is only meaningful when the cells above the diagonal were evaluated by a probe that knows task k. `None`
    /// without `random` and for one task.
    ///
    /// # Errors
    /// [`Error::Shape`] when `random` has not T entries.
    pub fn forward_transfer(&self, random: Option<&[f64]>) -> Result<Option<f64>> {
        let Some(random) = random else { return Ok(None) };
        if random.len() != self.tasks {
            return Err(Error::shape("accuracies of the random network", [self.tasks], [random.len()]));
        }
        let gain = mean((1..self.tasks).map(|k| self.at(k - 1, k) - random[k]));
        Ok((self.tasks > 1).then_some(gain))
    }
}

#[allow(clippy::cast_precision_loss, reason = "task counts are far below 2^52")]
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Counts of true class against predicted class, with a last column for "unknown".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// Zero counts for the classes `0..classes`.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * (classes + 1)] }
    }

    /// Counts one test sample; `None` stands for the answer "unknown".
    ///
    /// # Errors
    /// [`Error::Shape`] when a class is outside `0..classes`.
    pub fn add(&mut self, truth: ClassId, predicted: Option<ClassId>) -> Result<()> {
        let row = truth.0 as usize;
        let column = predicted.map_or(self.classes, |class| class.0 as usize);
        if row >= self.classes || column > self.classes || predicted.is_some() && column == self.classes {
            return Err(Error::shape("confusion of classes", [self.classes], [row, column]));
        }
        self.counts[row * (self.classes + 1) + column] += 1;
        Ok(())
    }

    /// Counts of one true class, [C + 1], "unknown" last; `None` outside `0..classes`.
    #[must_use]
    pub fn row(&self, truth: ClassId) -> Option<&[u64]> {
        let start = truth.0 as usize * (self.classes + 1);
        self.counts.get(start..start + self.classes + 1)
    }

    /// Share of the samples of each class that were named rightly, `[C]`; `None` for a class without samples.
    #[must_use]
    pub fn per_class_accuracy(&self) -> Vec<Option<f64>> {
        self.counts
            .chunks_exact(self.classes + 1)
            .enumerate()
            .map(|(class, row)| ratio(row[class], row.iter().sum()))
            .collect()
    }

    /// Share of all samples that were named rightly; `None` without samples.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let right = (0..self.classes).map(|class| self.counts[class * (self.classes + 2)]).sum();
        ratio(right, self.counts.iter().sum())
    }
}

#[allow(clippy::cast_precision_loss, reason = "sample counts are far below 2^52")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Area under the ROC curve of novelty scores (higher means more novel): the probability that a novel sample
/// scores above a known one, ties counting half (Mann-Whitney U).
///
/// # Errors
/// [`Error::Config`] when either side is empty or holds a value that is not finite.
#[allow(clippy::cast_precision_loss, reason = "sample counts are far below 2^52")]
pub fn auroc(known: &[f32], novel: &[f32]) -> Result<f64> {
    check_scores(known, novel)?;
    let mut sorted = known.to_vec();
    sorted.sort_by(f32::total_cmp);
    let wins: f64 = novel
        .iter()
        .map(|&score| {
            let below = sorted.partition_point(|&k| k < score);
            let equal = sorted.partition_point(|&k| k <= score) - below;
            below as f64 + 0.5 * equal as f64
        })
        .sum();
    Ok(wins / (known.len() as f64 * novel.len() as f64))
}

/// Share of novel samples taken for known at the lowest threshold that accepts at least 95 % of the known ones
/// (a sample is accepted when its novelty score is at most the threshold).
///
/// # Errors
/// [`Error::Config`] when either side is empty or holds a value that is not finite.
#[allow(clippy::cast_precision_loss, reason = "sample counts are far below 2^52")]
pub fn fpr_at_95_tpr(known: &[f32], novel: &[f32]) -> Result<f64> {
    check_scores(known, novel)?;
    let mut sorted = known.to_vec();
    sorted.sort_by(f32::total_cmp);
    let needed = (sorted.len() * 19).div_ceil(20);
    let threshold = sorted[needed - 1];
    let accepted = novel.iter().filter(|&&score| score <= threshold).count();
    Ok(accepted as f64 / novel.len() as f64)
}

fn check_scores(known: &[f32], novel: &[f32]) -> Result<()> {
    for (field, scores) in [("known scores", known), ("novel scores", novel)] {
        if scores.is_empty() {
            return Err(Error::config(field, "empty", "at least one score"));
        }
        if let Some(bad) = scores.iter().find(|score| !score.is_finite()) {
            return Err(Error::config(field, bad, "finite numbers"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> AccuracyMatrix {
        AccuracyMatrix::from_rows(&[vec![0.9, 0.1, 0.0], vec![0.5, 0.8, 0.2], vec![0.6, 0.4, 0.7]]).unwrap()
    }

    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() < 1e-12, "{got} is not {wanted}");
    }

    #[test]
    fn matrix_metrics_match_the_hand_computed_example() {
        let matrix = example();
        close(matrix.final_accuracy(), 1.7 / 3.0);
        close(matrix.continual_accuracy(), (0.9 + 0.65 + 1.7 / 3.0) / 3.0);
        close(matrix.forgetting(), f64::midpoint(0.3, 0.4));
        close(matrix.backward_transfer(), f64::midpoint(-0.3, -0.4));
        let forward = matrix.forward_transfer(Some(&[0.0, 0.3, 0.1])).unwrap();
        close(forward.unwrap(), f64::midpoint(-0.2, 0.1));
        assert_eq!(matrix.forward_transfer(None).unwrap(), None);
        assert!(matrix.forward_transfer(Some(&[0.1])).is_err());
    }

    #[test]
    fn improvement_is_no_forgetting_but_positive_transfer() {
        let matrix = AccuracyMatrix::from_rows(&[vec![0.5, 0.0], vec![0.7, 0.6]]).unwrap();
        close(matrix.forgetting(), 0.0);
        close(matrix.backward_transfer(), 0.2);
    }

    #[test]
    fn one_task_forgets_nothing() {
        let matrix = AccuracyMatrix::from_rows(&[vec![0.8]]).unwrap();
        close(matrix.final_accuracy(), 0.8);
        close(matrix.continual_accuracy(), 0.8);
        close(matrix.forgetting(), 0.0);
        close(matrix.backward_transfer(), 0.0);
        assert_eq!(matrix.forward_transfer(Some(&[0.1])).unwrap(), None);
    }

    #[test]
    fn matrix_refuses_what_it_cannot_hold() {
        assert!(AccuracyMatrix::new(0).is_err());
        assert!(AccuracyMatrix::from_rows(&[vec![0.1, 0.2]]).is_err());
        let mut matrix = AccuracyMatrix::new(2).unwrap();
        assert!(matrix.set(2, 0, 0.5).is_err());
        assert!(matrix.set(0, 0, f64::NAN).is_err());
        assert!(matrix.set(0, 0, 1.1).is_err());
        matrix.set(1, 0, 0.25).unwrap();
        assert_eq!(matrix.get(1, 0), Some(0.25));
        assert_eq!(matrix.get(0, 2), None);
        assert_eq!(matrix.get(2, 0), None);
        assert_eq!(matrix.rows().collect::<Vec<_>>(), [[0.0, 0.0], [0.25, 0.0]]);
    }

    #[test]
    fn confusion_counts_by_class_and_unknown() {
        let mut confusion = Confusion::new(3);
        assert_eq!(confusion.accuracy(), None);
        for (truth, predicted) in [(0, Some(0)), (0, Some(2)), (0, None), (1, Some(1)), (0, Some(0))] {
            confusion.add(ClassId(truth), predicted.map(ClassId)).unwrap();
        }
        assert_eq!(confusion.row(ClassId(0)), Some(&[2, 0, 1, 1][..]));
        assert_eq!(confusion.row(ClassId(3)), None);
        assert_eq!(confusion.per_class_accuracy(), [Some(0.5), Some(1.0), None]);
        assert_eq!(confusion.accuracy(), Some(0.6));
        assert!(confusion.add(ClassId(3), None).is_err());
        assert!(confusion.add(ClassId(0), Some(ClassId(3))).is_err());
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
