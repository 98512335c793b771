//! Weighted second moments G = Σ w φ φᵀ, accumulated in f64.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::solvers::SelfAdjointEigen;
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, Mat, MatRef, Side, Spec, get_global_parallelism};

use crate::error::{Error, Result};

/// Rows turned to f64 at a time: wide enough for a fast rank-k update, narrow enough for the cache.
const BLOCK: usize = 256;

/// Symmetric [width, width] sum of outer products; only the lower triangle is kept up to date.
#[derive(Clone, Debug)]
pub(super) struct Gram(Mat<f64>);

impl Gram {
    pub(super) fn zeros(width: usize) -> Self {
        Self(Mat::zeros(width, width))
    }

    pub(super) fn width(&self) -> usize {
        self.0.nrows()
    }

    /// Adds `sign` Σ_i w_i φ_i φ_iᵀ for rows φ [N, width]; rows of weight 0 cost nothing.
    pub(super) fn add(&mut self, mapped: &[f32], weights: &[f64], sign: f64) {
        let width = self.width();
        let used: Vec<(&[f32], f64)> = mapped
            .chunks_exact(width)
            .zip(weights.iter().copied())
            .filter(|&(_, weight)| weight > 0.0)
            .collect();
        let mut buffer = vec![0.0_f64; BLOCK.min(used.len()) * width];
        for block in used.chunks(BLOCK) {
            let scaled = &mut buffer[..block.len() * width];
            for (&(row, weight), out) in block.iter().zip(scaled.chunks_exact_mut(width)) {
                let root = weight.sqrt();
                out.iter_mut().zip(row).for_each(|(out, &value)| *out = root * f64::from(value));
            }
            self.add_rows(scaled, sign);
        }
    }

    /// Adds `sign` XᵀX for f64 rows X [N, width].
    pub(super) fn add_rows(&mut self, rows: &[f64], sign: f64) {
        let width = self.width();
        let rows = MatRef::from_row_major_slice(rows, rows.len() / width, width);
        triangular::matmul(
            self.0.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Add,
            rows.transpose(),
            BlockStructure::Rectangular,
            rows,
            BlockStructure::Rectangular,
            sign,
            get_global_parallelism(),
        );
    }

    pub(super) fn trace(&self) -> f64 {
        (0..self.width()).map(|i| self.0[(i, i)]).sum()
    }

    /// Cholesky factor of `scale` G + `ridge` I, in the place of G; `None` when that is not positive definite.
    pub(super) fn into_factor(self, scale: f64, ridge: f64) -> Option<Factor> {
        let mut matrix = self.0;
        matrix *= faer::Scale(scale);
        for i in 0..matrix.nrows() {
            matrix[(i, i)] += ridge;
        }
        Factor::of(matrix)
    }

    /// V G Vᵀ for V [K, width].
    pub(super) fn along(&self, directions: MatRef<'_, f64>) -> Mat<f64> {
        let (lower, parallelism) = (self.0.as_ref(), get_global_parallelism());
        let mut product = Mat::zeros(directions.nrows(), self.width());
        for (half, structure) in [
            (lower, BlockStructure::TriangularLower),
            (lower.transpose(), BlockStructure::StrictTriangularUpper),
        ] {
            triangular::matmul(
                product.as_mut(),
                BlockStructure::Rectangular,
                Accum::Add,
                directions,
                BlockStructure::Rectangular,
                half,
                structure,
                1.0,
                parallelism,
            );
        }
        product * directions.transpose()
    }

    /// Eigenvectors of G - `weight` m mᵀ in the precision of what predicts, their values ascending; `None` when there are
    /// none to find.
    #[allow(clippy::cast_possible_truncation, reason = "half the memory; directions are kept in f32")]
    pub(super) fn eigen_around(&self, mean: &[f64], weight: f64) -> Option<SelfAdjointEigen<f32>> {
        let centred = |i: usize, j: usize| {
            if j <= i { (self.0[(i, j)] - weight * mean[i] * mean[j]) as f32 } else { 0.0 }
        };
        SelfAdjointEigen::new(Mat::from_fn(self.width(), self.width(), centred).as_ref(), Side::Lower).ok()
    }

    /// The lower triangle, packed row by row: width (width + 1) / 2 values.
    pub(super) fn to_packed(&self) -> Vec<f64> {
        (0..self.width()).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|at| self.0[at]).collect()
    }

    pub(super) fn from_packed(width: usize, packed: &[f64]) -> Result<Self> {
        if packed.len() != width * (width + 1) / 2 {
            return Err(Error::shape("packed second moments", [width * (width + 1) / 2], [packed.len()]));
        }
        let at = |i: usize, j: usize| if i >= j { packed[i * (i + 1) / 2 + j] } else { 0.0 };
        Ok(Self(Mat::from_fn(width, width, at)))
    }
}

/// L of A = L Lᵀ.
#[derive(Clone, Debug)]
pub(super) struct Factor(Mat<f64>);

impl Factor {
    /// Takes the lower triangle of A; `None` when A is not positive definite.
    pub(super) fn of(mut matrix: Mat<f64>) -> Option<Self> {
        // In place: these are the largest matrices of the program.
        let parallelism = get_global_parallelism();
        let scratch = cholesky_in_place_scratch::<f64>(matrix.nrows(), parallelism, Spec::default());
        let (mut buffer, none) = (MemBuffer::new(scratch), LltRegularization::default());
        let stack = MemStack::new(&mut buffer);
        cholesky_in_place(matrix.as_mut(), none, parallelism, stack, Spec::default()).ok()?;
        Some(Self(matrix))
    }

    /// L [width, width]; what lies above its diagonal means nothing.
    pub(super) fn lower(&self) -> MatRef<'_, f64> {
        self.0.as_ref()
    }

    /// A⁻¹ B for B [width, K].
    pub(super) fn solve(&self, right: MatRef<'_, f64>) -> Mat<f64> {
        let mut solution = right.to_owned();
        let parallelism = get_global_parallelism();
        solve_lower_triangular_in_place(self.lower(), solution.as_mut(), parallelism);
        solve_upper_triangular_in_place(self.lower().transpose(), solution.as_mut(), parallelism);
        solution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_value() {
        let mut gram = Gram::zeros(3);
        gram.add(&[1.0, 2.0, 3.0, -1.0, 0.5, 4.0], &[2.0, 0.5], 1.0);
        for (got, wanted) in gram.to_packed().into_iter().zip([2.5, 3.75, 8.125, 4.0, 13.0, 26.0]) {
            assert!((got - wanted).abs() < 1e-12);
        }
        let copy = Gram::from_packed(3, &gram.to_packed()).unwrap();
        assert_eq!(copy.to_packed(), gram.to_packed());
        assert!(Gram::from_packed(2, &[1.0]).is_err());
    }

    #[test]
    fn blocks_and_zero_weights_do_not_change_the_sum() {
        let rows = 2 * BLOCK + 7;
        let values: Vec<f32> = (0..rows * 2).map(|i| ((i * 37) % 101) as f32 / 10.0).collect();
        let weights: Vec<f64> = (0..rows).map(|i| (i % 3) as f64).collect();
        let mut gram = Gram::zeros(2);
        gram.add(&values, &weights, 1.0);
        let naive = |a: usize, b: usize| -> f64 {
            (0..rows).map(|i| weights[i] * f64::from(values[2 * i + a]) * f64::from(values[2 * i + b])).sum()
        };
        for (got, wanted) in gram.to_packed().into_iter().zip([naive(0, 0), naive(1, 0), naive(1, 1)]) {
            assert!((got - wanted).abs() < 1e-9 * wanted);
        }
    }
}
