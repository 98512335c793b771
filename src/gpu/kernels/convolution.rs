//! Depthwise convolution: `convolution/*`. Definitions in `reference::convolution`.

use super::activation::kind;
use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{self, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::activation::Activation;
use crate::reference::convolution::Depthwise;

const DEPTHWISE_BACKWARD_INPUT: Kernel = kernel!("convolution/depthwise_backward_input");
const DEPTHWISE_BACKWARD_WEIGHT: Kernel = kernel!("convolution/depthwise_backward_weight");
const DEPTHWISE_FORWARD: Kernel = kernel!("convolution/depthwise_forward");

/// Channels of a workgroup of `depthwise_backward_weight`.
const CHANNELS_PER_GROUP: usize = 32;

fn params(shape: &Depthwise, activation: Activation) -> [(&'static str, Param); 11] {
    let Depthwise { images, channels, kernel, stride, pads: [top, left, ..], input, output } = *shape;
    [
        ("images", Size(images)),
        ("channels", Size(channels)),
        ("kernel", Size(kernel)),
        ("stride", Size(stride)),
        ("top", Size(top)),
        ("left", Size(left)),
        ("rows", Size(input[0])),
        ("columns", Size(input[1])),
        ("out_rows", Size(output[0])),
        ("out_columns", Size(output[1])),
        ("activation", kind(activation)),
    ]
}

/// Records the convolution of x with its activation into y.
pub(crate) fn depthwise_forward(
    recorder: &mut Recorder<'_>,
    shape: &Depthwise,
    activation: Activation,
    [x, weight, bias]: [&Buffer; 3],
    y: &Buffer,
) -> Result<()> {
    let buffers = [
        (x, shape.input_len()),
        (weight, shape.weight_len()),
        (bias, shape.channels),
        (y, shape.output_len()),
    ];
    let workgroups = fold(shape.output_len(), 64);
    recorder.dispatch(&DEPTHWISE_FORWARD, &params(shape, activation), &buffers, workgroups)
}

/// Records the gradient of x under [`depthwise_forward`]; `mask` are the activation that gave x,
/// and x.
pub(crate) fn depthwise_backward_input(
    recorder: &mut Recorder<'_>,
    shape: &Depthwise,
    [d_y, weight]: [&Buffer; 2],
    mask: Option<(Activation, &Buffer)>,
    d_x: &Buffer,
) -> Result<()> {
    let activation = mask.map_or(Activation::None, |(activation, _)| activation);
    let buffers = [
        (d_y, shape.output_len()),
        (weight, shape.weight_len()),
        mask.map_or((d_y, 0), |(_, x)| (x, shape.input_len())),
        (d_x, shape.input_len()),
    ];
    let workgroups = fold(shape.input_len(), 64);
    recorder.dispatch(&DEPTHWISE_BACKWARD_INPUT, &params(shape, activation), &buffers, workgroups)
}

/// Records the gradients of filters and bias under [`depthwise_forward`]; both are overwritten.
pub(crate) fn depthwise_backward_weight(
    recorder: &mut Recorder<'_>,
    shape: &Depthwise,
    [d_y, x]: [&Buffer; 2],
    [d_weight, d_bias]: [&Buffer; 2],
) -> Result<()> {
    let buffers = [
        (d_y, shape.output_len()),
        (x, shape.input_len()),
        (d_weight, shape.weight_len()),
        (d_bias, shape.channels),
    ];
    let taps = shape.kernel * shape.kernel + 1;
    let workgroups = fold(taps * shape.channels.div_ceil(CHANNELS_PER_GROUP), 1);
    recorder.dispatch(&DEPTHWISE_BACKWARD_WEIGHT, &params(shape, Activation::None), &buffers, workgroups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Device;
    use crate::gpu::testing::{self, Level};
    use crate::reference::convolution;

    /// Images, channels, kernel and stride, pads, input.
    type Sizes = (usize, usize, [usize; 2], [usize; 4], [usize; 2]);

    const SHAPES: [Sizes; 9] = [
        (1, 1, [1, 1], [0; 4], [1, 1]),
        (2, 63, [3, 1], [1; 4], [5, 5]),
        (9, 64, [5, 1], [2; 4], [5, 5]),
        (3, 65, [3, 2], [0, 0, 1, 1], [6, 8]),
        (17, 33, [5, 2], [1, 2, 2, 1], [7, 6]),
        (1, 131, [7, 1], [3; 4], [3, 4]),
        (0, 8, [3, 1], [1; 4], [4, 4]),
        (2, 0, [3, 1], [1; 4], [4, 4]),
        (5, 3, [3, 3], [0; 4], [11, 10]),
    ];

    fn up(device: &Device, values: &[f32]) -> Buffer {
        Buffer::from_slice(device, "input", values)
    }

    fn beyond(seed: u64, len: usize) -> Vec<f32> {
        testing::values(seed, len).iter().map(|v| 9.0 * v).collect()
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn depthwise_forward_matches_the_reference() {
        let device = testing::device();
        for (images, channels, kernel, pads, input) in SHAPES {
            let shape = Depthwise::new(images, channels, kernel, pads, input).unwrap();
            let (x, weight, bias) = (
                beyond(1, shape.input_len()),
                testing::values(2, shape.weight_len()),
                testing::values(3, channels),
            );
            for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
                let y = testing::output(device, shape.output_len());
                let inputs = [&up(device, &x), &up(device, &weight), &up(device, &bias)];
                testing::run(device, |r| depthwise_forward(r, &shape, activation, inputs, &y));
                let mut want = vec![f64::NAN; shape.output_len()];
                let [x, weight, bias] = [&x, &weight, &bias].map(|values| testing::wide(values));
                convolution::depthwise_forward(&shape, activation, &x, [&weight, &bias], &mut want);
                let got = testing::read_guarded(device, &y);
                testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Accumulated(26));
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn depthwise_backward_input_matches_the_reference() {
        let device = testing::device();
        for (images, channels, kernel, pads, input) in SHAPES {
            let shape = Depthwise::new(images, channels, kernel, pads, input).unwrap();
            let (x, weight, d_y) = (
                beyond(1, shape.input_len()),
                testing::values(2, shape.weight_len()),
                testing::values(3, shape.output_len()),
            );
            for activation in [None, Some(Activation::Relu), Some(Activation::Relu6)] {
                let (d_x, x_up) = (testing::output(device, shape.input_len()), up(device, &x));
                let inputs = [&up(device, &d_y), &up(device, &weight)];
                let mask = activation.map(|activation| (activation, &x_up));
                testing::run(device, |r| depthwise_backward_input(r, &shape, inputs, mask, &d_x));
                let mut want = vec![f64::NAN; shape.input_len()];
                let [x, weight, d_y] = [&x, &weight, &d_y].map(|values| testing::wide(values));
                let mask = activation.map(|activation| (activation, &x[..]));
                convolution::depthwise_backward_input(&shape, &d_y, &weight, mask, &mut want);
                let got = testing::read_guarded(device, &d_x);
                testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Accumulated(25));
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn depthwise_backward_weight_matches_the_reference() {
        let device = testing::device();
        for (images, channels, kernel, pads, input) in SHAPES {
            let shape = Depthwise::new(images, channels, kernel, pads, input).unwrap();
            let (x, d_y) = (testing::values(1, shape.input_len()), testing::values(3, shape.output_len()));
            let outputs = [shape.weight_len(), channels].map(|len| testing::output(device, len));
            let inputs = [&up(device, &d_y), &up(device, &x)];
            let [d_weight, d_bias] = &outputs;
            testing::run(device, |r| depthwise_backward_weight(r, &shape, inputs, [d_weight, d_bias]));
            let (mut want, mut want_bias) = (vec![f64::NAN; shape.weight_len()], vec![f64::NAN; channels]);
            let [x, d_y] = [&x, &d_y].map(|values| testing::wide(values));
            convolution::depthwise_backward_weight(&shape, &d_y, &x, [&mut want, &mut want_bias]);
            let terms = Level::Accumulated(shape.output_len() / channels.max(1));
            for (buffer, want) in outputs.iter().zip([want, want_bias]) {
                let got = testing::read_guarded(device, buffer);
                testing::assert_close(&format!("{shape:?}"), &got, &want, terms);
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn swapped_pads_and_operands_are_seen() {
        let device = testing::device();
        let shape = Depthwise::new(2, 5, [3, 2], [0, 1, 1, 0], [6, 6]).unwrap();
        let (x, weight) = (testing::values(1, shape.input_len()), testing::values(2, shape.weight_len()));
        let bias = up(device, &[0.0_f32; 5]);
        let mut want = vec![f64::NAN; shape.output_len()];
        let [x_wide, weight_wide] = [&x, &weight].map(|values| testing::wide(values));
        convolution::depthwise_forward(
            &shape,
            Activation::None,
            &x_wide,
            [&weight_wide, &[0.0; 5]],
            &mut want,
        );
        let (x, weight) = (up(device, &x), up(device, &weight));
        let run = |shape: &Depthwise, inputs: [&Buffer; 3]| {
            let y = testing::output(device, shape.output_len());
            testing::run(device, |r| depthwise_forward(r, shape, Activation::None, inputs, &y));
            testing::mismatch("faulty", &testing::read_guarded(device, &y), &want, Level::Accumulated(10))
        };
        assert_eq!(run(&shape, [&x, &weight, &bias]), None);
        let turned = Depthwise { pads: [1, 0, 0, 1], ..shape };
        assert!(run(&turned, [&x, &weight, &bias]).is_some());
    }
}
