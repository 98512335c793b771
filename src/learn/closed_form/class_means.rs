//! Nearest class mean.

use super::class_sums::ClassSums;
use super::features::{FeatureMap, RowSet};
use super::head::LinearHead;
use super::responsibilities::Responsibilities;
use crate::error::Result;

/// How a row is compared with a class mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeanDistance {
    /// Logit μ_c·φ / ‖μ_c‖: the cosine, exactly so where the transform makes ‖φ‖ = 1.
    Cosine,
    /// Logit -½ Σ_j (φ_j - μ_cj)² / σ_j² up to a constant of the row, with σ_j² the variance of
    /// feature j over all rows.
    #[default]
    Standardised,
}

/// Nearest-class-mean classifier over h [N, D] (Mensink et al., 2013): counts, sums and
/// feature-wise squares.
#[derive(Clone, Debug)]
pub struct ClassMeans {
    map: FeatureMap,
    distance: MeanDistance,
    sums: ClassSums,
    squares: Vec<f64>,
}

impl ClassMeans {
    /// A classifier without classes.
    #[must_use]
    pub fn new(map: FeatureMap, distance: MeanDistance) -> Self {
        let width = map.width();
        Self { map, distance, sums: ClassSums::new(width), squares: vec![0.0; width] }
    }

    /// Adds rows h [N, D].
    ///
    /// # Errors
    /// As [`FeatureMap::apply`]; [`crate::Error::Shape`] or [`crate::Error::Refused`] for
    /// responsibilities that do not fit. Nothing is changed then.
    pub fn add<'h>(
        &mut self,
        h: impl Into<RowSet<'h>>,
        responsibilities: Responsibilities<'_>,
    ) -> Result<()> {
        let h = h.into();
        responsibilities.check(self.map.count(h)?)?;
        let width = self.map.width();
        let mut own = ClassSums::new(width);
        let squares = &mut self.squares;
        self.map.for_each_block(h, |rows, mapped| {
            own.add(&ClassSums::of_rows(width, mapped, responsibilities.rows(rows.clone()))?);
            for (row, values) in rows.zip(mapped.chunks_exact(width)) {
                let weight = responsibilities.weight_of_row(row);
                for (square, &value) in squares.iter_mut().zip(values) {
                    *square += weight * f64::from(value) * f64::from(value);
                }
            }
            Ok(())
        })?;
        self.sums.add(&own);
        Ok(())
    }

    /// Returns the head of the present means. A feature that never varied takes no part in the
    /// standardised distance; a class whose mean is zero has the cosine 0 to everything.
    ///
    /// # Errors
    /// [`crate::Error::NotReady`] when no class has rows.
    pub fn fit(&self) -> Result<LinearHead> {
        let live = self.sums.live()?;
        let scale = self.inverse_variance(&live);
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for &slot in &live {
            let mean = self.sums.sum(slot).iter().map(|value| value / self.sums.counts[slot]);
            let mean: Vec<f64> = mean.collect();
            match self.distance {
                MeanDistance::Cosine => {
                    let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
                    weight.extend(mean.iter().map(|value| if norm > 0.0 { value / norm } else { 0.0 }));
                    bias.push(0.0);
                }
                MeanDistance::Standardised => {
                    let scaled = mean.iter().zip(&scale);
                    weight.extend(scaled.clone().map(|(value, scale)| value * scale));
                    bias.push(-0.5 * scaled.map(|(value, scale)| value * value * scale).sum::<f64>());
                }
            }
        }
        let classes = live.iter().map(|&slot| self.sums.classes[slot]).collect();
        LinearHead::from_f64(&self.map, &weight, &bias, classes)
    }

    fn inverse_variance(&self, live: &[usize]) -> Vec<f64> {
        let total: f64 = live.iter().map(|&slot| self.sums.counts[slot]).sum();
        let of_feature = |(feature, square): (usize, &f64)| {
            let mean = live.iter().map(|&slot| self.sums.sum(slot)[feature]).sum::<f64>() / total;
            let (second, variance) = (square / total, square / total - mean * mean);
            // Below this share of the second moment a variance is the rounding of a constant
            // feature.
            if variance > 1e-12 * second { 1.0 / variance } else { 0.0 }
        };
        self.squares.iter().enumerate().map(of_feature).collect()
    }
}
