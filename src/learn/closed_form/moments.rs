//! The statistics behind discriminant analysis and ridge regression: class sums and one second
//! moment.

use super::class_sums::ClassSums;
use super::features::{FeatureMap, RowSet};
use super::gram::Gram;
use super::responsibilities::Responsibilities;
use crate::error::Result;
use crate::ids::ClassId;

/// Sufficient statistics of rows φ [N, width] in f64: the count n_c and the sum of each class, and
/// Σ w φ φᵀ over all rows.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) sums: ClassSums,
    pub(super) gram: Gram,
}

/// Means of the classes that have rows, and their pooled scatter.
pub(super) struct Pooled {
    pub(super) classes: Vec<ClassId>,
    pub(super) counts: Vec<f64>,
    /// [C, width]
    pub(super) means: Vec<f64>,
    /// The mean over all rows, [width].
    pub(super) centre: Vec<f64>,
    /// Σ_c Σ_i w_ic (φ_i - μ_c)(φ_i - μ_c)ᵀ
    pub(super) within: Gram,
    /// The trace of the scatter around `centre`.
    pub(super) total_trace: f64,
    /// A trace up to this is the rounding of zero: a scatter is the small difference of large sums.
    pub(super) rounding: f64,
}

impl Moments {
    /// Statistics of no rows.
    pub(super) fn new(width: usize) -> Self {
        Self { sums: ClassSums::new(width), gram: Gram::zeros(width) }
    }

    /// Adds rows h [N, D] by way of `map`, block by block.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`] and [`Responsibilities::check`]; nothing is changed then.
    pub(super) fn add(
        &mut self,
        map: &FeatureMap,
        h: RowSet<'_>,
        responsibilities: Responsibilities<'_>,
    ) -> Result<()> {
        responsibilities.check(map.count(h)?)?;
        let width = self.sums.width;
        map.for_each_block(h, |rows, mapped| {
            let own = responsibilities.rows(rows);
            self.sums.add(&ClassSums::of_rows(width, mapped, own)?);
            let weights: Vec<f64> = (0..mapped.len() / width).map(|row| own.weight_of_row(row)).collect();
            self.gram.add(mapped, &weights);
            Ok(())
        })
    }

    /// Returns means and pooled scatter.
    ///
    /// # Errors
    /// As [`ClassSums::live`].
    pub(super) fn pooled(&self) -> Result<Pooled> {
        let live = self.sums.live()?;
        let width = self.sums.width;
        let counts: Vec<f64> = live.iter().map(|&slot| self.sums.counts[slot]).collect();
        let (centre, total) = self.sums.mean()?;
        let mut means = Vec::with_capacity(live.len() * width);
        let mut roots = Vec::with_capacity(live.len() * width);
        for (&slot, count) in live.iter().zip(&counts) {
            let sum = self.sums.sum(slot);
            means.extend(sum.iter().map(|value| value / count));
            roots.extend(sum.iter().map(|value| value / count.sqrt()));
        }
        let mut within = self.gram.clone();
        within.add_rows(&roots, -1.0);
        let raw_trace = self.gram.trace();
        let rounding = (1e-13 * raw_trace).max(f64::MIN_POSITIVE);
        let total_trace = raw_trace - total * centre.iter().map(|value| value * value).sum::<f64>();
        let classes = live.iter().map(|&slot| self.sums.classes[slot]).collect();
        Ok(Pooled { classes, counts, means, centre, within, total_trace, rounding })
    }
}
