//! Terms that keep dimensions apart: VICReg's variance, and the decorrelation that VICReg and
//! Barlow Twins share.

use crate::reference::real::{Real, count};
use crate::reference::reduce::column_sum;

/// VICReg: added to the variance under the root, as in the authors' code.
pub(crate) const VARIANCE_EPS: f64 = 1e-4;

/// Sizes and settings of [`variance`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variance {
    /// Rows, a multiple of `groups`.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Consecutive blocks of rows, one a view.
    pub groups: usize,
    /// Factor of each column's hinge: 1 / columns.
    pub loss_scale: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
    /// Standard deviation to hold, 1.
    pub target_std: f64,
    /// Added to the variance, [`VARIANCE_EPS`].
    pub eps: f64,
}

/// Variance term of VICReg (arXiv 2105.04906, eq. 1 and 2) and the centring that its covariance
/// needs. Per group of `n = rows / groups` rows: `centred = z - mean`,
/// `std = sqrt(sum_i centred^2 / (n - 1) + eps)`,
/// `loss[g, j] = loss_scale max(0, target_std - std)`,
/// `d_z -= weight loss_scale centred / ((n - 1) std)` where `std < target_std` (added to `d_z`). z,
/// `centred`, `d_z` `[rows, columns]`, `loss` `[groups, columns]`. One row a group has no variance:
/// NaN.
pub(crate) fn variance<T: Real>(
    settings: &Variance,
    z: &[T],
    centred: &mut [T],
    loss: &mut [T],
    d_z: &mut [T],
) {
    let Variance { rows, columns, groups, loss_scale, weight, target_std, eps } = *settings;
    let [loss_scale, weight, target_std, eps] = [loss_scale, weight, target_std, eps].map(T::of);
    let block = rows / groups * columns;
    let degrees = count::<T>(rows / groups) - T::one();
    let scale = weight * loss_scale / degrees;
    for g in 0..groups {
        let z = &z[g * block..(g + 1) * block];
        let centred = &mut centred[g * block..(g + 1) * block];
        let d_z = &mut d_z[g * block..(g + 1) * block];
        let loss = &mut loss[g * columns..(g + 1) * columns];
        centre(columns, z, centred, loss);
        loss.fill(T::zero());
        for row in centred.chunks_exact(columns.max(1)) {
            for (square, &value) in loss.iter_mut().zip(row) {
                *square += value * value;
            }
        }
        for value in loss.iter_mut() {
            *value = (*value / degrees + eps).sqrt();
        }
        for (d_row, row) in d_z.chunks_exact_mut(columns.max(1)).zip(centred.chunks_exact(columns.max(1))) {
            for ((d, &value), &deviation) in d_row.iter_mut().zip(row).zip(loss.iter()) {
                if deviation < target_std || deviation.is_nan() {
                    *d = *d - scale * value / deviation;
                }
            }
        }
        for value in loss.iter_mut() {
            let hinge = target_std - *value;
            *value = loss_scale * if hinge <= T::zero() { T::zero() } else { hinge };
        }
    }
}

/// `centred = z - mean` by columns; `mean` is scratch and holds the means on return.
fn centre<T: Real>(columns: usize, z: &[T], centred: &mut [T], mean: &mut [T]) {
    column_sum(columns, z, mean);
    let rows = count::<T>(z.len() / columns.max(1));
    for sum in mean.iter_mut() {
        *sum = *sum / rows;
    }
    for (out, row) in centred.chunks_exact_mut(columns.max(1)).zip(z.chunks_exact(columns.max(1))) {
        for ((out, &value), &mean) in out.iter_mut().zip(row).zip(mean.iter()) {
            *out = value - mean;
        }
    }
}

/// Settings of [`correlation`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// What the diagonal is held to.
    pub diagonal_target: f64,
    /// Factor of the diagonal's squares: 0 for VICReg, the term's scale for Barlow Twins.
    pub diagonal_scale: f64,
    /// Factor of the other squares: 1 / width for VICReg, scale times lambda for Barlow Twins.
    pub off_scale: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
}

/// Decorrelation of `c[width, width]` (Barlow Twins, arXiv 2103.03230, eq. 1; the covariance term
/// of VICReg, eq. 4):
/// `loss[i] = diagonal_scale (c[i, i] - diagonal_target)^2 + off_scale sum_{j != i} c[i, j]^2`; c
/// becomes `weight` times the gradient.
pub(crate) fn correlation<T: Real>(width: usize, settings: &Correlation, loss: &mut [T], c: &mut [T]) {
    let Correlation { diagonal_target, diagonal_scale, off_scale, weight } = *settings;
    let [target, diagonal_scale, off_scale] = [diagonal_target, diagonal_scale, off_scale].map(T::of);
    let two = T::of(2.0) * T::of(weight);
    for i in 0..width {
        let row = &mut c[i * width..(i + 1) * width];
        let residual = row[i] - target;
        row[i] = T::zero();
        let mut squares = T::zero();
        for value in row.iter_mut() {
            squares += *value * *value;
            *value = two * off_scale * *value;
        }
        row[i] = two * diagonal_scale * residual;
        loss[i] = diagonal_scale * residual * residual + off_scale * squares;
    }
}
