//! Batch, layer and L2 normalisation of x `[M, F]`, M rows and F columns, with an optional ReLU
//! fused behind.
//!
//! Batch and layer norm share one backward equation. With `x̂ = (x - mean) / √(var + ε)`,
//! `y = weight x̂ + bias` and `g` the gradient of y (0 where the ReLU's output is not positive),
//! over the n values that share a mean: `d_x̂ = weight g`,
//! `d_x = inv_std (d_x̂ - mean(d_x̂) - x̂ mean(d_x̂ x̂))`, `d_weight = Σ g x̂`, `d_bias = Σ g`.

use super::real::{Real, count};
use super::reduce::{column_sum, square_sum, sum_by, sum_pairs_by, total};
use crate::{Error, Result};

/// Batch norm: added to the variance, as PyTorch has it.
pub(crate) const BATCH_NORM_EPS: f64 = 1e-5;
/// Layer norm: added to the variance, as PyTorch has it.
pub(crate) const LAYER_NORM_EPS: f64 = 1e-5;
/// L2: the least norm that a row is divided by, as PyTorch has it.
pub const L2_EPS: f64 = 1e-12;

/// Rows in equal blocks with statistics of their own (the two views of a batch, say).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    rows: usize,
    columns: usize,
    groups: usize,
}

impl BatchShape {
    /// `rows` by `columns` values in `groups` blocks of equally many rows.
    ///
    /// # Errors
    /// [`Error::Shape`] if the groups are not equal, or smaller than the two rows that a variance
    /// needs.
    pub fn new(rows: usize, columns: usize, groups: usize) -> Result<Self> {
        if groups == 0 || !rows.is_multiple_of(groups) || rows / groups < 2 || columns == 0 {
            return Err(Error::shape(
                "batch norm",
                "equal groups of at least 2 rows and at least 1 column",
                format_args!("{rows} rows, {columns} columns, {groups} groups"),
            ));
        }
        Ok(Self { rows, columns, groups })
    }

    /// `[rows, columns, groups]`.
    #[must_use]
    pub fn sizes(self) -> [usize; 3] {
        [self.rows, self.columns, self.groups]
    }
}

/// Settings of batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Share of the batch in the running statistics.
    pub momentum: f64,
    /// Whether negative results become 0.
    pub relu: bool,
}

impl BatchNorm {
    /// PyTorch's settings, with a ReLU behind or without.
    #[must_use]
    pub fn new(relu: bool) -> Self {
        Self { eps: BATCH_NORM_EPS, momentum: 0.1, relu }
    }
}

/// Settings of layer norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Whether negative results become 0.
    pub relu: bool,
}

impl LayerNorm {
    /// PyTorch's settings, with a ReLU behind or without.
    #[must_use]
    pub fn new(relu: bool) -> Self {
        Self { eps: LAYER_NORM_EPS, relu }
    }
}

#[inline]
fn rectified<T: Real>(relu: bool, value: T) -> T {
    if relu && value < T::zero() { T::zero() } else { value }
}

/// The gradient behind the ReLU: 0 where its output in `mask` is not positive.
#[inline]
fn masked<T: Real>(gradient: T, output: T) -> T {
    if output <= T::zero() { T::zero() } else { gradient }
}

/// Batch norm in training (Ioffe and Szegedy 2015): `y = weight (x - mean) inv_std + bias` with the
/// mean and the biased variance of each column in each group. `stats` `[groups, 2, F]` become mean
/// and `inv_std = 1 / √(var + eps)`; `running` `[mean, var]`, `[F]` each, move towards mean and
/// unbiased variance once a group, in order.
pub(crate) fn batch_norm_forward<T: Real>(
    shape: BatchShape,
    settings: &BatchNorm,
    x: &[T],
    [weight, bias]: [&[T]; 2],
    y: &mut [T],
    stats: &mut [T],
    [running_mean, running_var]: [&mut [T]; 2],
) {
    let [rows, columns, groups] = shape.sizes();
    let rows = rows / groups;
    let (n, unbiased) = (count::<T>(rows), count::<T>(rows - 1));
    let [eps, momentum] = [settings.eps, settings.momentum].map(T::of);
    let blocks = x.chunks_exact(rows * columns);
    let outputs = y.chunks_exact_mut(rows * columns);
    for ((x, y), stats) in blocks.zip(outputs).zip(stats.chunks_exact_mut(2 * columns)) {
        let (mean, inv_std) = stats.split_at_mut(columns);
        column_sum(columns, x, mean);
        mean.iter_mut().for_each(|mean| *mean = *mean / n);
        // The rest that rounding left: a mean that is off shows in every gradient.
        inv_std.fill(T::zero());
        for row in x.chunks_exact(columns) {
            for ((rest, &mean), &value) in inv_std.iter_mut().zip(&*mean).zip(row) {
                *rest += value - mean;
            }
        }
        for ((running, mean), &rest) in running_mean.iter_mut().zip(&mut *mean).zip(&*inv_std) {
            *mean += rest / n;
            *running = *running + momentum * (*mean - *running);
        }
        inv_std.fill(T::zero());
        for row in x.chunks_exact(columns) {
            for ((square, &mean), &value) in inv_std.iter_mut().zip(&*mean).zip(row) {
                *square += (value - mean) * (value - mean);
            }
        }
        for (running, square) in running_var.iter_mut().zip(&mut *inv_std) {
            *running = *running + momentum * (*square / unbiased - *running);
            *square = T::one() / (*square / n + eps).sqrt();
        }
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            let affine = weight.iter().zip(bias);
            for ((y, &x), ((&mean, &inv_std), (&w, &b))) in
                y.iter_mut().zip(x).zip(mean.iter().zip(&*inv_std).zip(affine))
            {
                *y = rectified(settings.relu, (x - mean) * inv_std * w + b);
            }
        }
    }
}

