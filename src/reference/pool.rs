//! Definitions of the `pool` family: the mean of a map over its positions.

use super::activation::Activation;
use super::real::{Real, count};

/// `y[n, c] = (1 / positions) Σ_p x[n, p, c]` for x `[images, positions, channels]`, y
/// `[images, channels]`.
pub(crate) fn average_forward<T: Real>([images, positions, channels]: [usize; 3], x: &[T], y: &mut [T]) {
    let share = T::one() / count::<T>(positions.max(1));
    for image in 0..images {
        let y = &mut y[image * channels..(image + 1) * channels];
        super::reduce::column_sum(channels, &x[image * positions * channels..][..positions * channels], y);
        y.iter_mut().for_each(|y| *y = *y * share);
    }
}

/// Gradient of the input of [`average_forward`], overwritten:
/// `d_x[n, p, c] = d_y[n, c] / positions`.
/// `mask` are the activation that gave x, and x itself: 0 where no gradient passes it.
pub(crate) fn average_backward<T: Real>(
    [images, positions, channels]: [usize; 3],
    d_y: &[T],
    mask: Option<(Activation, &[T])>,
    d_x: &mut [T],
) {
    let share = T::one() / count::<T>(positions.max(1));
    for image in 0..images {
        let d_y = &d_y[image * channels..(image + 1) * channels];
        for at in (image * positions..(image + 1) * positions).map(|row| row * channels) {
            for (c, &d_y) in d_y.iter().enumerate() {
                let passes = mask.is_none_or(|(activation, x)| activation.passes(x[at + c]));
                d_x[at + c] = if passes { d_y * share } else { T::zero() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::{check, disagreement, values};

    #[test]
    fn gradient_agrees_with_differences() {
        let shape = [2, 5, 3];
        let (x, d_y) = (values(1, 30), values(2, 6));
        let loss = |x: &[f64]| {
            let mut y = [f64::NAN; 6];
            average_forward(shape, x, &mut y);
            y.iter().zip(&d_y).map(|(y, d)| y * d).sum::<f64>()
        };
        let mut d_x = [9.0; 30];
        average_backward(shape, &d_y, None, &mut d_x);
        check("d_x", &x, &d_x, loss);
        let flipped = d_x.map(|v| -v);
        assert!(disagreement(&x, &flipped, loss).is_some());
    }

    #[test]
    fn the_mean_is_over_positions_and_the_mask_is_kept() {
        let x = [1.0, 10.0, 3.0, 30.0];
        let mut y = [9.0; 2];
        average_forward([1, 2, 2], &x, &mut y);
        assert_eq!(y, [2.0, 20.0]);
        let mut d_x = [9.0; 4];
        average_backward([1, 2, 2], &[2.0, 4.0], Some((Activation::Relu6, &x)), &mut d_x);
        assert_eq!(d_x, [1.0, 0.0, 1.0, 0.0]);
    }
}
