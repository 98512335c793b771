//! Definitions of the `activation` family: the two activations of mobile networks, alone and behind
//! an addition.

use super::real::Real;

/// What follows a layer, element by element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)` (arXiv 1704.04861).
    Relu6,
}

impl Activation {
    /// Upper bound of [`Activation::Relu6`].
    pub(crate) const CEILING: f64 = 6.0;

    /// The value behind the activation. NaN stays NaN.
    #[inline]
    pub(crate) fn apply<T: Real>(self, x: T) -> T {
        let floored = |x: T| if x < T::zero() { T::zero() } else { x };
        match self {
            Self::None => x,
            Self::Relu => floored(x),
            Self::Relu6 => {
                let (x, ceiling) = (floored(x), T::of(Self::CEILING));
                if x > ceiling { ceiling } else { x }
            }
        }
    }

    /// Whether a gradient passes where the activation gave `y`: not at its bounds, as in PyTorch.
    #[inline]
    pub(crate) fn passes<T: Real>(self, y: T) -> bool {
        // So that a value that is not a number passes.
        let is_shut = match self {
            Self::None => false,
            Self::Relu => y <= T::zero(),
            Self::Relu6 => y <= T::zero() || y >= T::of(Self::CEILING),
        };
        !is_shut
    }
}

/// `y[i] = activation(x[i] + residual[i])`; without a residual the activation of x alone.
pub(crate) fn activate<T: Real>(activation: Activation, x: &[T], residual: Option<&[T]>, y: &mut [T]) {
    match residual {
        None => y.iter_mut().zip(x).for_each(|(y, &x)| *y = activation.apply(x)),
        Some(residual) => {
            for ((y, &x), &r) in y.iter_mut().zip(x).zip(residual) {
                *y = activation.apply(x + r);
            }
        }
    }
}

/// `d_x[i] = d_y[i]` where the activation gave a `y[i]` strictly within its bounds, else 0.
pub(crate) fn activate_backward<T: Real>(activation: Activation, d_y: &[T], y: &[T], d_x: &mut [T]) {
    for ((d_x, &d_y), &y) in d_x.iter_mut().zip(d_y).zip(y) {
        *d_x = if activation.passes(y) { d_y } else { T::zero() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::{check, disagreement, values};

    const ALL: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Relu6];

    fn run(activation: Activation, x: &[f64], residual: Option<&[f64]>) -> Vec<f64> {
        let mut y = vec![f64::NAN; x.len()];
        activate(activation, x, residual, &mut y);
        y
    }

    #[test]
    fn bounds_are_zero_and_six_and_nan_stays() {
        let x = [-80.0, -0.0, 3.0, 6.0, 6.5, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(run(Activation::Relu6, &x, None), [0.0, 0.0, 3.0, 6.0, 6.0, 6.0, 0.0]);
        assert_eq!(run(Activation::Relu, &x, None)[4..], [6.5, f64::INFINITY, 0.0]);
        assert_eq!(run(Activation::None, &x[..5], Some(&[1.0; 5])), [-79.0, 1.0, 4.0, 7.0, 7.5]);
        for activation in ALL {
            assert!(run(activation, &[f64::NAN], None)[0].is_nan(), "{activation:?}");
            let mut d_x = [0.0];
            activate_backward(activation, &[f64::NAN], &[3.0], &mut d_x);
            assert!(d_x[0].is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        for activation in ALL {
            // No value lies on a kink.
            let x: Vec<f64> = values(1, 40).iter().map(|v| 9.0 * v + 0.003).collect();
            let (residual, d_y) = (values(2, 40), values(3, 40));
            let loss = |x: &[f64], residual: &[f64]| -> f64 {
                run(activation, x, Some(residual)).iter().zip(&d_y).map(|(y, d)| y * d).sum()
            };
            let y = run(activation, &x, Some(&residual));
            let mut d_x = vec![f64::NAN; 40];
            activate_backward(activation, &d_y, &y, &mut d_x);
            check("d_x", &x, &d_x, |x| loss(x, &residual));
            check("d_residual", &residual, &d_x, |residual| loss(&x, residual));
            let flipped: Vec<_> = d_x.iter().map(|v| -v).collect();
            assert!(disagreement(&x, &flipped, |x| loss(x, &residual)).is_some());
            if activation != Activation::None {
                assert!(disagreement(&x, &d_y, |x| loss(x, &residual)).is_some(), "the mask is left out");
            }
        }
    }
}
