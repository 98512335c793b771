//! The linear classifier that every closed form ends in.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, get_global_parallelism};

use super::features::FeatureMap;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// A fitted linear classifier over mapped features: logits = φ(h) Wᵀ + b.
#[derive(Clone, Debug)]
pub struct LinearHead {
    /// The map from h to the inputs φ of the classifier.
    pub map: FeatureMap,
    /// W [C, width], row-major, rows in the order of `classes`.
    pub weight: Vec<f32>,
    /// b `[C]`.
    pub bias: Vec<f32>,
    /// The class of each row of `weight`, ascending.
    pub classes: Vec<ClassId>,
}

impl LinearHead {
    /// Returns the logits [N, C] of h [N, D].
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn logits(&self, h: &[f32]) -> Result<Vec<f32>> {
        Ok(self.logits_of_mapped(&self.map.apply(h)?))
    }

    /// Returns the logits [N, C] of rows φ [N, width] that [`FeatureMap::apply`] mapped.
    pub(super) fn logits_of_mapped(&self, mapped: &[f32]) -> Vec<f32> {
        let (width, classes) = (self.map.width(), self.classes.len());
        let rows = mapped.len() / width;
        let mut logits = self.bias.repeat(rows);
        matmul(
            MatMut::from_row_major_slice_mut(&mut logits, rows, classes),
            Accum::Add,
            MatRef::from_row_major_slice(mapped, rows, width),
            MatRef::from_row_major_slice(&self.weight, classes, width).transpose(),
            1.0,
            get_global_parallelism(),
        );
        logits
    }

    /// Returns the class with the highest logit of each row, `[N]`.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn predict(&self, h: &[f32]) -> Result<Vec<ClassId>> {
        let logits = self.logits(h)?;
        Ok(argmax_rows(&logits, self.classes.len()).into_iter().map(|best| self.classes[best]).collect())
    }

    /// Makes a head from f64 rows: `weight` [C, width], `bias` [C].
    ///
    /// # Errors
    /// [`Error::Refused`] for values that f32 cannot hold.
    pub(super) fn from_f64(
        map: &FeatureMap,
        weight: &[f64],
        bias: &[f64],
        classes: Vec<ClassId>,
    ) -> Result<Self> {
        let finite =
            weight.iter().chain(bias).all(|&value| value.is_finite() && value.abs() < f64::from(f32::MAX));
        if !finite {
            return Err(Error::refused(
                "the head",
                "its weights are not finite",
                "take a larger shrinkage or lambda",
            ));
        }
        #[allow(clippy::cast_possible_truncation, reason = "heads are published in f32")]
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Ok(Self { map: map.clone(), weight: narrow(weight), bias: narrow(bias), classes })
    }
}

/// Replaces each row of [N, `columns`] by its softmax.
pub fn softmax_rows(values: &mut [f32], columns: usize) {
    for row in values.chunks_exact_mut(columns.max(1)) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|value| *value = (*value - top).exp());
        let total: f32 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= total);
    }
}

/// Returns the column of the highest value of each row of [N, `columns`]; the first of equals.
#[must_use]
pub fn argmax_rows(values: &[f32], columns: usize) -> Vec<usize> {
    let best = |row: &[f32]| {
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (column, &value)| {
            if value > best.1 { (column, value) } else { best }
        })
    };
    values.chunks_exact(columns.max(1)).map(|row| best(row).0).collect()
}
