//! Class sums and one shared second moment: the sufficient statistics of LDA and of ridge regression.

use super::class_sums::ClassSums;
use super::features::{FeatureMap, RowSet};
use super::gram::Gram;
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// Sufficient statistics of rows φ [N, width] in f64: per class the count n_c and the sum, and Σ w φ φᵀ over all
/// rows. Subtraction is the inverse of addition up to f64 rounding.
#[derive(Clone, Debug)]
pub struct Moments {
    pub(super) sums: ClassSums,
    pub(super) gram: Gram,
}

/// [`Moments`] as plain numbers, to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct MomentsState {
    /// Classes in the order in which they came, `[C]`.
    pub classes: Vec<ClassId>,
    /// Total share of each class, `[C]`.
    pub counts: Vec<f64>,
    /// Sum of the rows of each class, [C, width].
    pub sums: Vec<f64>,
    /// Lower triangle of Σ w φ φᵀ, packed row by row, [width (width + 1) / 2].
    pub second: Vec<f64>,
}

/// Means of the classes that have rows, and their pooled scatter.
pub(super) struct Pooled {
    pub(super) classes: Vec<ClassId>,
    pub(super) counts: Vec<f64>,
    /// [C, width]
    pub(super) means: Vec<f64>,
    /// Mean over all rows, [width].
    pub(super) centre: Vec<f64>,
    /// Σ_c Σ_i w_ic (φ_i - μ_c)(φ_i - μ_c)ᵀ
    pub(super) within: Gram,
    /// Trace of the scatter around `centre`.
    pub(super) total_trace: f64,
    /// A trace up to this is the rounding of zero: a scatter is the small difference of large sums.
    pub(super) rounding: f64,
}

impl Moments {
    /// No rows of `width` values.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { sums: ClassSums::new(width), gram: Gram::zeros(width) }
    }

    /// Restores stored statistics of rows of `width` values.
    ///
    /// # Errors
    /// [`Error::Shape`] when the parts do not fit one another, [`Error::Config`] when a value is not finite or a
    /// class is there twice.
    pub fn from_state(width: usize, state: MomentsState) -> Result<Self> {
        let MomentsState { classes, counts, sums, second } = state;
        if counts.len() != classes.len() || sums.len() != classes.len() * width {
            let wanted = (classes.len(), classes.len() * width);
            return Err(Error::shape("class counts and sums", wanted, (counts.len(), sums.len())));
        }
        if counts.iter().chain(&sums).chain(&second).any(|value| !value.is_finite()) {
            return Err(Error::config(
                "class statistics",
                "not finite",
                "finite numbers; rebuild from stored rows",
            ));
        }
        Responsibilities::Soft { classes: &classes, shares: &[] }.check(0)?;
        let gram = Gram::from_packed(width, &second)?;
        Ok(Self { sums: ClassSums { width, classes, counts, sums }, gram })
    }

    /// The statistics as plain numbers.
    #[must_use]
    pub fn state(&self) -> MomentsState {
        let ClassSums { classes, counts, sums, .. } = self.sums.clone();
        MomentsState { classes, counts, sums, second: self.gram.to_packed() }
    }

    /// The classes that have rows, ascending, each with its count.
    #[must_use]
    pub fn counts(&self) -> Vec<(ClassId, f64)> {
        self.sums.live_counts()
    }

    /// Adds rows φ [N, width].
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Config`] when the responsibilities does not fit; nothing is changed then.
    pub fn add(&mut self, mapped: &[f32], responsibilities: Responsibilities<'_>) -> Result<()> {
        self.update(mapped, responsibilities, 1.0)
    }

    /// Adds rows h [N, D] by way of `map`, block by block.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`] and [`Moments::add`]; nothing is changed then.
    pub(super) fn add_mapped(
        &mut self,
        map: &FeatureMap,
        h: RowSet<'_>,
        responsibilities: Responsibilities<'_>,
    ) -> Result<()> {
        responsibilities.check(map.count(h)?)?;
        map.for_each_block(h, |rows, mapped| self.add(mapped, responsibilities.rows(rows)))
    }

    /// Takes back rows φ [N, width] that were added with the same responsibilities.
    ///
    /// # Errors
    /// As [`Moments::add`], and [`Error::Config`] when a class would fall below zero rows; nothing is changed then.
    pub fn remove(&mut self, mapped: &[f32], responsibilities: Responsibilities<'_>) -> Result<()> {
        self.update(mapped, responsibilities, -1.0)
    }

    fn update(&mut self, mapped: &[f32], responsibilities: Responsibilities<'_>, sign: f64) -> Result<()> {
        let width = self.sums.width;
        self.sums.add(&ClassSums::of_rows(width, mapped, responsibilities)?, sign)?;
        let weights: Vec<f64> =
            (0..mapped.len() / width).map(|row| responsibilities.weight_of_row(row)).collect();
        self.gram.add(mapped, &weights, sign);
        Ok(())
    }

    /// Means and pooled scatter; an error without any row.
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
