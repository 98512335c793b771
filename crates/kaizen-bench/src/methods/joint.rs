//! Multinomial logistic regression on everything labelled so far, solved to the end: an upper bound
//! for a linear head trained by gradients, and no continual method (it keeps all features).

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, get_global_parallelism};
use kaizen_edge::ClassId;
use kaizen_edge::Result;
use kaizen_edge::low_level::learn::closed_form::{argmax_rows, distinct};
use kaizen_edge::low_level::number::real;

use super::arena::{Arena, Clock, Outcome, Scaled};
use crate::metrics::AccuracyMatrix;

/// Weight of ½‖W‖² beside the mean cross-entropy, for features of mean square 1.
const DECAY: f64 = 0.01;
/// The most iterations of L-BFGS, and the steps that it remembers.
const ITERATIONS: usize = 60;
const MEMORY: usize = 10;
/// Share of the predicted decrease that a step must reach (Armijo), and the halvings that are
/// tried.
const SUFFICIENT: f64 = 1e-4;
const HALVINGS: usize = 20;
/// The solver ends when the gradient is this much smaller than the first one.
const CONVERGED: f64 = 1e-4;

/// Rows φ `[N, D]` with the column of each row's class.
struct Regression {
    rows: Vec<f32>,
    columns: Vec<usize>,
    width: usize,
    classes: usize,
}

impl Regression {
    /// Logits `[N, C]` of rows `[N, D]` by weights `[C, D]` then biases `[C]`.
    fn logits(&self, rows: &[f32], weights: &[f64]) -> Vec<f32> {
        let (matrix, bias) = weights.split_at(self.classes * self.width);
        let count = rows.len() / self.width;
        let (matrix, bias) = (narrow(matrix), narrow(bias));
        let mut logits = bias.repeat(count);
        matmul(
            MatMut::from_row_major_slice_mut(&mut logits, count, self.classes),
            Accum::Add,
            MatRef::from_row_major_slice(rows, count, self.width),
            MatRef::from_row_major_slice(&matrix, self.classes, self.width).transpose(),
            1.0,
            get_global_parallelism(),
        );
        logits
    }

    /// The loss and its gradient.
    fn gradient(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let mut values = self.logits(&self.rows, weights);
        let count = self.columns.len();
        let scale = 1.0 / real(count.max(1));
        let (mut loss, mut bias) = (0.0, vec![0.0; self.classes]);
        for (row, &column) in values.chunks_exact_mut(self.classes).zip(&self.columns) {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = row.iter().map(|&v| f64::from(v - top).exp()).sum();
            loss -= f64::from(row[column] - top) - total.ln();
            for (at, value) in row.iter_mut().enumerate() {
                let share = f64::from(*value - top).exp() / total - f64::from(u8::from(at == column));
                bias[at] += scale * share;
                *value = single(share);
            }
        }
        let mut product = vec![0.0_f32; self.classes * self.width];
        matmul(
            MatMut::from_row_major_slice_mut(&mut product, self.classes, self.width),
            Accum::Replace,
            MatRef::from_row_major_slice(&values, count, self.classes).transpose(),
            MatRef::from_row_major_slice(&self.rows, count, self.width),
            single(scale),
            get_global_parallelism(),
        );
        let matrix = &weights[..product.len()];
        let mut gradient: Vec<f64> =
            product.iter().zip(matrix).map(|(&g, w)| f64::from(g) + DECAY * w).collect();
        gradient.extend(bias);
        (scale * loss + DECAY / 2.0 * dot(matrix, matrix), gradient)
    }

    /// L-BFGS (Liu and Nocedal, 1989) from zero.
    fn solve(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.classes * (self.width + 1)];
        let (mut loss, mut gradient) = self.gradient(&weights);
        let first = dot(&gradient, &gradient).sqrt();
        let mut pairs: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        for _ in 0..ITERATIONS {
            let direction = direction(&pairs, &gradient);
            let slope = dot(&direction, &gradient);
            let mut length = if pairs.is_empty() { 1.0 / first.max(1.0) } else { 1.0 };
            let accepted = (0..HALVINGS).find_map(|_| {
                let next: Vec<f64> = weights.iter().zip(&direction).map(|(w, d)| w + length * d).collect();
                let (value, new) = self.gradient(&next);
                if value <= loss + SUFFICIENT * length * slope {
                    return Some((next, value, new));
                }
                length /= 2.0;
                None
            });
            let Some((next, value, new)) = accepted else { break };
            let step: Vec<f64> = next.iter().zip(&weights).map(|(a, b)| a - b).collect();
            let change: Vec<f64> = new.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            (weights, loss, gradient) = (next, value, new);
            if dot(&step, &change) > 0.0 {
                pairs.push((step, change));
            }
            if pairs.len() > MEMORY {
                pairs.remove(0);
            }
            if dot(&gradient, &gradient).sqrt() < CONVERGED * first {
                break;
            }
        }
        weights
    }
}

/// Minus the inverse Hessian times the gradient, by the pairs of steps and gradient changes.
fn direction(pairs: &[(Vec<f64>, Vec<f64>)], gradient: &[f64]) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut shares = Vec::with_capacity(pairs.len());
    for (step, change) in pairs.iter().rev() {
        let share = dot(step, &q) / dot(step, change);
        add(&mut q, change, -share);
        shares.push(share);
    }
    if let Some((step, change)) = pairs.last() {
        let scale = dot(step, change) / dot(change, change);
        q.iter_mut().for_each(|value| *value *= scale);
    }
    for ((step, change), share) in pairs.iter().zip(shares.iter().rev()) {
        let back = dot(change, &q) / dot(step, change);
        add(&mut q, step, share - back);
    }
    q.iter_mut().for_each(|value| *value = -*value);
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], values: &[f64], factor: f64) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += factor * value);
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| single(value)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "products run in f32")]
fn single(value: f64) -> f32 {
    value as f32
}

pub(super) fn run(arena: &Arena<'_>, progress: &mut dyn FnMut(f64)) -> Result<Outcome> {
    let width = arena.features.width;
    let scaled = Scaled::new(arena)?;
    let mut clock = Clock::default();
    let mut matrix = AccuracyMatrix::new(arena.tasks().len());
    let (mut rows, mut ids) = (Vec::new(), Vec::<ClassId>::new());
    for (number, task) in arena.tasks().iter().enumerate() {
        let (regression, classes, weights) = clock.time(|| {
            rows.extend(scaled.apply(&arena.plain(&task.labelled))?);
            ids.extend(arena.ids(&task.labelled));
            let classes = distinct(&ids);
            let columns = ids.iter().filter_map(|id| classes.binary_search(id).ok()).collect();
            let regression = Regression { rows: rows.clone(), columns, width, classes: classes.len() };
            let weights = regression.solve();
            Ok((regression, classes, weights))
        })?;
        arena.judge(&mut matrix, number, &mut |h| {
            let logits = regression.logits(&scaled.apply(h)?, &weights);
            Ok(argmax_rows(&logits, classes.len()).into_iter().map(|column| classes[column]).collect())
        })?;
        progress(real(number + 1) / real(arena.tasks().len()));
    }
    let memory_bytes = ids.len() * arena.sample_bytes() + 4 * arena.classes() * (width + 1);
    Ok(Outcome { matrix, learning: clock.total(), memory_bytes, unknowns: None })
}
