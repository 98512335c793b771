//! Streaming linear discriminant analysis.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Mat, MatRef, get_global_parallelism};

use super::features::{FeatureMap, RowSet};
use super::geometry::{Mahalanobis, SHARED};
use super::gram::{Factor, Gram};
use super::head::LinearHead;
use super::moments::{Moments, Pooled};
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// Settings of the solution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LdaSettings {
    /// s in (1 - s) Σ + s (tr Σ / width) I, in 0..=1.
    pub shrinkage: f64,
}

impl Default for LdaSettings {
    fn default() -> Self {
        Self { shrinkage: 0.3 }
    }
}

/// Streaming LDA (Hayes and Kanan, 2020) with exact statistics: class counts, class sums and one
/// second moment in f64, so the covariance is that of all rows at once, in whatever order they were
/// added. All classes have the same prior: what was taught says nothing about how often a class
/// will be met.
#[derive(Clone, Debug)]
pub struct StreamingLda {
    map: FeatureMap,
    moments: Moments,
}

impl StreamingLda {
    /// A discriminant analysis without classes.
    #[must_use]
    pub fn new(map: FeatureMap) -> Self {
        let moments = Moments::new(map.width());
        Self { map, moments }
    }

    pub(super) fn map(&self) -> &FeatureMap {
        &self.map
    }

    pub(super) fn moments(&self) -> &Moments {
        &self.moments
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

    /// Solves for the classifier of all classes that have rows.
    ///
    /// # Errors
    /// [`Error::NotReady`] when no class has rows, [`Error::Config`] for a shrinkage outside 0..=1,
    /// [`Error::Refused`] when the covariance is singular and the shrinkage too small to mend it.
    pub fn fit(&self, settings: LdaSettings) -> Result<LdaModel> {
        LdaModel::fit(&self.map, &self.moments, settings)
    }
}

/// A solved LDA: the linear head and the Mahalanobis geometry behind it.
#[derive(Clone, Debug)]
pub struct LdaModel {
    /// The head whose logits are log p(φ|c) up to a constant of the row: relative to the mean m
    /// over all rows, W = (μ_c - m)ᵀ Σ⁻¹ and b = -½ (μ_c + m)ᵀ Σ⁻¹ (μ_c - m).
    pub head: LinearHead,
    /// Rows of each class behind the head, `[C]`.
    counts: Vec<f64>,
    /// The weight of the outer product of one centred row in the shrunk Σ: (1 - s) / degrees of
    /// freedom.
    outer_weight: f64,
    /// Distances to the class means under the shrunk Σ.
    pub geometry: Mahalanobis,
}

impl LdaModel {
    pub(super) fn fit(map: &FeatureMap, moments: &Moments, settings: LdaSettings) -> Result<Self> {
        Self::of_pooled(map, moments.pooled()?, settings)
    }

    pub(super) fn of_pooled(map: &FeatureMap, mut pooled: Pooled, settings: LdaSettings) -> Result<Self> {
        if !(0.0..=1.0).contains(&settings.shrinkage) {
            return Err(Error::config("shrinkage", settings.shrinkage, "0..=1"));
        }
        let (width, classes) = (map.width(), pooled.classes.len());
        let (factor, outer_weight) = covariance_factor(&mut pooled, settings.shrinkage)?;
        let centred: Vec<f64> = pooled
            .means
            .chunks_exact(width)
            .flat_map(|mean| mean.iter().zip(&pooled.centre).map(|(mean, centre)| mean - centre))
            .collect();
        let offsets = MatRef::from_row_major_slice(&centred, classes, width).transpose();
        let weight = factor.solve(offsets);
        let bias: Vec<f64> = (0..classes)
            .map(|class| {
                let middle = pooled.means[class * width..].iter().zip(&pooled.centre);
                let half =
                    middle.zip(weight.col(class).iter()).map(|((mean, centre), w)| (mean + centre) * w);
                // A difference, since the bias of a lone class is to be 0 and not -0.
                0.0 - 0.5 * half.sum::<f64>()
            })
            .collect();
        let rows: Vec<f64> = (0..classes).flat_map(|class| weight.col(class).iter().copied()).collect();
        let head = LinearHead::from_f64(map, &rows, &bias, pooled.classes)?;
        let mut whitened = offsets.to_owned();
        solve_lower_triangular_in_place(factor.lower(), whitened.as_mut(), get_global_parallelism());
        let whitened: Vec<f32> =
            (0..classes).flat_map(|class| whitened.col(class).iter().map(|&value| narrow(value))).collect();
        let centre = pooled.centre.iter().map(|&value| narrow(value)).collect();
        let factor =
            Mat::from_fn(width, width, |i, j| if j <= i { narrow(factor.lower()[(i, j)]) } else { 0.0 });
        let geometry = Mahalanobis::new(map.clone(), factor, centre, whitened);
        Ok(Self { head, counts: pooled.counts, outer_weight, geometry })
    }

