//! From backbone features h to the inputs of a closed-form head.

use std::ops::Range;
use std::sync::Arc;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, get_global_parallelism};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rng::Rng;

/// The number of rows mapped at a time: random features and products of components are many times
/// as wide as the rows.
pub(super) const BLOCK: usize = 256;

/// Rows h [N, D], in one slice or in a slice each.
#[derive(Clone, Copy, Debug)]
pub enum RowSet<'a> {
    /// `[N, D]`
    Joined(&'a [f32]),
    /// N times `[D]`
    Apart(&'a [&'a [f32]]),
}

impl<'a> From<&'a [f32]> for RowSet<'a> {
    fn from(rows: &'a [f32]) -> Self {
        Self::Joined(rows)
    }
}

impl<'a> From<&'a Vec<f32>> for RowSet<'a> {
    fn from(rows: &'a Vec<f32>) -> Self {
        Self::Joined(rows)
    }
}

impl<'a> From<&'a [&'a [f32]]> for RowSet<'a> {
    fn from(rows: &'a [&'a [f32]]) -> Self {
        Self::Apart(rows)
    }
}

/// Row-wise transform of features h [N, D].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureTransform {
    /// Leaves h as it is.
    None,
    /// Takes h / ‖h‖; a zero row stays zero.
    L2,
    /// Takes sqrt(max(h, 0)), then L2: this evens out the long tail of pooled activations
    /// (Hellinger map).
    #[default]
    SqrtL2,
}

impl FeatureTransform {
    fn apply_row(self, row: &mut [f32]) {
        if self == Self::None {
            return;
        }
        if self == Self::SqrtL2 {
            for value in row.iter_mut() {
                *value = value.max(0.0).sqrt();
            }
        }
        let norm = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
        if norm > 0.0 {
            #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is intended")]
            row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
        }
    }
}

/// The fixed Gaussian projection of random ReLU features (RanPAC, McDonnell et al., 2023).
#[derive(Debug)]
struct Projection {
    seed: u64,
    /// [D, width]
    weight: Vec<f32>,
}

/// The map from h [N, D] to head inputs φ [N, width]: a [`FeatureTransform`], then, if asked for,
/// ReLU of a seeded Gaussian projection. Features, transform, width and seed describe it fully.
/// Clones share the projection.
#[derive(Clone, Debug)]
pub struct FeatureMap {
    features: usize,
    width: usize,
    transform: FeatureTransform,
    projection: Option<Arc<Projection>>,
}

impl FeatureMap {
    /// A map without projection for rows of `features` values; its width is `features`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `features` is 0.
    pub fn new(features: usize, transform: FeatureTransform) -> Result<Self> {
        if features == 0 {
            return Err(Error::shape("features h [N, D]", "D of 1 or more", features));
        }
        Ok(Self { features, width: features, transform, projection: None })
    }

    /// A map with `width` random ReLU features: φ = max(0, transform(h) W) with W [D, width]
    /// standard normal, drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `features` is 0, [`Error::Config`] when `width` is 0.
    pub fn random_relu(
        features: usize,
        transform: FeatureTransform,
        width: usize,
        seed: u64,
    ) -> Result<Self> {
        if width == 0 {
            return Err(Error::config("random_features", width, "1 or more"));
        }
        let plain = Self::new(features, transform)?;
        let mut rng = Rng::named(seed, "closed-form random features");
        let weight = (0..features * width).map(|_| rng.normal()).collect();
        Ok(Self { width, projection: Some(Arc::new(Projection { seed, weight })), ..plain })
    }

    /// Returns the length D of a row of h.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Returns the length of a row of φ.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the row-wise transform.
    #[must_use]
    pub fn transform(&self) -> FeatureTransform {
        self.transform
    }

    /// Returns the random projection W [D, width], if there is one.
    #[must_use]
    pub fn projection(&self) -> Option<&[f32]> {
        self.projection.as_ref().map(|projection| projection.weight.as_slice())
    }

