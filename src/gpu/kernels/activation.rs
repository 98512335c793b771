//! Activations of their own: `activation/*`. Definitions in `reference::activation`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{self, Flag, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::activation::Activation;

const ACTIVATE: Kernel = kernel!("activation/activate");
const ACTIVATE_BACKWARD: Kernel = kernel!("activation/activate_backward");

/// An activation as `common/activation.wgsl` numbers it.
pub(super) fn kind(activation: Activation) -> Param {
    Size(match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
    })
}

/// Records `y = activation(x + residual)` for `len` elements.
pub(crate) fn activate(
    recorder: &mut Recorder<'_>,
    len: usize,
    activation: Activation,
    x: &Buffer,
    residual: Option<&Buffer>,
    y: &Buffer,
) -> Result<()> {
    let has_residual = Flag(residual.is_some());
    let params = [("len", Size(len)), ("activation", kind(activation)), ("has_residual", has_residual)];
    let buffers = [(x, len), residual.map_or((x, 0), |residual| (residual, len)), (y, len)];
    recorder.dispatch(&ACTIVATE, &params, &buffers, fold(len, 64))
}

/// Records the gradient of x under [`activate`] from that of its y.
pub(crate) fn activate_backward(
    recorder: &mut Recorder<'_>,
    len: usize,
    activation: Activation,
    [d_y, y]: [&Buffer; 2],
    d_x: &Buffer,
) -> Result<()> {
    let params = [("len", Size(len)), ("activation", kind(activation))];
    recorder.dispatch(&ACTIVATE_BACKWARD, &params, &[(d_y, len), (y, len), (d_x, len)], fold(len, 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level};
    use crate::reference::activation;

    const ALL: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Relu6];

    fn wide_range(seed: u64, len: usize) -> Vec<f32> {
        let mut values: Vec<f32> = testing::values(seed, len).iter().map(|v| 9.0 * v).collect();
        values.iter_mut().zip([0.0, 6.0, -0.0, 1e-30]).for_each(|(value, edge)| *value = edge);
        values
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn activate_and_activate_backward_match_the_reference() {
        let device = testing::device();
        for len in [0, 1, 63, 64, 65, 131, 1021] {
            let (x, residual, d_y) = (wide_range(1, len), wide_range(2, len), testing::values(3, len));
            let up = |values: &[f32]| Buffer::from_slice(device, "input", values);
            for (activation, has_residual) in ALL.into_iter().flat_map(|a| [(a, false), (a, true)]) {
                let [y, d_x] = [(); 2].map(|()| testing::output(device, len));
                let (x_up, residual_up) = (up(&x), up(&residual));
                let residual_up = has_residual.then_some(&residual_up);
                testing::run(device, |r| activate(r, len, activation, &x_up, residual_up, &y));
                let residual = has_residual.then(|| testing::wide(&residual));
                let mut want = vec![f64::NAN; len];
                activation::activate(activation, &testing::wide(&x), residual.as_deref(), &mut want);
                let got = testing::read_guarded(device, &y);
                testing::assert_close(&format!("{activation:?} of {len}"), &got, &want, Level::Rounding);
                let (d_up, y_up) = (up(&d_y), up(&got));
                testing::run(device, |r| activate_backward(r, len, activation, [&d_up, &y_up], &d_x));
                let mut want = vec![f64::NAN; len];
                activation::activate_backward(
                    activation,
                    &testing::wide(&d_y),
                    &testing::wide(&got),
                    &mut want,
                );
                let got = testing::read_guarded(device, &d_x);
                testing::assert_close(&format!("{activation:?} of {len}"), &got, &want, Level::Exact);
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn another_activation_is_seen_and_nan_stays() {
        let device = testing::device();
        let x = Buffer::from_slice(device, "x", &[9.0_f32, f32::NAN, -1.0]);
        let y = testing::output(device, 3);
        testing::run(device, |r| activate(r, 3, Activation::Relu, &x, None, &y));
        let got = testing::read_guarded(device, &y);
        assert!(got[1].is_nan() && testing::mismatch("relu6", &got[..1], &[6.0], Level::Rounding).is_some());
    }
}
