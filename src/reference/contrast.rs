//! Definitions of the `contrast` family: contrastive and decorrelating terms. Those on similarities turn them into
//! their gradient in place; the caller's matrix product carries it on to the rows.

use super::classify::{exponentials, largest};
use super::reduce::total;
use super::{Real, count};

/// Scalars of [`nt_xent`].
#[derive(Clone, Copy, Debug)]
pub struct NtXent<T> {
    /// Whether the positive leaves the denominator (decoupled contrastive loss, arXiv 2110.06848).
    pub decoupled: bool,
    /// Factor of each row's loss: 1 / (2 half) for the mean over anchors.
    pub scale: T,
    /// Weight of the term in the gradient only.
    pub weight: T,
}

/// NT-Xent (SimCLR, arXiv 2002.05709, eq. 1) over `s[2 half, 2 half]`, the similarities of the stacked views divided by
/// the temperature. With `k = (i + half) mod 2 half` and D all `j != i`, without `k` if decoupled:
/// `loss[i] = scale (lse_D(s[i]) - s[i, k])`; `s[i, j]` becomes `weight scale ([j in D] softmax_D(s[i])_j - [j == k])`,
/// 0 on the diagonal. Decoupled needs `half >= 2`; else D is empty and nothing is finite.
pub fn nt_xent<T: Real>(half: usize, scalars: &NtXent<T>, loss: &mut [T], s: &mut [T]) {
    let rows = 2 * half;
    let scale = scalars.weight * scalars.scale;
    for i in 0..rows {
        let row = &mut s[i * rows..(i + 1) * rows];
        let k = (i + half) % rows;
        let positive = row[k];
        row[i] = T::neg_infinity();
        if scalars.decoupled {
            row[k] = T::neg_infinity();
        }
        let shift = largest(row);
        row.iter_mut().for_each(|value| *value = (*value - shift).exponential());
        let sum = total(row);
        for value in row.iter_mut() {
            *value = scale * (*value / sum);
        }
        row[k] = row[k] - scale;
        loss[i] = scalars.scale * (sum.ln() + (shift - positive));
    }
}

/// Sizes and scalars of [`info_nce`].
#[derive(Clone, Copy, Debug)]
pub struct InfoNce<T> {
    /// Rows of queries and keys.
    pub rows: usize,
    /// Columns of queries and keys.
    pub columns: usize,
    /// Columns of the negatives' similarities.
    pub negatives: usize,
    /// The key of query `i` is row `(i + row_shift) mod rows`.
    pub row_shift: usize,
    /// 1 / temperature.
    pub inverse_temperature: T,
    /// Factor of each row's loss.
    pub scale: T,
    /// Weight of the term in the gradient only.
    pub weight: T,
}

/// InfoNCE against a queue (MoCo, arXiv 1911.05722, eq. 1). `q`, `key` `[rows, columns]` unit rows,
/// `s[rows, negatives] = q · queueᵀ / temperature`. With `pos = q_i . key_k / temperature` and lse over pos and `s[i]`:
/// `loss[i] = scale (lse - pos)`, `d_q[i] = weight scale (exp(pos - lse) - 1) key_k / temperature` (overwritten), and
/// `s[i]` becomes `weight scale exp(s[i] - lse)`. The caller adds `s · queue / temperature` to `d_q`; keys get no gradient.
pub fn info_nce<T: Real>(
    scalars: &InfoNce<T>,
    q: &[T],
    key: &[T],
    loss: &mut [T],
    d_q: &mut [T],
    s: &mut [T],
) {
    let (columns, negatives) = (scalars.columns, scalars.negatives);
    let scale = scalars.weight * scalars.scale;
    for i in 0..scalars.rows {
        let k = (i + scalars.row_shift) % scalars.rows;
        let key = &key[k * columns..(k + 1) * columns];
        let row = &mut s[i * negatives..(i + 1) * negatives];
        let mut product = T::zero();
        for (&x, &y) in q[i * columns..(i + 1) * columns].iter().zip(key) {
            product += x * y;
        }
        let positive = scalars.inverse_temperature * product;
        let shift = largest(row).max(positive);
        let share = (positive - shift).exponential();
        row.iter_mut().for_each(|value| *value = (*value - shift).exponential());
        let sum = share + total(row);
        for value in row.iter_mut() {
            *value = scale * (*value / sum);
        }
        let slope = scale * scalars.inverse_temperature * (share / sum - T::one());
        for (d, &y) in d_q[i * columns..(i + 1) * columns].iter_mut().zip(key) {
            *d = slope * y;
        }
        loss[i] = scalars.scale * (sum.ln() + (shift - positive));
    }
}

