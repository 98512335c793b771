//! Average pooling: `pool/*`. Definitions in `reference::pool`.

use super::activation::kind;
use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::number::real;
use crate::reference::activation::Activation;

const AVERAGE_BACKWARD: Kernel = kernel!("pool/average_backward");
const AVERAGE_FORWARD: Kernel = kernel!("pool/average_forward");

/// Records the mean of x `[images, positions, channels]` over its positions.
pub(crate) fn average_forward(
    recorder: &mut Recorder<'_>,
    [images, positions, channels]: [usize; 3],
    x: &Buffer,
    y: &Buffer,
) -> Result<()> {
    let share = Number(1.0 / real(positions.max(1)));
    let params = [
        ("images", Size(images)),
        ("positions", Size(positions)),
        ("channels", Size(channels)),
        ("share", share),
    ];
    let buffers = [(x, images * positions * channels), (y, images * channels)];
    recorder.dispatch(&AVERAGE_FORWARD, &params, &buffers, fold(images * channels, 64))
}

/// Records the gradient of x under [`average_forward`]; `mask` are the activation that gave x, and
/// x.
pub(crate) fn average_backward(
    recorder: &mut Recorder<'_>,
    [images, positions, channels]: [usize; 3],
    d_y: &Buffer,
    mask: Option<(Activation, &Buffer)>,
    d_x: &Buffer,
) -> Result<()> {
    let activation = mask.map_or(Activation::None, |(activation, _)| activation);
    let params = [
        ("images", Size(images)),
        ("positions", Size(positions)),
        ("channels", Size(channels)),
        ("activation", kind(activation)),
        ("share", Number(1.0 / real(positions.max(1)))),
    ];
    let all = images * positions * channels;
    let buffers = [(d_y, images * channels), mask.map_or((d_y, 0), |(_, x)| (x, all)), (d_x, all)];
    recorder.dispatch(&AVERAGE_BACKWARD, &params, &buffers, fold(all, 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level};
    use crate::reference::pool;

    const SHAPES: [[usize; 3]; 7] =
        [[1, 1, 1], [3, 25, 63], [2, 49, 64], [5, 4, 65], [131, 9, 7], [0, 4, 3], [2, 3, 257]];

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn average_forward_and_average_backward_match_the_reference() {
        let device = testing::device();
        for shape @ [images, positions, channels] in SHAPES {
            let all = images * positions * channels;
            let x: Vec<f32> = testing::values(1, all).iter().map(|v| 9.0 * v).collect();
            let d_y = testing::values(2, images * channels);
            let up = |values: &[f32]| Buffer::from_slice(device, "input", values);
            let (x_up, d_up, y) = (up(&x), up(&d_y), testing::output(device, images * channels));
            testing::run(device, |r| average_forward(r, shape, &x_up, &y));
            let mut want = vec![f64::NAN; images * channels];
            pool::average_forward(shape, &testing::wide(&x), &mut want);
            let got = testing::read_guarded(device, &y);
            testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Accumulated(positions));
            let flipped: Vec<f64> = want.iter().map(|v| -v).collect();
            let seen = testing::mismatch("sign", &got, &flipped, Level::Accumulated(positions));
            assert!(got.is_empty() || seen.is_some());
            for activation in [None, Some(Activation::Relu), Some(Activation::Relu6)] {
                let d_x = testing::output(device, all);
                let mask = activation.map(|activation| (activation, &x_up));
                testing::run(device, |r| average_backward(r, shape, &d_up, mask, &d_x));
                let (mut want, wide) = (vec![f64::NAN; all], testing::wide(&x));
                let mask = activation.map(|activation| (activation, &wide[..]));
                pool::average_backward(shape, &testing::wide(&d_y), mask, &mut want);
                let got = testing::read_guarded(device, &d_x);
                testing::assert_close(&format!("{shape:?}"), &got, &want, Level::Rounding);
            }
        }
    }
}
