//! Definitions of the `convolution` family: depthwise convolution of maps in channels-last order.
//! Pointwise convolutions are products of `linear`.

use super::activation::Activation;
use super::real::Real;
use crate::{Error, Result};

/// Sizes of a depthwise convolution: each channel has one filter of its own. Maps are
/// `[images, rows, columns, channels]`, weights `[kernel, kernel, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Depthwise {
    /// Images of the batch.
    pub images: usize,
    /// Channels of both maps.
    pub channels: usize,
    /// Rows and columns of the filter.
    pub kernel: usize,
    /// Distance of neighbouring outputs.
    pub stride: usize,
    /// Zeros around the input: top, left, bottom, right (the order of ONNX).
    pub pads: [usize; 4],
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Rows and columns of the output.
    pub output: [usize; 2],
}

impl Depthwise {
    /// Sizes from those of the input.
    ///
    /// # Errors
    /// [`Error::Shape`] for a filter or stride of 0, or for a filter that is larger than the padded
    /// input.
    pub fn new(
        images: usize,
        channels: usize,
        [kernel, stride]: [usize; 2],
        pads: [usize; 4],
        input: [usize; 2],
    ) -> Result<Self> {
        let [top, left, bottom, right] = pads;
        let padded = [input[0] + top + bottom, input[1] + left + right];
        if kernel == 0 || stride == 0 || padded.iter().any(|&size| size < kernel) {
            let expected = "a filter and a stride of at least 1, a filter within the padded input";
            return Err(Error::shape("depthwise convolution", expected, (kernel, stride, padded)));
        }
        let output = padded.map(|size| (size - kernel) / stride + 1);
        Ok(Self { images, channels, kernel, stride, pads, input, output })
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.images * self.input[0] * self.input[1] * self.channels
    }

    /// Elements of the output.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.images * self.output[0] * self.output[1] * self.channels
    }

    /// Elements of the filters.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// Calls `visit(first element of the output position, of the tap, of the input position)` for
    /// every image, output position and tap whose input position lies within the map, in this
    /// order.
    fn each_tap(&self, mut visit: impl FnMut([usize; 3])) {
        let ([rows, columns], [out_rows, out_columns], c) = (self.input, self.output, self.channels);
        let within = |at: usize, tap: usize, pad: usize, size: usize| {
            (at * self.stride + tap).checked_sub(pad).filter(|&position| position < size)
        };
        for image in 0..self.images {
            for (oy, ox) in (0..out_rows).flat_map(|oy| (0..out_columns).map(move |ox| (oy, ox))) {
                let out = ((image * out_rows + oy) * out_columns + ox) * c;
                for (ky, kx) in (0..self.kernel).flat_map(|ky| (0..self.kernel).map(move |kx| (ky, kx))) {
                    let y = within(oy, ky, self.pads[0], rows);
                    let x = within(ox, kx, self.pads[1], columns);
                    if let (Some(y), Some(x)) = (y, x) {
                        let input = ((image * rows + y) * columns + x) * c;
                        visit([out, (ky * self.kernel + kx) * c, input]);
                    }
                }
            }
        }
    }
}

/// `y[n, i, j, c] = activation(bias[c] + Σ_{a, b} weight[a, b, c] x[n, k, l, c])` with
/// `k = s i + a - top`, `l = s j + b - left` and stride s; positions outside the map count as 0.
pub(crate) fn depthwise_forward<T: Real>(
    shape: &Depthwise,
    activation: Activation,
    x: &[T],
    [weight, bias]: [&[T]; 2],
    y: &mut [T],
) {
    let channels = shape.channels;
    y[..shape.output_len()].chunks_mut(channels.max(1)).for_each(|y| y.copy_from_slice(bias));
    shape.each_tap(|[out, tap, input]| {
        for c in 0..channels {
            y[out + c] += weight[tap + c] * x[input + c];
        }
    });
    y[..shape.output_len()].iter_mut().for_each(|y| *y = activation.apply(*y));
}

/// Gradient of the input of [`depthwise_forward`] (before its activation), overwritten:
/// `d_x[n, k, l, c] = Σ weight[a, b, c] d_y[n, i, j, c]` over all i, j, a, b that meet there.
/// `mask` are the activation that gave x, and x itself: 0 where no gradient passes it.
pub(crate) fn depthwise_backward_input<T: Real>(
    shape: &Depthwise,
    d_y: &[T],
    weight: &[T],
    mask: Option<(Activation, &[T])>,
    d_x: &mut [T],
) {
    let d_x = &mut d_x[..shape.input_len()];
    d_x.fill(T::zero());
    shape.each_tap(|[out, tap, input]| {
        for c in 0..shape.channels {
            d_x[input + c] += weight[tap + c] * d_y[out + c];
        }
    });
    if let Some((activation, x)) = mask {
        d_x.iter_mut().zip(x).filter(|(_, x)| !activation.passes(**x)).for_each(|(d, _)| *d = T::zero());
    }
}