/// `lse[i] = log sum_j exp(s[i, j])` of `s[rows, columns]`.
pub fn row_lse<T: Real>([rows, columns]: [usize; 2], s: &[T], lse: &mut [T]) {
    for i in 0..rows {
        let row = &s[i * columns..(i + 1) * columns];
        let shift = largest(row);
        lse[i] = shift + exponentials(row, shift).ln();
    }
}

/// Columns that [`column_lse`] handles side by side.
const STRIPE: usize = 64;

/// `lse[j] = log sum_i exp(s[i, j])` of `s[rows, columns]`.
pub fn column_lse<T: Real>([rows, columns]: [usize; 2], s: &[T], lse: &mut [T]) {
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

/// Cross-entropy of `s[rows, rows]` against its diagonal by rows and by columns (contrastive distillation, CaSSLe,
/// arXiv 2112.04215), given its [`row_lse`] and [`column_lse`]:
/// `loss[i] = scale ((row_lse[i] - s[i, i]) + (column_lse[i] - s[i, i]))`; `s[i, j]` becomes
/// `weight scale (exp(s[i, j] - row_lse[i]) + exp(s[i, j] - column_lse[j]) - 2 [i == j])`.
/// The mean of both directions has `scale` 1 / (2 rows).
pub fn symmetric<T: Real>(
    rows: usize,
    [scale, weight]: [T; 2],
    row_lse: &[T],
    column_lse: &[T],
    loss: &mut [T],
    s: &mut [T],
) {
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

/// Sizes and scalars of [`variance`].
#[derive(Clone, Copy, Debug)]
pub struct Variance<T> {
    /// Rows, a multiple of `groups`.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Consecutive blocks of rows, one a view.
    pub groups: usize,
    /// Factor of each column's hinge: 1 / columns.
    pub loss_scale: T,
    /// Weight of the term in the gradient only.
    pub weight: T,
    /// Standard deviation to hold, 1.
    pub target_std: T,
    /// Added to the variance, 1e-4.
    pub eps: T,
}

/// Variance term of VICReg (arXiv 2105.04906, eq. 1 and 2) and the centring that its covariance needs. Per group of
/// `n = rows / groups` rows: `centred = z - mean`, `std = sqrt(sum_i centred^2 / (n - 1) + eps)`,
/// `loss[g, j] = loss_scale max(0, target_std - std)`, `d_z -= weight loss_scale centred / ((n - 1) std)` where
/// `std < target_std` (added to `d_z`). z, `centred`, `d_z` `[rows, columns]`, `loss` `[groups, columns]`. One row a
/// group has no variance: NaN.
pub fn variance<T: Real>(scalars: &Variance<T>, z: &[T], centred: &mut [T], loss: &mut [T], d_z: &mut [T]) {
    let columns = scalars.columns;
    let block = scalars.rows / scalars.groups * columns;
    let degrees = count::<T>(scalars.rows / scalars.groups) - T::one();
    let scale = scalars.weight * scalars.loss_scale / degrees;
    for g in 0..scalars.groups {
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
            *value = (*value / degrees + scalars.eps).sqrt();
        }
        for (d_row, row) in d_z.chunks_exact_mut(columns.max(1)).zip(centred.chunks_exact(columns.max(1))) {
            for ((d, &value), &deviation) in d_row.iter_mut().zip(row).zip(loss.iter()) {
                if deviation < scalars.target_std || deviation.is_nan() {
                    *d = *d - scale * value / deviation;
                }
            }
        }
        for value in loss.iter_mut() {
            let hinge = scalars.target_std - *value;
            *value = scalars.loss_scale * if hinge <= T::zero() { T::zero() } else { hinge };
        }
    }
}

/// `centred = z - mean` by columns; `mean` is scratch and holds the means on return.
fn centre<T: Real>(columns: usize, z: &[T], centred: &mut [T], mean: &mut [T]) {
    mean.fill(T::zero());
    for row in z.chunks_exact(columns.max(1)) {
        for (sum, &value) in mean.iter_mut().zip(row) {
            *sum += value;
        }
    }
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

/// Scalars of [`correlation`].
#[derive(Clone, Copy, Debug)]
pub struct Correlation<T> {
    /// What the diagonal is held to.
    pub diagonal_target: T,
    /// Factor of the diagonal's squares: 0 for VICReg, the term's scale for Barlow Twins.
    pub diagonal_scale: T,
    /// Factor of the other squares: 1 / size for VICReg, scale times lambda for Barlow Twins.
    pub off_scale: T,
    /// Weight of the term in the gradient only.
    pub weight: T,
}

/// Decorrelation of `c[size, size]` (Barlow Twins, arXiv 2103.03230, eq. 1; the covariance term of VICReg, eq. 4):
/// `loss[i] = diagonal_scale (c[i, i] - diagonal_target)^2 + off_scale sum_{j != i} c[i, j]^2`; c becomes `weight`
/// times the gradient.
pub fn correlation<T: Real>(size: usize, scalars: &Correlation<T>, loss: &mut [T], c: &mut [T]) {
    let two = T::of(2.0) * scalars.weight;
    for i in 0..size {
        let row = &mut c[i * size..(i + 1) * size];
        let residual = row[i] - scalars.diagonal_target;
        row[i] = T::zero();
        let mut squares = T::zero();
        for value in row.iter_mut() {
            squares += *value * *value;
            *value = two * scalars.off_scale * *value;
        }
        row[i] = two * scalars.diagonal_scale * residual;
        loss[i] = scalars.diagonal_scale * residual * residual + scalars.off_scale * squares;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::{check, disagreement, values};

    const NT_XENT: NtXent<f64> = NtXent { decoupled: false, scale: 0.125, weight: 2.0 };
    const INFO_NCE: InfoNce<f64> = InfoNce {
        rows: 4,
        columns: 3,
        negatives: 5,
        row_shift: 2,
        inverse_temperature: 5.0,
        scale: 0.25,
        weight: 3.0,
    };
    const VARIANCE: Variance<f64> =
        Variance { rows: 8, columns: 3, groups: 2, loss_scale: 0.5, weight: 2.0, target_std: 1.0, eps: 1e-4 };
    const CORRELATION: Correlation<f64> =
        Correlation { diagonal_target: 1.0, diagonal_scale: 0.1, off_scale: 0.005, weight: 3.0 };

    fn total(loss: &[f64]) -> f64 {
        loss.iter().sum()
    }

    fn pairs(half: usize, scalars: &NtXent<f64>, s: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut loss, mut s) = (vec![9.0; 2 * half], s.to_vec());
        nt_xent(half, scalars, &mut loss, &mut s);
        (loss, s)
    }

    #[test]
    fn nt_xent_gradient_agrees_with_differences() {
        let s: Vec<_> = values(1, 64).iter().map(|v| v * 5.0).collect();
        for decoupled in [false, true] {
            let scalars = NtXent { decoupled, ..NT_XENT };
            let objective = |s: &[f64]| 2.0 * total(&pairs(4, &scalars, s).0);
            let (_, d_s) = pairs(4, &scalars, &s);
            check("d_s", &s, &d_s, objective);
            let other = NtXent { decoupled: !decoupled, ..NT_XENT };
            assert!(disagreement(&s, &pairs(4, &other, &s).1, objective).is_some());
            for (i, row) in d_s.chunks(8).enumerate() {
                assert!(total(row).abs() < 1e-15 && row[i] == 0.0);
            }
        }
    }

    #[test]
    fn nt_xent_edges() {
        assert_eq!(pairs(1, &NT_XENT, &[3.0, 80.0, -80.0, 3.0]), (vec![0.0; 2], vec![0.0; 4]));
        let (loss, _) = pairs(3, &NT_XENT, &[80.0; 36]);
        assert!(loss.iter().all(|l| (l - 0.125 * 5.0_f64.ln()).abs() < 1e-14));
        let only_pair = NtXent { decoupled: true, ..NT_XENT };
        assert!(pairs(1, &only_pair, &[0.0; 4]).0.iter().all(|l| !l.is_finite()));
        for bad in [f64::NAN, f64::INFINITY] {
            let mut s = vec![0.0; 16];
            s[1] = bad;
            let (loss, d_s) = pairs(2, &NT_XENT, &s);
            assert!(!loss[0].is_finite() && d_s[..4].iter().any(|d| !d.is_finite()));
            assert!(loss[1..].iter().all(|l| l.is_finite()));
        }
    }

    fn queue(q: &[f64], key: &[f64], s: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut loss, mut d_q, mut s) = (vec![9.0; 4], vec![9.0; 12], s.to_vec());
        info_nce(&INFO_NCE, q, key, &mut loss, &mut d_q, &mut s);
        (loss, d_q, s)
    }

    #[test]
    fn info_nce_gradients_agree_with_differences() {
        let (q, key, s) = (values(2, 12), values(3, 12), values(4, 20));
        let (_, d_q, d_s) = queue(&q, &key, &s);
        check("d_q", &q, &d_q, |q| 3.0 * total(&queue(q, &key, &s).0));
        check("d_s", &s, &d_s, |s| 3.0 * total(&queue(&q, &key, s).0));
        let wrong = queue(&q, &q, &s).1;
        assert!(disagreement(&q, &wrong, |q| 3.0 * total(&queue(q, &key, &s).0)).is_some());
        let (loss, d_q, _) = queue(&[0.0; 12], &key, &[0.0; 20]);
        assert!(loss.iter().all(|l| (l - 0.25 * 6.0_f64.ln()).abs() < 1e-15));
        assert!(d_q.iter().all(|d| d.is_finite()));
        for bad in [f64::NAN, f64::INFINITY] {
            let mut s = s.clone();
            s[0] = bad;
            let (loss, d_q, d_s) = queue(&q, &key, &s);
            assert!(!loss[0].is_finite() && d_s[..5].iter().any(|d| !d.is_finite()));
            assert!(d_q[3..].iter().all(|d| d.is_finite()));
        }
    }

    fn square(s: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut by_row, mut by_column, mut loss, mut s) = ([0.0; 5], [0.0; 5], vec![9.0; 5], s.to_vec());
        row_lse([5, 5], &s, &mut by_row);
        column_lse([5, 5], &s, &mut by_column);
        symmetric(5, [0.1, 2.0], &by_row, &by_column, &mut loss, &mut s);
        (loss, s)
    }

    #[test]
    fn symmetric_gradient_agrees_with_differences() {
        let s: Vec<_> = values(5, 25).iter().map(|v| v * 5.0).collect();
        let objective = |s: &[f64]| 2.0 * total(&square(s).0);
        let (loss, d_s) = square(&s);
        check("d_s", &s, &d_s, objective);
        let transposed: Vec<_> = (0..25).map(|i| d_s[i % 5 * 5 + i / 5]).collect();
        assert!(disagreement(&s, &transposed, objective).is_some());
        assert!(total(&d_s).abs() < 1e-14);
        let across: Vec<_> = (0..25).map(|i| s[i % 5 * 5 + i / 5]).collect();
        assert!((total(&square(&across).0) - total(&loss)).abs() < 1e-14);
        let (loss, _) = square(&[-80.0; 25]);
        assert!((total(&loss) - 5.0_f64.ln()).abs() < 1e-12);
        for bad in [f64::NAN, f64::INFINITY] {
            let mut s = s.clone();
            s[7] = bad;
            assert!(!total(&square(&s).0).is_finite());
        }
    }

    #[test]
    fn log_sum_exp_by_columns_is_by_rows_of_the_transpose() {
        let (rows, columns) = (3, 67);
        let s = values(6, rows * columns);
        let across: Vec<_> = (0..rows * columns).map(|i| s[i % rows * columns + i / rows]).collect();
        let (mut by_column, mut by_row) = (vec![0.0; columns], vec![0.0; columns]);
        column_lse([rows, columns], &s, &mut by_column);
        row_lse([columns, rows], &across, &mut by_row);
        assert_eq!(by_column, by_row);
        assert!((by_row[66] - (s[66].exp() + s[133].exp() + s[200].exp()).ln()).abs() < 1e-14);
    }

    fn spread(scalars: &Variance<f64>, z: &[f64]) -> [Vec<f64>; 3] {
        let (mut centred, mut loss) = (vec![9.0; z.len()], vec![9.0; scalars.groups * scalars.columns]);
        let mut d_z = vec![7.0; z.len()];
        variance(scalars, z, &mut centred, &mut loss, &mut d_z);
        d_z.iter_mut().for_each(|d| *d -= 7.0);
        [centred, loss, d_z]
    }

    #[test]
    fn variance_gradient_agrees_with_differences_on_both_sides_of_the_hinge() {
        let mut z = values(7, 24);
        z.iter_mut().step_by(3).for_each(|v| *v *= 10.0);
        let objective = |z: &[f64]| 2.0 * total(&spread(&VARIANCE, z)[1]);
        let [centred, loss, d_z] = spread(&VARIANCE, &z);
        check("d_z", &z, &d_z, objective);
        let one_group = Variance { groups: 1, ..VARIANCE };
        assert!(disagreement(&z, &spread(&one_group, &z)[2], objective).is_some());
        assert!(loss[0] == 0.0 && loss[1] > 0.0 && d_z[0] == 0.0);
        for group in centred.chunks(12) {
            for j in 0..3 {
                assert!(total(&group.iter().skip(j).step_by(3).copied().collect::<Vec<_>>()).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn variance_edges() {
        let [_, loss, d_z] = spread(&VARIANCE, &[4.0; 24]);
        assert!(loss.iter().all(|l| (l - 0.5 * (1.0 - 0.01)).abs() < 1e-12) && d_z == [0.0; 24]);
        let single = Variance { rows: 2, ..VARIANCE };
        assert!(spread(&single, &[1.0; 6])[1].iter().all(|l| l.is_nan()));
        for bad in [f64::NAN, f64::INFINITY] {
            let mut z = values(8, 24);
            z[0] = bad;
            let [centred, loss, d_z] = spread(&VARIANCE, &z);
            assert!(!loss[0].is_finite() && !centred[0].is_finite() && !d_z[0].is_finite());
            assert!(loss[1..].iter().all(|l| l.is_finite()));
        }
    }

    #[test]
    fn correlation_gradient_agrees_with_differences() {
        let c = values(9, 25);
        let run = |c: &[f64], scalars: &Correlation<f64>| {
            let (mut loss, mut c) = (vec![9.0; 5], c.to_vec());
            correlation(5, scalars, &mut loss, &mut c);
            (loss, c)
        };
        let objective = |c: &[f64]| 3.0 * total(&run(c, &CORRELATION).0);
        check("d_c", &c, &run(&c, &CORRELATION).1, objective);
        let other = Correlation { diagonal_target: -1.0, ..CORRELATION };
        assert!(disagreement(&c, &run(&c, &other).1, objective).is_some());
        let identity: Vec<_> = (0..25).map(|i| if i % 6 == 0 { 1.0 } else { 0.0 }).collect();
        assert_eq!(run(&identity, &CORRELATION), (vec![0.0; 5], vec![0.0; 25]));
        for bad in [f64::NAN, f64::INFINITY] {
            for at in [0, 1] {
                let mut c = c.clone();
                c[at] = bad;
                let (loss, d_c) = run(&c, &CORRELATION);
                assert!(!loss[0].is_finite() && !d_c[at].is_finite());
            }
        }
    }

    #[test]
    fn no_weight_means_no_gradient_and_the_same_loss() {
        let (s, q) = (values(10, 16), values(11, 12));
        let unweighted = NtXent { weight: 0.0, ..NT_XENT };
        let (loss, d_s) = pairs(2, &unweighted, &s);
        assert_eq!(loss, pairs(2, &NT_XENT, &s).0);
        assert!(d_s.iter().all(|d| *d == 0.0));
        let (mut loss, mut d_q, mut d_s) = (vec![0.0; 4], vec![9.0; 12], values(12, 20));
        let unweighted = InfoNce { weight: 0.0, ..INFO_NCE };
        info_nce(&unweighted, &q, &q, &mut loss, &mut d_q, &mut d_s);
        assert!(loss.iter().all(|l| *l > 0.0) && d_q.iter().chain(&d_s).all(|d| *d == 0.0));
        let unweighted = Variance { weight: 0.0, ..VARIANCE };
        let [_, loss, d_z] = spread(&unweighted, &values(13, 24));
        assert!(loss.iter().any(|l| *l > 0.0) && d_z.iter().all(|d| *d == 0.0));
        let (mut loss, mut c) = ([0.0; 4], s.clone());
        correlation(4, &Correlation { weight: 0.0, ..CORRELATION }, &mut loss, &mut c);
        assert!(loss.iter().all(|l| *l > 0.0) && c.iter().all(|d| *d == 0.0));
    }

    #[test]
    fn swapped_views_give_swapped_losses() {
        let s = values(14, 16);
        let turned: Vec<_> = (0..16).map(|i| s[(i / 4 + 2) % 4 * 4 + (i % 4 + 2) % 4]).collect();
        let ((loss, _), (other, _)) = (pairs(2, &NT_XENT, &s), pairs(2, &NT_XENT, &turned));
        for i in 0..4 {
            assert!((loss[i] - other[(i + 2) % 4]).abs() < 1e-15);
        }
    }
}
