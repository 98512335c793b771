//! Definitions of the `classify` family: cross-entropy with hard labels, and with soft targets of a
//! weight a row.

use super::real::Real;
use super::reduce::sum_by;

/// The largest value, -inf of none. NaN is passed over here and comes back through the sum of
/// exponentials.
pub(super) fn largest<T: Real>(values: &[T]) -> T {
    let mut lanes = [T::neg_infinity(); 16];
    let blocks = values.chunks_exact(16);
    let rest = blocks.remainder();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let mut largest = T::neg_infinity();
    for &value in lanes.iter().chain(rest) {
        if value > largest {
            largest = value;
        }
    }
    largest
}

/// `sum_j exp(values[j] - shift)`.
pub(super) fn exponentials<T: Real>(values: &[T], shift: T) -> T {
    sum_by(values, |value| (value - shift).exponential())
}

/// What `table` has of the rows that the index of a step names, of all views and of every part of
/// the batch.
pub(crate) fn of_index<'a, T: Copy>(index: &'a [u32], table: &'a [T]) -> impl Iterator<Item = T> + 'a {
    index.iter().filter_map(|&row| table.get(row as usize).copied())
}

/// `views` / labelled rows of a whole step, 0 if there are none: the sum over the views of their
/// means is the term. A label counts if it names one of the `classes`.
#[allow(clippy::cast_precision_loss, reason = "views and rows are few")]
pub(crate) fn inverse_labelled(views: usize, classes: usize, labels: impl Iterator<Item = i32>) -> f64 {
    let is_class = |label: i32| usize::try_from(label).is_ok_and(|label| label < classes);
    match labels.filter(|&label| is_class(label)).count() {
        0 => 0.0,
        labelled => views as f64 / labelled as f64,
    }
}

/// Cross-entropy of logits `[rows, classes]` with `labels[rows]`, and its gradient:
/// `loss[i] = s (lse(logits[i]) - logits[i, label])`, `d_logits[i] = weight s (softmax - onehot)`
/// with `s = inverse_labelled`. Rows whose label is negative or not below `classes` get 0 in both.
/// Both are overwritten.
pub(crate) fn cross_entropy<T: Real>(
    [rows, classes]: [usize; 2],
    [weight, inverse_labelled]: [f64; 2],
    logits: &[T],
    labels: &[i32],
    loss: &mut [T],
    d_logits: &mut [T],
) {
    let inverse_labelled = T::of(inverse_labelled);
    let scale = T::of(weight) * inverse_labelled;
    for i in 0..rows {
        let row = &logits[i * classes..(i + 1) * classes];
        let d_row = &mut d_logits[i * classes..(i + 1) * classes];
        let Some(label) = usize::try_from(labels[i]).ok().filter(|label| *label < classes) else {
            d_row.fill(T::zero());
            loss[i] = T::zero();
            continue;
        };
        let shift = largest(row);
        let mut sum = T::zero();
        for (d, &value) in d_row.iter_mut().zip(row) {
            *d = (value - shift).exp();
            sum += *d;
        }
        for d in d_row.iter_mut() {
            *d = scale * (*d / sum);
        }
        d_row[label] = scale * ((row[label] - shift).exp() / sum - T::one());
        loss[i] = inverse_labelled * (sum.ln() + (shift - row[label]));
    }
}

/// `views` / sum of the weights of a whole step's rows, 0 if they are all 0.
#[allow(clippy::cast_precision_loss, reason = "views are few")]
pub(crate) fn inverse_weight(views: usize, weights: impl Iterator<Item = f32>) -> f64 {
    let total: f64 = weights.map(f64::from).sum();
    if total > 0.0 { views as f64 / total } else { 0.0 }
}

