//! Ridge regression to one-hot targets.

use faer::MatRef;

use super::class_sums::ClassSums;
use super::features::{FeatureMap, RowSet};
use super::gram::Gram;
use super::head::LinearHead;
use super::moments::Moments;
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};

/// Ridge regression to one-hot targets over h [N, D]: W = (ΦᵀΦ + λI)⁻¹ ΦᵀY. With
/// [`FeatureMap::random_relu`] this is RanPAC's second phase (McDonnell et al., 2023, eq. 4). ΦᵀΦ
/// is the shared second moment, ΦᵀY are the class sums.
#[derive(Clone, Debug)]
pub struct RidgeHead {
    map: FeatureMap,
    moments: Moments,
}

impl RidgeHead {
    /// A ridge regression without classes.
    #[must_use]
    pub fn new(map: FeatureMap) -> Self {
        let moments = Moments::new(map.width());
        Self { map, moments }
    }

    /// Adds rows h [N, D]; a class not seen before is new from here on.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`]; [`Error::Shape`] or [`Error::Refused`] for responsibilities that
    /// do not fit. Nothing is changed then.
    pub fn add<'h>(
        &mut self,
        h: impl Into<RowSet<'h>>,
        responsibilities: Responsibilities<'_>,
    ) -> Result<()> {
        self.moments.add(&self.map, h.into(), responsibilities)
    }

    /// Solves for the classifier of all classes that have rows. Its logits estimate one-hot
    /// targets, so they lie around 0..=1.
    ///
    /// # Errors
    /// [`Error::NotReady`] when no class has rows, [`Error::Config`] for a `lambda` that is not
    /// above 0, [`Error::Refused`] for one that is too small for these rows.
    pub fn fit(&self, lambda: f64) -> Result<LinearHead> {
        solved(&self.map, &self.moments.sums, self.moments.gram.clone(), lambda)
    }

    /// As [`RidgeHead::fit`], in the memory of the statistics.
    ///
    /// # Errors
    /// As [`RidgeHead::fit`].
    pub fn into_fit(self, lambda: f64) -> Result<LinearHead> {
        let Moments { sums, gram } = self.moments;
        solved(&self.map, &sums, gram, lambda)
    }
}

fn solved(map: &FeatureMap, sums: &ClassSums, gram: Gram, lambda: f64) -> Result<LinearHead> {
    if !(lambda > 0.0 && lambda.is_finite()) {
        return Err(Error::config("lambda", lambda, "a finite number above 0"));
    }
    let live = sums.live()?;
    let factor = gram.into_factor(1.0, lambda).ok_or_else(|| {
        let what = format!("a ridge regression with lambda {lambda}");
        Error::refused(what, "the second moment of the rows cannot be inverted", "take a larger lambda")
    })?;
    let targets: Vec<f64> = live.iter().flat_map(|&slot| sums.sum(slot).iter().copied()).collect();
    let solution = factor.solve(MatRef::from_row_major_slice(&targets, live.len(), sums.width).transpose());
    let weight: Vec<f64> = solution.col_iter().flat_map(|column| column.iter()).copied().collect();
    let classes = live.iter().map(|&slot| sums.classes[slot]).collect();
    LinearHead::from_f64(map, &weight, &vec![0.0; live.len()], classes)
}
