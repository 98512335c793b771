//! Definitions of the `distill` family: distances of the student's rows to rows that get no
//! gradient.

use super::classify::{exponentials, largest};
use super::real::Real;

/// Least norm in a cosine, as PyTorch has it.
pub const COSINE_EPS: f64 = 1e-8;

/// Sizes and settings of `soft_label`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftLabel {
    /// Rows.
    pub rows: usize,
    /// Columns of the student's logits.
    pub classes: usize,
    /// Columns of the teacher's logits.
    pub teacher_classes: usize,
    /// Leading columns that take part, at most the smaller of the two.
    pub known: usize,
    /// Factor of each row's loss.
    pub loss_scale: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
}

/// Cross-entropy against the teacher's distribution over its known classes, with no temperature
/// (Kaizen's classifier distillation): `t`, `p` softmaxes of the first `known` columns,
/// `loss[i] = -loss_scale sum_c t_c log p_c`, `d_logits[i, c] += weight loss_scale (p_c - t_c)`.
/// `logits`, `d_logits` `[rows, classes]`, `teacher_logits` `[rows, teacher_classes]`,
/// `loss` `[rows]`.
pub(crate) fn soft_label<T: Real>(
    settings: &SoftLabel,
    logits: &[T],
    teacher_logits: &[T],
    loss: &mut [T],
    d_logits: &mut [T],
) {
    let [loss_scale, weight] = [settings.loss_scale, settings.weight].map(T::of);
    let scale = weight * loss_scale;
    for i in 0..settings.rows {
        let row = &logits[i * settings.classes..][..settings.known];
        let teacher = &teacher_logits[i * settings.teacher_classes..][..settings.known];
        let d_row = &mut d_logits[i * settings.classes..(i + 1) * settings.classes];
        let (shift, teacher_shift) = (largest(row), largest(teacher));
        let (sum, teacher_sum) = (exponentials(row, shift), exponentials(teacher, teacher_shift));
        let log_sum = sum.ln();
        let mut total = T::zero();
        for ((d, &value), &teacher_value) in d_row.iter_mut().zip(row).zip(teacher) {
            let share = (teacher_value - teacher_shift).exp() / teacher_sum;
            total += share * (log_sum - (value - shift));
            *d += scale * ((value - shift).exp() / sum - share);
        }
        loss[i] = loss_scale * total;
    }
}

/// Settings of `cosine`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    /// Row `i` of p meets row `(i + row_shift) mod rows` of z.
    pub row_shift: usize,
    /// Factor of each row's loss.
    pub loss_scale: f64,
    /// Factor of the cosine: -2 for BYOL, -1 for SimSiam.
    pub slope: f64,
    /// Added to it: 2 for BYOL, 0 for SimSiam.
    pub offset: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
    /// Least norm in the denominator.
    pub eps: f64,
}

/// `loss[i] = loss_scale (offset + slope cos(p_i, z_k))` with `k = (i + row_shift) mod rows`, and
/// its gradient for p; z gets none. With `a = max(|p_i|, eps)`, `b = max(|z_k|, eps)`,
/// `cos = p_i . z_k / (a b)` the gradient is
/// `d_p[i] = weight loss_scale slope (z_k / b - [|p_i| > eps] cos p_i / a) / a` (overwritten).
/// p, z, `d_p` `[rows, columns]`.
pub(crate) fn cosine<T: Real>(
    [rows, columns]: [usize; 2],
    settings: &Cosine,
    p: &[T],
    z: &[T],
    loss: &mut [T],
    d_p: &mut [T],
) {
    let Cosine { loss_scale, slope, offset, weight, eps, .. } = *settings;
    let [loss_scale, slope, offset, weight, eps] = [loss_scale, slope, offset, weight, eps].map(T::of);
    let scale = weight * loss_scale * slope;
    for i in 0..rows {
        let k = (i + settings.row_shift) % rows;
        let left = &p[i * columns..(i + 1) * columns];
        let right = &z[k * columns..(k + 1) * columns];
        let (mut product, mut left_square, mut right_square) = (T::zero(), T::zero(), T::zero());
        for (&x, &y) in left.iter().zip(right) {
            product += x * y;
            left_square += x * x;
            right_square += y * y;
        }
        let norm = left_square.sqrt();
        let (a, b) = (norm.max(eps), right_square.sqrt().max(eps));
        let cosine = product / a / b;
        let radial = if norm > eps { cosine / a } else { T::zero() };
        let d_row = &mut d_p[i * columns..(i + 1) * columns];
        for ((d, &x), &y) in d_row.iter_mut().zip(left).zip(right) {
            *d = scale * (y / b - radial * x) / a;
        }
        loss[i] = loss_scale * (offset + slope * cosine);
    }
}

