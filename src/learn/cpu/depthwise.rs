//! Depthwise convolution of the CPU engine: blocks of channels in vector registers, spread over the
//! threads. Each sum has the order of the definition, so the results are equal bit for bit.

use pulp::Arch;
use rayon::prelude::*;

use super::parallel;
use crate::reference::Real;
use crate::reference::activation::Activation;
use crate::reference::convolution::Depthwise;

/// Channels that are summed side by side.
const BLOCK: usize = 16;

/// As `reference::convolution::depthwise_forward`.
pub(crate) fn forward<T: Real>(
    shape: &Depthwise,
    activation: Activation,
    x: &[T],
    [weight, bias]: [&[T]; 2],
    y: &mut [T],
) {
    let [image, output] = [shape.input, shape.output].map(|[rows, columns]| rows * columns * shape.channels);
    let arch = Arch::new();
    parallel::rows(&mut y[..shape.output_len()], output, |first, images| {
        arch.dispatch(|| {
            for (n, y) in images.chunks_mut(output.max(1)).enumerate() {
                forward_image(shape, activation, &x[(first + n) * image..][..image], [weight, bias], y);
            }
        });
    });
}

#[inline(always)]
fn forward_image<T: Real>(
    shape: &Depthwise,
    activation: Activation,
    x: &[T],
    [weight, bias]: [&[T]; 2],
    y: &mut [T],
) {
    let (c, [_, columns], [out_rows, out_columns]) = (shape.channels, shape.input, shape.output);
    for channel in (0..c).step_by(BLOCK) {
        let width = BLOCK.min(c - channel);
        for i in 0..out_rows {
            let taps_down = taps(i * shape.stride, shape.pads[0], shape.kernel, shape.input[0]);
            for j in 0..out_columns {
                let taps_right = taps(j * shape.stride, shape.pads[1], shape.kernel, columns);
                let mut sums = Sums::of(&bias[channel..channel + width]);
                for a in taps_down.clone() {
                    let row = (i * shape.stride + a - shape.pads[0]) * columns;
                    for b in taps_right.clone() {
                        let tap = (a * shape.kernel + b) * c + channel;
                        let input = (row + j * shape.stride + b - shape.pads[1]) * c + channel;
                        sums.add(&weight[tap..tap + width], &x[input..input + width]);
                    }
                }
                let at = (i * out_columns + j) * c + channel;
                sums.store(&mut y[at..at + width], |value, _| activation.apply(value));
            }
        }
    }
}

/// Taps of a filter that starts `pad` before `at` and that lie within `size` positions.
#[inline(always)]
fn taps(at: usize, pad: usize, kernel: usize, size: usize) -> std::ops::Range<usize> {
    pad.saturating_sub(at)..kernel.min((size + pad).saturating_sub(at))
}

/// As `reference::convolution::depthwise_backward_input`.
pub(super) fn backward_input<T: Real>(
    shape: &Depthwise,
    d_y: &[T],
    weight: &[T],
    mask: Option<(Activation, &[T])>,
    d_x: &mut [T],
) {
    let [image, output] = [shape.input, shape.output].map(|[rows, columns]| rows * columns * shape.channels);
    let arch = Arch::new();
    parallel::rows(&mut d_x[..shape.input_len()], image, |first, images| {
        arch.dispatch(|| {
            for (n, d_x) in images.chunks_mut(image.max(1)).enumerate() {
                let mask = mask.map(|(activation, x)| (activation, &x[(first + n) * image..][..image]));
                backward_image(shape, &d_y[(first + n) * output..][..output], weight, mask, d_x);
            }
        });
    });
}

#[inline(always)]
fn backward_image<T: Real>(
    shape: &Depthwise,
    d_y: &[T],
    weight: &[T],
    mask: Option<(Activation, &[T])>,
    d_x: &mut [T],
) {
    let (c, [rows, columns], out_columns) = (shape.channels, shape.input, shape.output[1]);
    for channel in (0..c).step_by(BLOCK) {
        let width = BLOCK.min(c - channel);
        for k in 0..rows {
            for l in 0..columns {
                let mut sums = Sums::zero(width);
                for (a, i) in outputs(k + shape.pads[0], shape, shape.output[0]) {
                    for (b, j) in outputs(l + shape.pads[1], shape, out_columns) {
                        let tap = (a * shape.kernel + b) * c + channel;
                        let output = (i * out_columns + j) * c + channel;
                        sums.add(&weight[tap..tap + width], &d_y[output..output + width]);
                    }
                }
                let at = (k * columns + l) * c + channel;
                let d_x = &mut d_x[at..at + width];
                match mask {
                    None => sums.store(d_x, |value, _| value),
                    Some((activation, x)) => {
                        let x = &x[at..at + width];
                        sums.store(d_x, |value, c| if activation.passes(x[c]) { value } else { T::zero() });
                    }
                }
            }
        }
    }
}

/// Taps in descending order, with the output that each reaches from the padded position `at`.
#[inline(always)]
fn outputs(at: usize, shape: &Depthwise, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let stride = shape.stride;
    (0..shape.kernel.min(at + 1)).rev().filter_map(move |tap| {
        let distance = at - tap;
        (distance.is_multiple_of(stride) && distance / stride < size).then(|| (tap, distance / stride))
    })
}