/// Batch norm in use: `y = weight (x - mean) / √(var + eps) + bias` with the running statistics
/// mean and var.
pub(crate) fn batch_norm_inference<T: Real>(
    columns: usize,
    settings: &BatchNorm,
    x: &[T],
    [weight, bias, mean, var]: [&[T]; 4],
    y: &mut [T],
) {
    let (columns, eps) = (columns.max(1), T::of(settings.eps));
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let affine = weight.iter().zip(bias);
        for ((y, &x), ((&mean, &var), (&w, &b))) in y.iter_mut().zip(x).zip(mean.iter().zip(var).zip(affine))
        {
            let inv_std = T::one() / (var + eps).sqrt();
            *y = rectified(settings.relu, (x - mean) * inv_std * w + b);
        }
    }
}

/// Backward of [`batch_norm_forward`]; `mask` is its output y where it had a ReLU. `d_x` `[M, F]`
/// and `d_affine`, the gradients of weight and bias over all groups, are overwritten. `scratch`
/// `[2, F]` holds the sums of one group.
pub(crate) fn batch_norm_backward<T: Real>(
    shape: BatchShape,
    d_y: &[T],
    x: &[T],
    mask: Option<&[T]>,
    weight: &[T],
    stats: &[T],
    d_x: &mut [T],
    [d_weight, d_bias]: [&mut [T]; 2],
    scratch: &mut [T],
) {
    let [rows, columns, groups] = shape.sizes();
    let rows = rows / groups;
    let inverse = T::one() / count::<T>(rows);
    d_weight.fill(T::zero());
    d_bias.fill(T::zero());
    let (sum_gx, sum_g) = scratch.split_at_mut(columns);
    let sum_g = &mut sum_g[..columns];
    behind_relu(d_y, mask, d_x);
    let blocks = x.chunks_exact(rows * columns);
    let gradients = d_x.chunks_exact_mut(rows * columns);
    for ((x, d_x), stats) in blocks.zip(gradients).zip(stats.chunks_exact(2 * columns)) {
        let (mean, inv_std) = stats.split_at(columns);
        sum_gx.fill(T::zero());
        sum_g.fill(T::zero());
        for (x, g) in x.chunks_exact(columns).zip(d_x.chunks_exact(columns)) {
            let sums = sum_gx.iter_mut().zip(&mut *sum_g);
            for (((sum_gx, sum_g), (&mean, &inv_std)), (&x, &g)) in
                sums.zip(mean.iter().zip(inv_std)).zip(x.iter().zip(g))
            {
                *sum_gx += g * ((x - mean) * inv_std);
                *sum_g += g;
            }
        }
        add(d_weight, sum_gx);
        add(d_bias, sum_g);
        for (x, d_x) in x.chunks_exact(columns).zip(d_x.chunks_exact_mut(columns)) {
            let sums = sum_gx.iter().zip(&*sum_g).zip(weight);
            for (((d_x, &x), (&mean, &inv_std)), ((&sum_gx, &sum_g), &w)) in
                d_x.iter_mut().zip(x).zip(mean.iter().zip(inv_std)).zip(sums)
            {
                let normal = (x - mean) * inv_std;
                *d_x = w * inv_std * (*d_x - sum_g * inverse - normal * (sum_gx * inverse));
            }
        }
    }
}

fn add<T: Real>(total: &mut [T], part: &[T]) {
    for (total, &part) in total.iter_mut().zip(part) {
        *total += part;
    }
}

/// `d_x = d_y`, 0 where `mask` is not positive.
fn behind_relu<T: Real>(d_y: &[T], mask: Option<&[T]>, d_x: &mut [T]) {
    match mask {
        Some(mask) => {
            for ((d_x, &g), &output) in d_x.iter_mut().zip(d_y).zip(mask) {
                *d_x = masked(g, output);
            }
        }
        None => d_x.copy_from_slice(&d_y[..d_x.len()]),
    }
}