/// Settings of `mse`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mse {
    /// Row `i` of r meets row `(i + row_shift) mod rows` of o.
    pub row_shift: usize,
    /// Factor of each row's squared distance in the loss.
    pub loss_scale: f64,
    /// Factor of it in the gradient: twice `loss_scale` where r and o are one array, because each
    /// pair is then met twice.
    pub gradient_scale: f64,
    /// Weight of the term in the gradient only.
    pub weight: f64,
}

/// `loss[i] = loss_scale |r_i - o_k|^2` with `k = (i + row_shift) mod rows`, and
/// `d_r[i] = weight gradient_scale 2 (r_i - o_k)` (overwritten). r, o, `d_r` `[rows, columns]`,
/// `loss` `[rows]`.
pub(crate) fn mse<T: Real>(
    [rows, columns]: [usize; 2],
    settings: &Mse,
    r: &[T],
    o: &[T],
    loss: &mut [T],
    d_r: &mut [T],
) {
    let Mse { row_shift, loss_scale, gradient_scale, weight } = *settings;
    let scale = T::of(2.0) * T::of(weight) * T::of(gradient_scale);
    for i in 0..rows {
        let k = (i + row_shift) % rows;
        let left = &r[i * columns..(i + 1) * columns];
        let right = &o[k * columns..(k + 1) * columns];
        let d_row = &mut d_r[i * columns..(i + 1) * columns];
        let mut total = T::zero();
        for ((d, &x), &y) in d_row.iter_mut().zip(left).zip(right) {
            let difference = x - y;
            total += difference * difference;
            *d = scale * difference;
        }
        loss[i] = T::of(loss_scale) * total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::{check, disagreement, values};

    const SOFT: SoftLabel =
        SoftLabel { rows: 3, classes: 6, teacher_classes: 5, known: 4, loss_scale: 0.5, weight: 2.0 };
    const COSINE: Cosine =
        Cosine { row_shift: 2, loss_scale: 0.25, slope: -2.0, offset: 2.0, weight: 3.0, eps: 1e-8 };
    const MSE: Mse = Mse { row_shift: 1, loss_scale: 0.125, gradient_scale: 0.125, weight: 2.0 };

    fn soft(settings: &SoftLabel, logits: &[f64], teacher: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut loss, mut d) = (vec![9.0; settings.rows], vec![0.0; logits.len()]);
        soft_label(settings, logits, teacher, &mut loss, &mut d);
        (loss, d)
    }

    fn line(shape: [usize; 2], settings: &Cosine, p: &[f64], z: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut loss, mut d) = (vec![9.0; shape[0]], vec![7.0; p.len()]);
        cosine(shape, settings, p, z, &mut loss, &mut d);
        (loss, d)
    }

    #[test]
    fn soft_label_gradient_agrees_with_differences() {
        let (logits, teacher) = (values(1, 18), values(2, 15));
        let objective = |x: &[f64]| 2.0 * soft(&SOFT, x, &teacher).0.iter().sum::<f64>();
        let (_, d) = soft(&SOFT, &logits, &teacher);
        check("d_logits", &logits, &d, objective);
        let mut swapped = d.clone();
        swapped.swap(0, 1);
        assert!(disagreement(&logits, &swapped, objective).is_some());
        for row in d.chunks(6) {
            assert!(row.iter().sum::<f64>().abs() < 1e-15 && row[4..] == [0.0, 0.0]);
        }
        let (mut loss, mut added) = (vec![9.0; 3], vec![7.0; 18]);
        soft_label(&SOFT, &logits, &teacher, &mut loss, &mut added);
        assert!(added.iter().zip(&d).all(|(a, d)| (a - 7.0 - d).abs() < 1e-14));
    }

    #[test]
    fn a_student_equal_to_its_teacher_has_no_gradient_and_the_entropy_as_loss() {
        let one = SoftLabel { rows: 1, classes: 2, teacher_classes: 2, known: 2, ..SOFT };
        let (loss, d) = soft(&one, &[80.0, 80.0], &[-80.0, -80.0]);
        assert!((loss[0] - 0.5 * 2.0_f64.ln()).abs() < 1e-15 && d == [0.0, 0.0]);
        let (loss, d) = soft(&one, &[80.0, -80.0], &[-80.0, 80.0]);
        assert!((loss[0] - 80.0).abs() < 1e-12 && d.iter().all(|d| d.is_finite()));
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(!soft(&one, &[0.0, bad], &[0.0, 0.0]).0[0].is_finite());
            let (loss, d) = soft(&one, &[0.0, 0.0], &[0.0, bad]);
            assert!(!loss[0].is_finite() && d.iter().any(|d| !d.is_finite()));
        }
    }

    #[test]
    fn cosine_gradient_agrees_with_differences_and_is_orthogonal_to_p() {
        let (p, z) = (values(3, 20), values(4, 20));
        let objective = |x: &[f64]| 3.0 * line([4, 5], &COSINE, x, &z).0.iter().sum::<f64>();
        let (_, d) = line([4, 5], &COSINE, &p, &z);
        check("d_p", &p, &d, objective);
        let unshifted = Cosine { row_shift: 0, ..COSINE };
        assert!(disagreement(&p, &line([4, 5], &unshifted, &p, &z).1, objective).is_some());
        for (row, d_row) in p.chunks(5).zip(d.chunks(5)) {
            assert!(row.iter().zip(d_row).map(|(a, b)| a * b).sum::<f64>().abs() < 1e-14);
        }
    }

    #[test]
    fn cosine_of_zero_vectors_is_zero_and_finite() {
        let still = Cosine { row_shift: 0, ..COSINE };
        let (loss, d) = line([2, 2], &still, &[0.0, 0.0, 1.0, 2.0], &[3.0, 4.0, 0.0, 0.0]);
        assert_eq!(loss, [0.5, 0.5]);
        assert!(d.iter().all(|d| d.is_finite()));
        // Below eps the norm counts as the constant eps: the gradient is that of a linear function.
        let objective = |x: &[f64]| 3.0 * line([1, 2], &still, x, &[3.0, 4.0]).0[0];
        let d = line([1, 2], &still, &[0.0, 0.0], &[3.0, 4.0]).1;
        let step = 1e-10;
        let numeric = (objective(&[step, 0.0]) - objective(&[-step, 0.0])) / (2.0 * step);
        assert!((numeric / d[0] - 1.0).abs() < 1e-6);
        for bad in [f64::NAN, f64::INFINITY] {
            let (loss, d) = line([1, 2], &still, &[bad, 0.0], &[3.0, 4.0]);
            assert!(!loss[0].is_finite() && d.iter().any(|d| !d.is_finite()));
        }
    }

    #[test]
    fn mse_gradient_agrees_with_differences() {
        let (r, o) = (values(5, 12), values(6, 12));
        let run = |r: &[f64], settings: &Mse| {
            let (mut loss, mut d) = (vec![9.0; 3], vec![7.0; 12]);
            mse([3, 4], settings, r, &o, &mut loss, &mut d);
            (loss, d)
        };
        let objective = |x: &[f64]| 2.0 * run(x, &MSE).0.iter().sum::<f64>();
        let (_, d) = run(&r, &MSE);
        check("d_r", &r, &d, objective);
        let halved: Vec<_> = d.iter().map(|d| d / 2.0).collect();
        assert!(disagreement(&r, &halved, objective).is_some());
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut r = r.clone();
            r[0] = bad;
            let (loss, d) = run(&r, &MSE);
            assert!(!loss[0].is_finite() && !d[0].is_finite() && loss[1].is_finite());
        }
    }
}