/// As `reference::convolution::depthwise_backward_weight`.
pub(super) fn backward_weight<T: Real>(
    shape: &Depthwise,
    d_y: &[T],
    x: &[T],
    [d_weight, d_bias]: [&mut [T]; 2],
) {
    let (c, arch) = (shape.channels, Arch::new());
    let blocks: Vec<_> = (0..c).step_by(BLOCK).collect();
    let of_blocks: Vec<Vec<T>> =
        (blocks.par_iter()).map(|&channel| arch.dispatch(|| weight_block(shape, d_y, x, channel))).collect();
    for (&channel, filters) in blocks.iter().zip(&of_blocks) {
        let width = BLOCK.min(c - channel);
        for (tap, filter) in filters.chunks(width).enumerate() {
            d_weight[tap * c + channel..][..width].copy_from_slice(filter);
        }
    }
    parallel::column_sum(c, &d_y[..shape.output_len()], d_bias);
}

/// Gradients of the filters of a block of channels, `[kernel, kernel, width]`.
#[inline(always)]
fn weight_block<T: Real>(shape: &Depthwise, d_y: &[T], x: &[T], channel: usize) -> Vec<T> {
    let (c, [rows, columns], [out_rows, out_columns]) = (shape.channels, shape.input, shape.output);
    let width = BLOCK.min(c - channel);
    let mut filters = vec![T::zero(); shape.kernel * shape.kernel * width];
    for n in 0..shape.images {
        for (tap, filter) in filters.chunks_mut(width).enumerate() {
            let (a, b) = (tap / shape.kernel, tap % shape.kernel);
            let mut sums = Sums::of(filter);
            for i in 0..out_rows {
                let Some(row) = (i * shape.stride + a).checked_sub(shape.pads[0]).filter(|row| *row < rows)
                else {
                    continue;
                };
                for j in 0..out_columns {
                    let column = (j * shape.stride + b).checked_sub(shape.pads[1]);
                    let Some(column) = column.filter(|column| *column < columns) else { continue };
                    let input = ((n * rows + row) * columns + column) * c + channel;
                    let output = ((n * out_rows + i) * out_columns + j) * c + channel;
                    sums.add(&x[input..input + width], &d_y[output..output + width]);
                }
            }
            sums.store(filter, |value, _| value);
        }
    }
    filters
}

/// Sums of up to [`BLOCK`] channels; whole blocks stay in registers.
struct Sums<T> {
    values: [T; BLOCK],
    width: usize,
}

impl<T: Real> Sums<T> {
    #[inline(always)]
    fn zero(width: usize) -> Self {
        Self { values: [T::zero(); BLOCK], width }
    }

    #[inline(always)]
    fn of(start: &[T]) -> Self {
        let mut sums = Self::zero(start.len());
        sums.values[..start.len()].copy_from_slice(start);
        sums
    }

    /// Adds the products, element by element.
    #[inline(always)]
    fn add(&mut self, a: &[T], b: &[T]) {
        if let (Some(a), Some(b)) = (a.first_chunk::<BLOCK>(), b.first_chunk::<BLOCK>()) {
            for c in 0..BLOCK {
                self.values[c] += a[c] * b[c];
            }
        } else {
            for (sum, (&a, &b)) in self.values.iter_mut().zip(a.iter().zip(b)) {
                *sum += a * b;
            }
        }
    }

    #[inline(always)]
    fn store(&self, to: &mut [T], finish: impl Fn(T, usize) -> T) {
        for (c, (to, &value)) in to.iter_mut().zip(&self.values[..self.width]).enumerate() {
            *to = finish(value, c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::convolution;
    use crate::reference::testing::values;

    #[test]
    fn blocks_of_channels_equal_the_definition_bit_for_bit() {
        let shapes = [
            (3, BLOCK, [3, 1], [1; 4], [5, 5]),
            (2, 2 * BLOCK + 7, [5, 1], [2; 4], [5, 4]),
            (4, 5, [3, 2], [0, 0, 1, 1], [6, 8]),
            (1, BLOCK + 1, [5, 3], [1, 2, 2, 1], [7, 9]),
            (0, 3, [1, 1], [0; 4], [2, 2]),
        ];
        for (images, channels, kernel, pads, input) in shapes {
            let shape = Depthwise::new(images, channels, kernel, pads, input).unwrap();
            let x: Vec<f64> = values(1, shape.input_len()).iter().map(|v| 9.0 * v).collect();
            let (weight, bias) = (values(2, shape.weight_len()), values(3, channels));
            let d_y = values(4, shape.output_len());
            let pair = |len: usize| [vec![f64::NAN; len], vec![f64::INFINITY; len]];
            for activation in [Activation::None, Activation::Relu6] {
                let [mut got, mut want] = pair(shape.output_len());
                forward(&shape, activation, &x, [&weight, &bias], &mut got);
                convolution::depthwise_forward(&shape, activation, &x, [&weight, &bias], &mut want);
                assert_eq!(got, want, "{shape:?}");
                for mask in [None, Some((activation, &x[..]))] {
                    let [mut got, mut want] = pair(shape.input_len());
                    backward_input(&shape, &d_y, &weight, mask, &mut got);
                    convolution::depthwise_backward_input(&shape, &d_y, &weight, mask, &mut want);
                    assert_eq!(got, want, "{shape:?}");
                }
            }
            let ([mut got, mut want], [mut got_bias, mut want_bias]) = (pair(weight.len()), pair(channels));
            backward_weight(&shape, &d_y, &x, [&mut got, &mut got_bias]);
            convolution::depthwise_backward_weight(&shape, &d_y, &x, [&mut want, &mut want_bias]);
            assert_eq!((got, got_bias), (want, want_bias), "{shape:?}");
        }
    }
}