/// Layer norm (Ba et al. 2016): each row by its own mean and biased variance, then `weight` and
/// `bias` `[F]`. `stats` `[M, 2]` become mean and `1 / √(var + eps)` of the rows.
pub(crate) fn layer_norm_forward<T: Real>(
    columns: usize,
    settings: &LayerNorm,
    x: &[T],
    [weight, bias]: [&[T]; 2],
    y: &mut [T],
    stats: &mut [T],
) {
    let (columns, eps) = (columns.max(1), T::of(settings.eps));
    let n = count::<T>(columns);
    let outputs = y.chunks_exact_mut(columns).zip(stats.chunks_exact_mut(2));
    for (x, (y, stats)) in x.chunks_exact(columns).zip(outputs) {
        let mean = total(x) / n;
        let square = sum_by(x, |value| (value - mean) * (value - mean));
        let inv_std = T::one() / (square / n + eps).sqrt();
        stats.copy_from_slice(&[mean, inv_std]);
        for ((y, &x), (&w, &b)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
            *y = rectified(settings.relu, (x - mean) * inv_std * w + b);
        }
    }
}

/// Gradient of x under [`layer_norm_forward`]; `mask` is its output where it had a ReLU. `d_x` is
/// overwritten.
pub(crate) fn layer_norm_backward<T: Real>(
    columns: usize,
    d_y: &[T],
    x: &[T],
    mask: Option<&[T]>,
    weight: &[T],
    stats: &[T],
    d_x: &mut [T],
) {
    let columns = columns.max(1);
    let inverse = T::one() / count::<T>(columns);
    behind_relu(d_y, mask, d_x);
    let rows = x.chunks_exact(columns).zip(stats.chunks_exact(2));
    for ((x, stats), d_x) in rows.zip(d_x.chunks_exact_mut(columns)) {
        let (mean, inv_std) = (stats[0], stats[1]);
        for (d_x, &w) in d_x.iter_mut().zip(weight) {
            *d_x = *d_x * w;
        }
        let mean_g = total(d_x) * inverse;
        let mean_gx = sum_pairs_by(d_x, x, |g, x| g * ((x - mean) * inv_std)) * inverse;
        for (d_x, &x) in d_x.iter_mut().zip(x) {
            *d_x = inv_std * (*d_x - mean_g - (x - mean) * inv_std * mean_gx);
        }
    }
}

/// Gradients of weight and bias under [`layer_norm_forward`]; both `[F]` and overwritten.
pub(crate) fn layer_norm_backward_affine<T: Real>(
    columns: usize,
    d_y: &[T],
    x: &[T],
    mask: Option<&[T]>,
    stats: &[T],
    [d_weight, d_bias]: [&mut [T]; 2],
) {
    let columns = columns.max(1);
    d_weight.fill(T::zero());
    d_bias.fill(T::zero());
    for (i, (stats, x)) in stats.chunks_exact(2).zip(x.chunks_exact(columns)).enumerate() {
        let (mean, inv_std) = (stats[0], stats[1]);
        let row = i * columns..(i + 1) * columns;
        let sums = d_weight.iter_mut().zip(&mut *d_bias);
        let outputs = mask.map(|mask| &mask[row.clone()]);
        for (j, ((d_weight, d_bias), (&g, &x))) in sums.zip(d_y[row].iter().zip(x)).enumerate() {
            let g = outputs.map_or(g, |outputs| masked(g, outputs[j]));
            *d_weight += g * ((x - mean) * inv_std);
            *d_bias += g;
        }
    }
}

/// Rows of unit length: `y = x / max(‖x‖, eps)`; `norm` `[M]` becomes `‖x‖`.
pub(crate) fn l2_forward<T: Real>(columns: usize, eps: f64, x: &[T], y: &mut [T], norm: &mut [T]) {
    let (columns, eps) = (columns.max(1), T::of(eps));
    let rows = x.chunks_exact(columns).zip(y.chunks_exact_mut(columns));
    for ((x, y), norm) in rows.zip(norm) {
        *norm = square_sum(x).sqrt();
        let divisor = if *norm < eps { eps } else { *norm };
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x / divisor;
        }
    }
}

/// Backward of [`l2_forward`]: `d_x = (d_y - (d_y · y) y) / ‖x‖`, and `d_y / eps` for rows shorter
/// than `eps`. `d_x` is overwritten.
pub(crate) fn l2_backward<T: Real>(columns: usize, eps: f64, d_y: &[T], y: &[T], norm: &[T], d_x: &mut [T]) {
    let (columns, eps) = (columns.max(1), T::of(eps));
    let rows = d_y.chunks_exact(columns).zip(y.chunks_exact(columns));
    for (((d_y, y), d_x), &norm) in rows.zip(d_x.chunks_exact_mut(columns)).zip(norm) {
        let (along, divisor) =
            if norm < eps { (T::zero(), eps) } else { (sum_pairs_by(d_y, y, |g, y| g * y), norm) };
        for ((d_x, &g), &y) in d_x.iter_mut().zip(d_y).zip(y) {
            *d_x = (g - along * y) / divisor;
        }
    }
}

#[cfg(test)]
mod tests;
