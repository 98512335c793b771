//! Candidates for publication, and the guard that compares them with the head that serves.

use std::collections::BTreeMap;

use super::published_head::{Head, HeadKind, Inputs, best_of, join};
use crate::Result;
use crate::ids::ClassId;
use crate::memory::{StoredSample, VersionFigures};

/// A head that may be published.
pub(super) struct Candidate {
    pub(super) kind: HeadKind,
    pub(super) head: Head,
}

/// Held-out accuracy of one head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    /// Number of correctly named samples and of all samples of each class.
    pub(super) classes: BTreeMap<ClassId, (usize, usize)>,
}

impl Score {
    /// The score that the figures of a version tell, of classes whose names are known.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts of samples"
    )]
    pub(super) fn recorded(figures: &VersionFigures, names: &[(ClassId, String)]) -> Self {
        let classes = figures.classes.iter().filter_map(|figure| {
            let (id, _) = names.iter().find(|(_, name)| Some(name) == figure.class.as_ref())?;
            let right = (figure.after? * figure.samples as f64).round() as usize;
            Some((*id, (right, figure.samples as usize)))
        });
        Self { classes: classes.collect() }
    }

    /// Adds the score of the same head on other samples.
    pub(super) fn add(&mut self, other: &Self) {
        for (class, (right, all)) in &other.classes {
            let sum = self.classes.entry(*class).or_insert((0, 0));
            *sum = (sum.0 + right, sum.1 + all);
        }
    }

    /// Scores `head` on held-out rows.
    pub(super) fn of(head: &Head, inputs: &Inputs, held_out: &[StoredSample]) -> Result<Self> {
        let (columns, logits) = (head.columns(), head.logits(inputs, &join(held_out))?);
        let mut classes = BTreeMap::new();
        for (sample, row) in held_out.iter().zip(logits.chunks(columns.len().max(1))) {
            let Some(class) = sample.class else { continue };
            let (right, all) = classes.entry(class).or_insert((0, 0));
            *all += 1;
            *right += usize::from(columns[best_of(row).0] == class);
        }
        Ok(Self { classes })
    }

    /// Accuracy of one class, 0..1, if it has samples.
    #[allow(clippy::cast_precision_loss, reason = "counts of samples")]
    pub(super) fn accuracy(&self, class: ClassId) -> Option<f64> {
        self.classes.get(&class).map(|&(right, all)| right as f64 / all as f64)
    }

    /// The classes of `old` whose accuracy is lower here, with the difference.
    pub(super) fn falls(&self, old: &Self) -> impl Iterator<Item = (ClassId, f64)> {
        let fall = |class: ClassId| Some(old.accuracy(class)? - self.accuracy(class)?);
        old.classes
            .keys()
            .filter_map(move |&class| Some((class, fall(class)?)))
            .filter(|(_, fall)| *fall > 0.0)
    }

    /// Mean of the classes' accuracies, 0..1; 0 without samples.
    pub(super) fn balanced(&self) -> f64 {
        self.mean(|_| true).0
    }

    /// Standard error of [`Score::balanced`], from the number of samples behind it.
    pub(super) fn standard_error(&self) -> f64 {
        standard_error(self.mean(|_| true))
    }

    /// Mean accuracy over the classes that `keep` takes, and the number of their samples.
    #[allow(clippy::cast_precision_loss, reason = "counts of samples")]
    pub(super) fn mean(&self, keep: impl Fn(ClassId) -> bool) -> (f64, usize) {
        let kept = self.classes.iter().filter(|(class, _)| keep(**class));
        let (sum, classes, samples) = kept.fold((0.0, 0, 0), |(sum, n, samples), (_, &(right, all))| {
            (sum + right as f64 / all as f64, n + 1, samples + all)
        });
        (if classes == 0 { 0.0 } else { sum / f64::from(classes) }, samples)
    }
}

/// Whether `new` may replace `old` for the classes that `old` knew: their accuracy may fall by
/// `margin` and one standard error of the measurement. The error is the fall.
pub(super) fn guard(old: &Score, new: &Score, margin: f64) -> Result<(), f64> {
    let known = |class: ClassId| old.classes.contains_key(&class);
    let ((before, samples), (after, _)) = (old.mean(known), new.mean(known));
    let error = standard_error((after, samples));
    if before - after <= margin + error { Ok(()) } else { Err(before - after) }
}

/// Standard error of an accuracy that was measured on a number of samples.
#[allow(clippy::cast_precision_loss, reason = "counts of samples")]
fn standard_error((accuracy, samples): (f64, usize)) -> f64 {
    (accuracy * (1.0 - accuracy) / (samples.max(1) as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(values: &[(usize, usize)]) -> Score {
        Score { classes: (0..).map(ClassId).zip(values.iter().copied()).collect() }
    }

    #[test]
    fn a_fall_beyond_margin_and_error_is_refused() {
        let old = score(&[(100, 100), (90, 100)]);
        assert!(guard(&old, &score(&[(95, 100), (85, 100), (0, 100)]), 0.1).is_ok());
        let fall = guard(&old, &score(&[(60, 100), (70, 100), (100, 100)]), 0.1).unwrap_err();
        assert!((fall - 0.30).abs() < 1e-9);
    }

    #[test]
    fn balanced_accuracy_weighs_classes_alike() {
        assert!((score(&[(1, 1), (0, 99)]).balanced() - 0.5).abs() < 1e-12);
    }
}
