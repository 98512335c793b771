//! Sums over columns, rows and whole tensors.

use super::real::{Real, count};

/// Partial sums of [`sum_by`] and [`sum_pairs_by`]: enough to fill the vector units of today's
/// cores.
const LANES: usize = 8;

/// `Σ_i term(a_i)` in eight interleaved partial sums, so that the loop vectorises with a fixed
/// order.
#[inline]
pub(crate) fn sum_by<T: Real>(a: &[T], term: impl Fn(T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let mut blocks = a.chunks_exact(LANES);
    for block in &mut blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane += term(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane += term(value);
    }
    lanes.into_iter().sum()
}

/// `Σ_i term(a_i, b_i)`, summed as [`sum_by`] does.
#[inline]
pub(crate) fn sum_pairs_by<T: Real>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (left, right) in (&mut left).zip(&mut right) {
        for ((lane, &l), &r) in lanes.iter_mut().zip(left).zip(right) {
            *lane += term(l, r);
        }
    }
    for ((lane, &l), &r) in lanes.iter_mut().zip(left.remainder()).zip(right.remainder()) {
        *lane += term(l, r);
    }
    lanes.into_iter().sum()
}

/// `out[j] = Σ_i g[i, j]` for g `[M, F]`, `F = columns`: the gradient of a bias.
pub(crate) fn column_sum<T: Real>(columns: usize, g: &[T], out: &mut [T]) {
    out.fill(T::zero());
    for row in g.chunks_exact(columns.max(1)) {
        for (sum, &value) in out.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// `scale * Σ_i rows[i]`: one term of the loss from its values per row.
#[must_use]
pub(crate) fn term_sum<T: Real>(scale: f64, rows: &[T]) -> T {
    T::of(scale) * sum_by(rows, |value| value)
}

/// Population standard deviation of each column of z `[M, F]` into `deviation` `[F]`; `mean` `[F]`
/// is scratch and holds the means afterwards. 0 for no rows. Its mean over the columns of unit rows
/// falls to 0 when a projection collapses.
pub(crate) fn column_deviation<T: Real>(z: &[T], mean: &mut [T], deviation: &mut [T]) {
    let columns = deviation.len().max(1);
    let inverse = T::one() / count::<T>((z.len() / columns).max(1));
    column_sum(columns, z, mean);
    mean.iter_mut().for_each(|m| *m = *m * inverse);
    deviation.fill(T::zero());
    for row in z.chunks_exact(columns) {
        for ((sum, &m), &value) in deviation.iter_mut().zip(&*mean).zip(row) {
            *sum += (value - m) * (value - m);
        }
    }
    deviation.iter_mut().for_each(|v| *v = (*v * inverse).sqrt());
}

/// `Σ_i x[i]²`: the squared norm of a tensor.
#[must_use]
pub(crate) fn square_sum<T: Real>(x: &[T]) -> T {
    sum_by(x, |value| value * value)
}

/// `Σ_i x[i]`: what is left of [`square_sum`] when its partial sums are there.
#[must_use]
pub(crate) fn total<T: Real>(x: &[T]) -> T {
    sum_by(x, |value| value)
}

/// Number of elements that are infinite or not a number.
#[must_use]
pub(crate) fn nonfinite<T: Real>(x: &[T]) -> usize {
    x.iter().filter(|value| !value.is_finite()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::values;

    #[test]
    fn sums_take_every_element_once_at_any_length() {
        for len in [0, 1, 7, 8, 9, 16, 31] {
            let x: Vec<f64> = (0..len).map(|i| (i + 1) as f64).collect();
            let n = len as f64;
            assert_eq!(total(&x), n * (n + 1.0) / 2.0);
            assert_eq!(square_sum(&x), n * (n + 1.0) * (2.0 * n + 1.0) / 6.0);
            assert_eq!(sum_pairs_by(&x, &x, |a, b| a * b), square_sum(&x));
            assert_eq!(term_sum(0.5, &x), total(&x) / 2.0);
        }
    }

    #[test]
    fn column_sum_overwrites() {
        let mut out = [7.0, f64::NAN, 9.0];
        column_sum(3, &[1.0, 2.0, 3.0, 40.0, 50.0, 60.0], &mut out);
        assert_eq!(out, [41.0, 52.0, 63.0]);
        column_sum(3, &[], &mut out);
        assert_eq!(out, [0.0; 3]);
    }

    #[test]
    fn deviation_is_that_of_the_population_and_free_of_the_mean() {
        let (mut mean, mut deviation) = ([0.0; 2], [0.0; 2]);
        column_deviation(&[1.0, 5.0, 3.0, 5.0], &mut mean, &mut deviation);
        assert_eq!((mean, deviation), ([2.0, 5.0], [1.0, 0.0]));
        let z = values(1, 12);
        let shifted: Vec<f64> = z.iter().map(|v| v + 4.0).collect();
        let mut other = [0.0; 2];
        column_deviation(&z, &mut mean, &mut deviation);
        column_deviation(&shifted, &mut mean, &mut other);
        assert!(deviation.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-12));
        column_deviation(&[], &mut mean, &mut deviation);
        assert_eq!(deviation, [0.0; 2]);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_stays_visible_in_sums() {
        let x = [0.0, f64::NAN, 1e-310, f64::INFINITY, -80.0, f64::NEG_INFINITY, -0.0];
        assert_eq!(nonfinite(&x), 3);
        assert_eq!(nonfinite(&[f32::MAX, f32::MIN_POSITIVE / 2.0]), 0);
        assert!(!square_sum(&x).is_finite() && !term_sum(1.0, &x).is_finite());
        let (mut mean, mut deviation) = ([0.0], [0.0]);
        for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            column_deviation(&[1.0, poison], &mut mean, &mut deviation);
            assert!(!deviation[0].is_finite());
        }
    }
}
