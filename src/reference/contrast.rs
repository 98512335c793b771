//! Definitions of the `contrast` family: contrastive terms on similarities here, decorrelating ones
//! in `decorrelation`. The first turn similarities into their gradient in place; the caller's
//! matrix product carries it on to the rows.

mod decorrelation;

use super::classify::{exponentials, largest};
use super::real::Real;
use super::reduce::total;

pub(crate) use decorrelation::{Correlation, Variance};
pub(crate) use decorrelation::{VARIANCE_EPS, correlation, variance};

/// Settings of [`nt_xent`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NtXent {
    /// Whether the positive leaves the denominator (decoupled contrastive loss, arXiv 2110.06848).
    pub decoupled: bool,
    /// Factor of each row's loss: 1 / (2 half) for the mean over anchors.
    pub scale: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
}

/// NT-Xent (SimCLR, arXiv 2002.05709, eq. 1) over `s[2 half, 2 half]`, the similarities of the
/// stacked views divided by the temperature. With `k = (i + half) mod 2 half` and D all `j != i`,
/// without `k` if decoupled: `loss[i] = scale (lse_D(s[i]) - s[i, k])`; `s[i, j]` becomes
/// `weight scale ([j in D] softmax_D(s[i])_j - [j == k])`, 0 on the diagonal. Decoupled needs
/// `half >= 2`; else D is empty and nothing is finite.
pub(crate) fn nt_xent<T: Real>(half: usize, settings: &NtXent, loss: &mut [T], s: &mut [T]) {
    let rows = 2 * half;
    let loss_scale = T::of(settings.scale);
    let scale = T::of(settings.weight) * loss_scale;
    for i in 0..rows {
        let row = &mut s[i * rows..(i + 1) * rows];
        let k = (i + half) % rows;
        let positive = row[k];
        row[i] = T::neg_infinity();
        if settings.decoupled {
            row[k] = T::neg_infinity();
        }
        let shift = largest(row);
        row.iter_mut().for_each(|value| *value = (*value - shift).exponential());
        let sum = total(row);
        for value in row.iter_mut() {
            *value = scale * (*value / sum);
        }
        row[k] = row[k] - scale;
        loss[i] = loss_scale * (sum.ln() + (shift - positive));
    }
}

/// Sizes and settings of `info_nce`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    /// Rows of queries and keys.
    pub rows: usize,
    /// Columns of queries and keys.
    pub columns: usize,
    /// Columns of the negatives' similarities.
    pub negatives: usize,
    /// The key of query `i` is row `(i + row_shift) mod rows`.
    pub row_shift: usize,
    /// 1 / temperature.
    pub inverse_temperature: f64,
    /// Factor of each row's loss.
    pub scale: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
}

/// InfoNCE against a queue (MoCo, arXiv 1911.05722, eq. 1). `q`, `key` `[rows, columns]` unit rows,
/// `s[rows, negatives] = q · queueᵀ / temperature`. With `pos = q_i . key_k / temperature` and lse
/// over pos and `s[i]`: `loss[i] = scale (lse - pos)`,
/// `d_q[i] = weight scale (exp(pos - lse) - 1) key_k / temperature` (overwritten), and `s[i]`
/// becomes `weight scale exp(s[i] - lse)`. The caller adds `s · queue / temperature` to `d_q`; keys
/// get no gradient.
pub(crate) fn info_nce<T: Real>(
    settings: &InfoNce,
    q: &[T],
    key: &[T],
    loss: &mut [T],
    d_q: &mut [T],
    s: &mut [T],
) {
    let InfoNce { rows, columns, negatives, row_shift, inverse_temperature, scale, weight } = *settings;
    let [inverse_temperature, loss_scale, weight] = [inverse_temperature, scale, weight].map(T::of);
    let scale = weight * loss_scale;
    for i in 0..rows {
        let k = (i + row_shift) % rows;
        let key = &key[k * columns..(k + 1) * columns];
        let row = &mut s[i * negatives..(i + 1) * negatives];
        let mut product = T::zero();
        for (&x, &y) in q[i * columns..(i + 1) * columns].iter().zip(key) {
            product += x * y;
        }
        let positive = inverse_temperature * product;
        let shift = largest(row).max(positive);
        let share = (positive - shift).exponential();
        row.iter_mut().for_each(|value| *value = (*value - shift).exponential());
        let sum = share + total(row);
        for value in row.iter_mut() {
            *value = scale * (*value / sum);
        }
        let slope = scale * inverse_temperature * (share / sum - T::one());
        for (d, &y) in d_q[i * columns..(i + 1) * columns].iter_mut().zip(key) {
            *d = slope * y;
        }
        loss[i] = loss_scale * (sum.ln() + (shift - positive));
    }
}

/// `lse[i] = log sum_j exp(s[i, j])` of `s[rows, columns]`.
pub(crate) fn row_lse<T: Real>([rows, columns]: [usize; 2], s: &[T], lse: &mut [T]) {
    for i in 0..rows {
        let row = &s[i * columns..(i + 1) * columns];
        let shift = largest(row);
        lse[i] = shift + exponentials(row, shift).ln();
    }
}

/// Columns that [`column_lse`] handles side by side.
const STRIPE: usize = 64;

/// `lse[j] = log sum_i exp(s[i, j])` of `s[rows, columns]`.
pub(crate) fn column_lse<T: Real>([rows, columns]: [usize; 2], s: &[T], lse: &mut [T]) {
    for first in (0..columns).step_by(STRIPE) {
        let width = STRIPE.min(columns - first);
        let mut shifts = [T::neg_infinity(); STRIPE];
        let mut sums = [T::zero(); STRIPE];
        for i in 0..rows {
            for (shift, &value) in shifts.iter_mut().zip(&s[i * columns + first..][..width]) {
                if value > *shift {
                    *shift = value;
                }
            }
        }
        for i in 0..rows {
            let row = &s[i * columns + first..][..width];
            for ((sum, &shift), &value) in sums.iter_mut().zip(&shifts).zip(row) {
                *sum += (value - shift).exponential();
            }
        }
        for ((out, &sum), &shift) in lse[first..first + width].iter_mut().zip(&sums).zip(&shifts) {
            *out = shift + sum.ln();
        }
    }
}

/// Cross-entropy of `s[rows, rows]` against its diagonal by rows and by columns (contrastive
/// distillation, CaSSLe, arXiv 2112.04215), given its [`row_lse`] and [`column_lse`]:
/// `loss[i] = scale ((row_lse[i] - s[i, i]) + (column_lse[i] - s[i, i]))`; `s[i, j]` becomes
/// `weight scale (exp(s[i, j] - row_lse[i]) + exp(s[i, j] - column_lse[j]) - 2 [i == j])`.
/// The mean of both directions has `scale` 1 / (2 rows).
pub(crate) fn symmetric<T: Real>(
    rows: usize,
    [scale, weight]: [f64; 2],
    row_lse: &[T],
    column_lse: &[T],
    loss: &mut [T],
    s: &mut [T],
) {
    let [scale, weight] = [scale, weight].map(T::of);
    for i in 0..rows {
        let row = &mut s[i * rows..(i + 1) * rows];
        let of_row = row_lse[i];
        loss[i] = scale * ((of_row - row[i]) + (column_lse[i] - row[i]));
        for (value, &of_column) in row.iter_mut().zip(column_lse) {
            *value = weight * scale * ((*value - of_row).exponential() + (*value - of_column).exponential());
        }
        row[i] = row[i] - T::of(2.0) * weight * scale;
    }
}

#[cfg(test)]
mod tests;