    /// Returns the novelty of labelled rows h [N, D] that were learned from, with the own class for
    /// the nearest one, as if each had been left out. A class of one row says nothing of its
    /// spread: its row is left out of the result.
    ///
    /// With d = φ - μ_c and e = φ - m, q = dᵀΣ⁻¹d, p = eᵀΣ⁻¹e, s = dᵀΣ⁻¹e, the growth g = n/(n-1)
    /// of the class, and a the weight of one outer product in Σ, d becomes g d, and e becomes e + w
    /// d with w = n/(N (n-1)), since m is the mean of the class means in proportions that are held:
    /// a lone row that leaves must not move it away from its class. By the Sherman-Morrison formula
    /// (freedom and shrinkage target held too) the squared distances are g² q / (1 - a g q) and p +
    /// 2 w s + w² q + a g (s + w q)² / (1 - a g q).
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub fn left_out_novelty(&self, h: &[f32], labels: &[ClassId]) -> Result<Vec<f32>> {
        Ok(self.left_out_novelty_of_mapped(&self.head.map.apply(h)?, labels))
    }

    pub(super) fn left_out_novelty_of_mapped(&self, mapped: &[f32], labels: &[ClassId]) -> Vec<f32> {
        let (distances, to_centre) = self.geometry.distances(mapped);
        let spread = self.geometry.spread();
        let total: f64 = self.counts.iter().sum();
        let rows = labels.iter().zip(distances.chunks_exact(self.head.classes.len())).zip(to_centre);
        rows.filter_map(|((label, row), to_centre)| {
            let column = self.head.classes.binary_search(label).ok()?;
            let count = self.counts[column];
            let growth = count / (count - 1.0);
            let (q, p) = (f64::from(row[column]), f64::from(to_centre));
            // d = e - (μ_c - m), so 2 dᵀΣ⁻¹e is the sum of both distances less that of the means.
            let s = f64::midpoint(q, p) - 0.5 * f64::from(spread[column]);
            let share = self.outer_weight * growth;
            let left = 1.0 - share * q;
            let w = growth / total;
            let own = growth * growth * q / left;
            let shared = p + 2.0 * w * s + w * w * q + share * (s + w * q).powi(2) / left;
            (count > 1.5 && left > 0.0).then(|| narrow(own - f64::from(SHARED) * shared))
        })
        .collect()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "what predicts is kept in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Returns the Cholesky factor of the shrunk pooled covariance (1 - s) Σ + s (tr Σ / width) I, made
/// in the place of the scatter, and the weight (1 - s) / (degrees of freedom) of one outer product
/// in it.
///
/// Σ is over n - C degrees of freedom, or over n when every class has one row or less. Rows that do
/// not vary within classes at all give no Σ: then the spread of all rows, or 1 without any, stands
/// for its trace, every direction counts the same, and the weight is 0.
fn covariance_factor(pooled: &mut Pooled, shrinkage: f64) -> Result<(Factor, f64)> {
    #[allow(clippy::cast_precision_loss, reason = "class and feature counts are far below 2^52")]
    let (classes, width) = (pooled.classes.len() as f64, pooled.within.width() as f64);
    let total: f64 = pooled.counts.iter().sum();
    let freedom = if total > classes + 0.5 { total - classes } else { total };
    let trace = pooled.within.trace();
    let (scale, ridge) = if trace > pooled.rounding {
        ((1.0 - shrinkage) / freedom, shrinkage * trace / freedom / width)
    } else if pooled.total_trace > pooled.rounding {
        (0.0, pooled.total_trace / total / width)
    } else {
        (0.0, 1.0)
    };
    let within = std::mem::replace(&mut pooled.within, Gram::zeros(0));
    let factor = within.into_factor(scale, ridge).ok_or_else(|| {
        let what = format!("a discriminant with shrinkage {shrinkage}");
        Error::refused(what, "the covariance of so few rows cannot be inverted", "take a larger shrinkage")
    })?;
    Ok((factor, scale))
}
