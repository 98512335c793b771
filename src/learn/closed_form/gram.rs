//! Weighted second moments G = Σ w φ φᵀ, accumulated in f64.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::solvers::SelfAdjointEigen;
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, Mat, MatRef, Side, Spec, get_global_parallelism};

/// The number of rows turned to f64 at a time: wide enough for a fast rank-k update, narrow enough
/// for the cache.
const BLOCK: usize = 256;

/// The symmetric sum of outer products [width, width]. Only the lower triangle is kept up to date.
#[derive(Clone, Debug)]
pub(super) struct Gram(Mat<f64>);

impl Gram {
    pub(super) fn zeros(width: usize) -> Self {
        Self(Mat::zeros(width, width))
    }

    pub(super) fn width(&self) -> usize {
        self.0.nrows()
    }

    /// Adds Σ_i w_i φ_i φ_iᵀ for rows φ [N, width]; rows of weight 0 cost nothing.
    pub(super) fn add(&mut self, mapped: &[f32], weights: &[f64]) {
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
            self.add_rows(scaled, 1.0);
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

    /// Returns the Cholesky factor of `scale` G + `ridge` I, in the place of G; `None` when that is
    /// not positive definite.
    pub(super) fn into_factor(self, scale: f64, ridge: f64) -> Option<Factor> {
        let mut matrix = self.0;
        matrix *= faer::Scale(scale);
        for i in 0..matrix.nrows() {
            matrix[(i, i)] += ridge;
        }
        Factor::of(matrix)
    }

    /// Returns V G Vᵀ for V [K, width].
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

    /// Returns the eigenvectors of G - `weight` m mᵀ in the precision of a head, their values
    /// ascending; `None` when there are none to find.
    #[allow(clippy::cast_possible_truncation, reason = "half the memory; directions are kept in f32")]
    pub(super) fn eigen_around(&self, mean: &[f64], weight: f64) -> Option<SelfAdjointEigen<f32>> {
        let centred = |i: usize, j: usize| {
            if j <= i { (self.0[(i, j)] - weight * mean[i] * mean[j]) as f32 } else { 0.0 }
        };
        SelfAdjointEigen::new(Mat::from_fn(self.width(), self.width(), centred).as_ref(), Side::Lower).ok()
    }
}

/// L of A = L Lᵀ.
#[derive(Clone, Debug)]
pub(super) struct Factor(Mat<f64>);

impl Factor {
    /// Factors A, of which only the lower triangle is read; `None` when A is not positive definite.
    pub(super) fn of(mut matrix: Mat<f64>) -> Option<Self> {
        // The factor takes the matrix's place: these are the largest matrices of the program.
        let parallelism = get_global_parallelism();
        let scratch = cholesky_in_place_scratch::<f64>(matrix.nrows(), parallelism, Spec::default());
        let (mut buffer, none) = (MemBuffer::new(scratch), LltRegularization::default());
        let stack = MemStack::new(&mut buffer);
        cholesky_in_place(matrix.as_mut(), none, parallelism, stack, Spec::default()).ok()?;
        Some(Self(matrix))
    }

    /// Returns L [width, width]; the values above its diagonal mean nothing.
    pub(super) fn lower(&self) -> MatRef<'_, f64> {
        self.0.as_ref()
    }

    /// Returns A⁻¹ B for B [width, K].
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

    /// The lower triangle, row by row.
    fn packed(gram: &Gram) -> Vec<f64> {
        (0..gram.width()).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|at| gram.0[at]).collect()
    }

    #[test]
    fn the_sum_is_the_one_by_hand() {
        let mut gram = Gram::zeros(3);
        gram.add(&[1.0, 2.0, 3.0, -1.0, 0.5, 4.0], &[2.0, 0.5]);
        for (got, wanted) in packed(&gram).into_iter().zip([2.5, 3.75, 8.125, 4.0, 13.0, 26.0]) {
            assert!((got - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn blocks_and_zero_weights_do_not_change_the_sum() {
        let rows = 2 * BLOCK + 7;
        let values: Vec<f32> = (0..rows * 2).map(|i| ((i * 37) % 101) as f32 / 10.0).collect();
        let weights: Vec<f64> = (0..rows).map(|i| (i % 3) as f64).collect();
        let mut gram = Gram::zeros(2);
        gram.add(&values, &weights);
        let naive = |a: usize, b: usize| -> f64 {
            (0..rows).map(|i| weights[i] * f64::from(values[2 * i + a]) * f64::from(values[2 * i + b])).sum()
        };
        for (got, wanted) in packed(&gram).into_iter().zip([naive(0, 0), naive(1, 0), naive(1, 1)]) {
            assert!((got - wanted).abs() < 1e-9 * wanted);
        }
    }
}
