//! Products of matrices. `A`, `B` and `Y` are row-major; `alpha` scales the product.

use super::activation::Activation;
use super::real::Real;

/// What happens to a product on its way out:
/// `y = mask(activation(alpha * product + bias + residual)) (+ y)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a, T> {
    /// Factor of the product.
    pub alpha: T,
    /// Added to each row, `[n]`.
    pub bias: Option<&'a [T]>,
    /// Added element by element, `[m, n]`.
    pub residual: Option<&'a [T]>,
    /// What follows the sum.
    pub activation: Activation,
    /// An activation and what it gave, `[m, n]`; where it lets no gradient through the result is 0
    /// (its backward pass).
    pub mask: Option<(Activation, &'a [T])>,
    /// Whether the result is added to what `y` holds.
    pub accumulate: bool,
}

impl<T: Real> Epilogue<'_, T> {
    /// The bare product.
    #[must_use]
    pub(crate) fn none() -> Self {
        let activation = Activation::None;
        Self { alpha: T::one(), bias: None, residual: None, activation, mask: None, accumulate: false }
    }

    /// Applies everything but `accumulate` to `product`, the element `i` of column `column`.
    #[inline]
    pub(crate) fn apply(&self, product: T, i: usize, column: usize) -> T {
        let mut value = self.alpha * product;
        if let Some(bias) = self.bias {
            value += bias[column];
        }
        if let Some(residual) = self.residual {
            value += residual[i];
        }
        let value = self.activation.apply(value);
        match self.mask {
            Some((activation, y)) if !activation.passes(y[i]) => T::zero(),
            Some(_) | None => value,
        }
    }
}

/// Which operand is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `y[m, n] = a[m, k] · b[n, k]ᵀ`: a linear layer forward.
    Nt,
    /// `y[m, n] = a[m, k] · b[k, n]`: the gradient of its input.
    Nn,
    /// `y[m, n] = a[k, m]ᵀ · b[k, n]`: the gradient of its weight.
    Tn,
}

/// `y = epilogue(a · b)` in the given layout, by the triple loop.
pub(crate) fn gemm<T: Real>(
    layout: Layout,
    [m, n, k]: [usize; 3],
    a: &[T],
    b: &[T],
    y: &mut [T],
    epilogue: &Epilogue<'_, T>,
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = T::zero();
            for l in 0..k {
                let (left, right) = match layout {
                    Layout::Nt => (a[i * k + l], b[j * k + l]),
                    Layout::Nn => (a[i * k + l], b[l * n + j]),
                    Layout::Tn => (a[l * m + i], b[l * n + j]),
                };
                sum += left * right;
            }
            let value = epilogue.apply(sum, i * n + j, j);
            let out = &mut y[i * n + j];
            *out = if epilogue.accumulate { *out + value } else { value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::{check, disagreement, values};

    fn product(layout: Layout, shape: [usize; 3], a: &[f64], b: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; shape[0] * shape[1]];
        gemm(layout, shape, a, b, &mut y, &Epilogue::none());
        y
    }

    #[test]
    fn two_by_two_by_hand() {
        assert_eq!(
            product(Layout::Nt, [2, 2, 2], &[1., 2., 3., 4.], &[5., 6., 7., 8.]),
            [17., 23., 39., 53.]
        );
        assert_eq!(
            product(Layout::Nn, [2, 2, 2], &[1., 2., 3., 4.], &[5., 6., 7., 8.]),
            [19., 22., 43., 50.]
        );
        assert_eq!(
            product(Layout::Tn, [2, 2, 2], &[1., 2., 3., 4.], &[5., 6., 7., 8.]),
            [26., 30., 38., 44.]
        );
    }

    #[test]
    fn backward_layouts_are_the_gradients_of_the_forward_one() {
        let (rows, outputs, inputs) = (5, 3, 4);
        let (x, w, d_y) = (values(1, rows * inputs), values(2, outputs * inputs), values(3, rows * outputs));
        let loss = |x: &[f64], w: &[f64]| {
            product(Layout::Nt, [rows, outputs, inputs], x, w)
                .iter()
                .zip(&d_y)
                .map(|(y, d)| y * d)
                .sum::<f64>()
        };
        let d_x = product(Layout::Nn, [rows, inputs, outputs], &d_y, &w);
        let d_w = product(Layout::Tn, [outputs, inputs, rows], &d_y, &x);
        check("d_x", &x, &d_x, |x| loss(x, &w));
        check("d_w", &w, &d_w, |w| loss(&x, w));
        let wrong: Vec<_> = d_w.iter().map(|v| -v).collect();
        assert!(disagreement(&w, &wrong, |w| loss(&x, w)).is_some());
    }

    #[test]
    fn epilogue_order_is_scale_bias_residual_activation_mask_accumulate() {
        let epilogue = Epilogue {
            alpha: 2.0,
            bias: Some(&[1.0, -9.0][..]),
            residual: Some(&[0.5, 0.5, 0.5, 0.5][..]),
            activation: Activation::Relu,
            mask: Some((Activation::Relu, &[1.0, 1.0, 0.0, 1.0][..])),
            accumulate: true,
        };
        let mut y = [10.0; 4];
        gemm(Layout::Nn, [2, 2, 1], &[1.0, 2.0], &[3.0, 4.0], &mut y, &epilogue);
        assert_eq!(y, [17.5, 10.0, 10.0, 17.5]);
    }
}