    /// Returns the seed of the random projection, if there is one.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.projection.as_ref().map(|projection| projection.seed)
    }

    /// Returns the number of rows in h [N, D].
    ///
    /// # Errors
    /// [`Error::Shape`] for a row that is not `[D]`.
    pub(super) fn count(&self, h: RowSet<'_>) -> Result<usize> {
        match h {
            RowSet::Joined(h) if h.len().is_multiple_of(self.features) => Ok(h.len() / self.features),
            RowSet::Joined(h) => {
                Err(Error::shape("features h [N, D]", format!("[N, {}]", self.features), [h.len()]))
            }
            RowSet::Apart(rows) => match rows.iter().find(|row| row.len() != self.features) {
                Some(row) => Err(Error::shape("a row of features h", self.features, row.len())),
                None => Ok(rows.len()),
            },
        }
    }

    /// Returns the number of rows in h [N, D].
    ///
    /// # Errors
    /// As [`FeatureMap::apply`].
    pub(super) fn check(&self, h: RowSet<'_>) -> Result<usize> {
        let rows = self.count(h)?;
        let is_bad = |row: &[f32]| row.iter().any(|value| !value.is_finite());
        let bad = match h {
            RowSet::Joined(h) => h.chunks_exact(self.features).position(is_bad),
            RowSet::Apart(rows) => rows.iter().position(|row| is_bad(row)),
        };
        if let Some(index) = bad {
            let reason = "a feature is not finite; embed the frame again or leave it out".to_owned();
            return Err(Error::Frame { name: format!("feature row {index}"), reason });
        }
        Ok(rows)
    }

    /// Returns φ [N, width] of h [N, D].
    ///
    /// # Errors
    /// [`Error::Shape`] when the length is no multiple of D, [`Error::Frame`] naming the first row
    /// with a value that is not finite.
    pub fn apply(&self, h: &[f32]) -> Result<Vec<f32>> {
        let rows = self.check(h.into())?;
        let mut mapped = h.to_vec();
        mapped.chunks_exact_mut(self.features).for_each(|row| self.transform.apply_row(row));
        let Some(projection) = &self.projection else {
            return Ok(mapped);
        };
        let mut wide = vec![0.0_f32; rows * self.width];
        matmul(
            MatMut::from_row_major_slice_mut(&mut wide, rows, self.width),
            Accum::Replace,
            MatRef::from_row_major_slice(&mapped, rows, self.features),
            MatRef::from_row_major_slice(&projection.weight, self.features, self.width),
            1.0,
            get_global_parallelism(),
        );
        wide.iter_mut().for_each(|value| *value = value.max(0.0));
        Ok(wide)
    }

    /// Calls `work` with the row numbers and φ of h [N, D], block by block. A row that
    /// [`FeatureMap::apply`] refuses is refused before `work` sees any.
    ///
    /// # Errors
    /// As [`FeatureMap::apply`], and those of `work`.
    pub(super) fn for_each_block(
        &self,
        h: RowSet<'_>,
        mut work: impl FnMut(Range<usize>, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let rows = self.check(h)?;
        for from in (0..rows).step_by(BLOCK) {
            let block = from..rows.min(from + BLOCK);
            let mapped = match h {
                RowSet::Joined(h) => {
                    self.apply(&h[block.start * self.features..block.end * self.features])?
                }
                RowSet::Apart(rows) => self.apply(&rows[block.clone()].concat())?,
            };
            work(block, &mapped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_match_hand_values() {
        let apply =
            |transform| FeatureMap::new(2, transform).unwrap().apply(&[9.0, 16.0, -4.0, 0.0]).unwrap();
        assert_eq!(apply(FeatureTransform::None), [9.0, 16.0, -4.0, 0.0]);
        assert_eq!(apply(FeatureTransform::SqrtL2), [0.6, 0.8, 0.0, 0.0]);
        let l2 = apply(FeatureTransform::L2);
        assert!((l2[0] - 9.0 / 337.0_f32.sqrt()).abs() < 1e-6);
        assert_eq!(l2[2..], [-1.0, 0.0]);
    }

    #[test]
    fn random_features_are_seeded_and_rectified() {
        let map = |seed| FeatureMap::random_relu(3, FeatureTransform::L2, 40, seed).unwrap();
        let h = [1.0, 2.0, 2.0];
        let first = map(5).apply(&h).unwrap();
        assert_eq!(first, map(5).apply(&h).unwrap());
        assert_ne!(first, map(6).apply(&h).unwrap());
        let weight = &map(5).projection.unwrap().weight;
        for (column, value) in first.iter().enumerate() {
            let wanted = (weight[column] + 2.0 * weight[40 + column] + 2.0 * weight[80 + column]) / 3.0;
            assert!((value - wanted.max(0.0)).abs() < 1e-5);
        }
    }

    #[test]
    fn bad_rows_are_refused_by_name() {
        let map = FeatureMap::new(2, FeatureTransform::None).unwrap();
        assert!(map.apply(&[1.0, 2.0, 3.0]).is_err());
        let error = map.apply(&[1.0, 2.0, f32::INFINITY, 0.0]).unwrap_err();
        assert!(error.to_string().contains("feature row 1"));
        assert!(map.apply(&[]).unwrap().is_empty());
        assert!(matches!(FeatureMap::new(0, FeatureTransform::None), Err(Error::Shape { .. })));
        let narrow = FeatureMap::random_relu(2, FeatureTransform::None, 0, 1);
        assert!(matches!(narrow, Err(Error::Config { .. })));
    }
}