/// Cross-entropy of logits `[rows, classes]` with soft `targets` `[rows, classes]`, each row with a
/// weight of its own, and its gradient: `loss[i] = -s v_i Σ_c t_ic log softmax(logits[i])_c`,
/// `d_logits[i, c] = weight s v_i (softmax(logits[i])_c Σ_j t_ij - t_ic)` with
/// `s = inverse_weight`, `v = weights`. A hard label is a one-hot row of weight 1; a row of weight
/// 0 gives 0 to both. Both are overwritten.
pub(crate) fn target_cross_entropy<T: Real>(
    [rows, classes]: [usize; 2],
    [weight, inverse_weight]: [f64; 2],
    logits: &[T],
    [targets, weights]: [&[T]; 2],
    loss: &mut [T],
    d_logits: &mut [T],
) {
    for i in 0..rows {
        let (row, target) = (&logits[i * classes..][..classes], &targets[i * classes..][..classes]);
        let d_row = &mut d_logits[i * classes..(i + 1) * classes];
        if weights[i] == T::zero() {
            d_row.fill(T::zero());
            loss[i] = T::zero();
            continue;
        }
        let share = T::of(inverse_weight) * weights[i];
        let scale = T::of(weight) * share;
        let shift = largest(row);
        let sum = exponentials(row, shift);
        let log_sum = sum.ln();
        let mass = sum_by(target, |t| t);
        let mut total = T::zero();
        for ((d, &value), &t) in d_row.iter_mut().zip(row).zip(target) {
            total += t * (log_sum - (value - shift));
            *d = scale * (mass * ((value - shift).exponential() / sum) - t);
        }
        loss[i] = share * total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::{check, disagreement, values};

    const WEIGHT: f64 = 1.5;
    const INVERSE_LABELLED: f64 = 0.25;

    fn run(shape: [usize; 2], logits: &[f64], labels: &[i32]) -> (Vec<f64>, Vec<f64>) {
        let (mut loss, mut d_logits) = (vec![9.0; shape[0]], vec![9.0; shape[0] * shape[1]]);
        let factors = [WEIGHT, INVERSE_LABELLED];
        cross_entropy(shape, factors, logits, labels, &mut loss, &mut d_logits);
        (loss, d_logits)
    }

    #[test]
    fn cross_entropy_gradient_agrees_with_differences() {
        let logits = values(1, 20);
        let labels = [0, 4, -1, 7];
        let objective = |x: &[f64]| 1.5 * run([4, 5], x, &labels).0.iter().sum::<f64>();
        let (loss, d_logits) = run([4, 5], &logits, &labels);
        check("d_logits", &logits, &d_logits, objective);
        let flipped: Vec<_> = d_logits.iter().map(|d| -d).collect();
        assert!(disagreement(&logits, &flipped, objective).is_some());
        assert!(loss[..2].iter().all(|l| *l > 0.0) && loss[2..] == [0.0, 0.0]);
        assert!(d_logits[10..].iter().all(|d| *d == 0.0));
        for row in d_logits.chunks(5) {
            assert!(row.iter().sum::<f64>().abs() < 1e-15);
        }
    }

    #[test]
    fn equal_logits_give_the_logarithm_of_the_class_count() {
        let (loss, d_logits) = run([1, 4], &[80.0; 4], &[2]);
        assert!((loss[0] - 0.25 * 4.0_f64.ln()).abs() < 1e-15);
        assert!((d_logits[2] + 1.5 * 0.25 * 0.75).abs() < 1e-15);
        let (loss, d_logits) = run([1, 1], &[-3.0], &[0]);
        assert_eq!((loss[0], d_logits[0]), (0.0, 0.0));
    }

    #[test]
    fn permuted_rows_give_permuted_results() {
        let logits = values(2, 12);
        let (loss, d_logits) = run([3, 4], &logits, &[0, 1, 2]);
        let turned: Vec<_> = logits[4..].iter().chain(&logits[..4]).copied().collect();
        let (turned_loss, turned_d) = run([3, 4], &turned, &[1, 2, 0]);
        assert_eq!(turned_loss, [loss[1], loss[2], loss[0]]);
        assert_eq!(turned_d[..8], d_logits[4..]);
    }

    #[test]
    fn extreme_logits_are_exact_and_poison_is_never_quiet() {
        let (loss, d_logits) = run([1, 3], &[80.0, -80.0, 80.0], &[1]);
        assert!((loss[0] - 0.25 * (160.0 + 2.0_f64.ln())).abs() < 1e-12);
        assert!(d_logits.iter().all(|d| d.is_finite()));
        for bad in [f64::NAN, f64::INFINITY] {
            let (loss, d_logits) = run([1, 3], &[0.0, bad, 1.0], &[0]);
            assert!(!loss[0].is_finite() && d_logits.iter().any(|d| !d.is_finite()));
        }
        let (loss, _) = run([1, 3], &[f64::NEG_INFINITY; 3], &[0]);
        assert!(!loss[0].is_finite());
        let (loss, d_logits) = run([1, 3], &[f64::NEG_INFINITY, 0.0, 0.0], &[1]);
        assert!((loss[0] - 0.25 * 2.0_f64.ln()).abs() < 1e-15 && d_logits[0] == 0.0);
        let denormal = f64::MIN_POSITIVE / 4.0;
        assert!((run([1, 2], &[denormal, 0.0], &[0]).0[0] - 0.25 * 2.0_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn only_labels_of_known_classes_count() {
        assert!((inverse_labelled(1, 3, [0, -1, 2, 3, i32::MAX, 1].into_iter()) - 1.0 / 3.0).abs() < 1e-16);
        assert!((inverse_labelled(2, 3, [0, 1, 0, 1].into_iter()) - 1.0 / 2.0).abs() < 1e-16);
        assert_eq!(inverse_labelled(1, 3, [-1, 3].into_iter()), 0.0);
    }

    fn soft(shape: [usize; 2], logits: &[f64], targets: &[f64], weights: &[f64]) -> [Vec<f64>; 2] {
        let (mut loss, mut d_logits) = (vec![9.0; shape[0]], vec![9.0; shape[0] * shape[1]]);
        let factors = [WEIGHT, INVERSE_LABELLED];
        target_cross_entropy(shape, factors, logits, [targets, weights], &mut loss, &mut d_logits);
        [loss, d_logits]
    }

    #[test]
    fn target_cross_entropy_gradient_agrees_with_differences() {
        let logits = values(1, 15);
        let targets: Vec<f64> = values(2, 15).iter().map(|v| v.abs()).collect();
        let weights = [1.0, 0.0, 0.25];
        let objective = |x: &[f64]| WEIGHT * soft([3, 5], x, &targets, &weights)[0].iter().sum::<f64>();
        let [loss, d_logits] = soft([3, 5], &logits, &targets, &weights);
        check("d_logits", &logits, &d_logits, objective);
        let flipped: Vec<_> = d_logits.iter().map(|d| -d).collect();
        assert!(disagreement(&logits, &flipped, objective).is_some());
        assert!(loss[1] == 0.0 && d_logits[5..10].iter().all(|d| *d == 0.0));
    }

    #[test]
    fn hard_labels_as_targets_give_what_labels_give() {
        let logits = values(3, 20);
        let mut targets = [0.0; 20];
        (targets[0], targets[9], targets[17]) = (1.0, 1.0, 1.0);
        let [loss, d_logits] = soft([4, 5], &logits, &targets, &[1.0, 1.0, 0.0, 1.0]);
        let want = run([4, 5], &logits, &[0, 4, -1, 2]);
        for (got, want) in loss.iter().chain(&d_logits).zip(want.0.iter().chain(&want.1)) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
        assert!((inverse_weight(1, [1.0, 0.0, 0.25].into_iter()) - 0.8).abs() < 1e-15);
        assert_eq!(inverse_weight(2, [0.0; 3].into_iter()), 0.0);
    }

    #[test]
    fn poison_under_a_target_is_never_quiet() {
        for bad in [f64::NAN, f64::INFINITY] {
            let [loss, d_logits] = soft([1, 3], &[0.0, bad, 1.0], &[0.5, 0.5, 0.0], &[1.0]);
            assert!(!loss[0].is_finite() && d_logits.iter().any(|d| !d.is_finite()));
        }
        let [loss, d_logits] = soft([1, 2], &[80.0, -80.0], &[0.5, 0.5], &[1.0]);
        assert!((loss[0] - 0.25 * 80.0).abs() < 1e-12 && d_logits.iter().all(|d| d.is_finite()));
    }
}