/// Gradients of filters and bias of [`depthwise_forward`] (before its activation), overwritten:
/// `d_weight[a, b, c] = Σ_{n, i, j} x[n, k, l, c] d_y[n, i, j, c]`,
/// `d_bias[c] = Σ_{n, i, j} d_y[n, i, j, c]`.
pub(crate) fn depthwise_backward_weight<T: Real>(
    shape: &Depthwise,
    d_y: &[T],
    x: &[T],
    [d_weight, d_bias]: [&mut [T]; 2],
) {
    d_weight.fill(T::zero());
    shape.each_tap(|[out, tap, input]| {
        for c in 0..shape.channels {
            d_weight[tap + c] += x[input + c] * d_y[out + c];
        }
    });
    super::reduce::column_sum(shape.channels, &d_y[..shape.output_len()], d_bias);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::testing::{check, disagreement, values};

    const SHAPES: [([usize; 2], [usize; 4], [usize; 2]); 5] = [
        ([3, 1], [1, 1, 1, 1], [4, 5]),
        ([5, 1], [2, 2, 2, 2], [3, 3]),
        ([3, 2], [0, 0, 1, 1], [6, 8]),
        ([5, 2], [1, 2, 2, 1], [7, 6]),
        ([1, 1], [0, 0, 0, 0], [2, 3]),
    ];

    fn forward(shape: &Depthwise, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        let mut y = vec![f64::NAN; shape.output_len()];
        depthwise_forward(shape, Activation::None, x, [weight, bias], &mut y);
        y
    }

    #[test]
    fn three_by_three_of_ones_counts_what_lies_within() {
        let shape = Depthwise::new(1, 2, [3, 1], [1; 4], [2, 3]).unwrap();
        assert_eq!(shape.output, [2, 3]);
        let y = forward(&shape, &[1.0; 12], &[1.0; 18], &[0.0, 10.0]);
        assert_eq!(y, [4.0, 14.0, 6.0, 16.0, 4.0, 14.0, 4.0, 14.0, 6.0, 16.0, 4.0, 14.0]);
        let halved = Depthwise::new(1, 1, [3, 2], [0, 0, 1, 1], [4, 4]).unwrap();
        assert_eq!(forward(&halved, &[1.0; 16], &[1.0; 9], &[0.0]), [9.0, 6.0, 6.0, 4.0]);
    }

    #[test]
    fn gradients_agree_with_differences() {
        for (kernel, pads, input) in SHAPES {
            let shape = Depthwise::new(2, 3, kernel, pads, input).unwrap();
            let (x, weight, bias) =
                (values(1, shape.input_len()), values(2, shape.weight_len()), values(3, 3));
            let d_y = values(4, shape.output_len());
            let loss = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
                forward(&shape, x, weight, bias).iter().zip(&d_y).map(|(y, d)| y * d).sum()
            };
            let (mut d_x, mut d_weight, mut d_bias) =
                (vec![9.0; x.len()], vec![9.0; weight.len()], vec![9.0; 3]);
            depthwise_backward_input(&shape, &d_y, &weight, None, &mut d_x);
            depthwise_backward_weight(&shape, &d_y, &x, [&mut d_weight, &mut d_bias]);
            check("d_x", &x, &d_x, |x| loss(x, &weight, &bias));
            check("d_weight", &weight, &d_weight, |weight| loss(&x, weight, &bias));
            check("d_bias", &bias, &d_bias, |bias| loss(&x, &weight, bias));
            let turned: Vec<f64> = weight.iter().rev().copied().collect();
            depthwise_backward_input(&shape, &d_y, &turned, None, &mut d_x);
            assert!(disagreement(&x, &d_x, |x| loss(x, &weight, &bias)).is_some(), "{kernel:?}");
        }
    }

    #[test]
    fn the_mask_is_that_of_the_activation_in_front() {
        let shape = Depthwise::new(1, 1, [1, 1], [0; 4], [2, 2]).unwrap();
        let mut d_x = [9.0; 4];
        let x = [0.0, 3.0, 6.0, 7.0];
        for (activation, want) in [
            (Activation::None, [2.0, 4.0, 6.0, 8.0]),
            (Activation::Relu, [0.0, 4.0, 6.0, 8.0]),
            (Activation::Relu6, [0.0, 4.0, 0.0, 0.0]),
        ] {
            let mask = Some((activation, &x[..]));
            depthwise_backward_input(&shape, &[1.0, 2.0, 3.0, 4.0], &[2.0], mask, &mut d_x);
            assert_eq!(d_x, want, "{activation:?}");
        }
    }

    #[test]
    fn filters_that_do_not_fit_are_refused() {
        for (kernel, pads, input) in
            [([0, 1], [0; 4], [3, 3]), ([3, 0], [1; 4], [3, 3]), ([5, 1], [1; 4], [2, 9])]
        {
            assert!(Depthwise::new(1, 1, kernel, pads, input).is_err(), "{kernel:?} {input:?}");
        }
    }
}
