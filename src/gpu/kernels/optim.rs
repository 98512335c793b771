//! Optimisers, one parameter tensor a dispatch: `optim/*`. Definitions in `reference::optim`.

use crate::Result;
use crate::gpu::plan::{fold, size};
use crate::gpu::{Buffer, Recorder};
use crate::reference::optim::{AdamW, Lars, Sgd};

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[
    ("optim/adamw", include_str!("../../../shaders/optim/adamw.wgsl")),
    ("optim/ema", include_str!("../../../shaders/optim/ema.wgsl")),
    ("optim/lars", include_str!("../../../shaders/optim/lars.wgsl")),
    ("optim/sgd", include_str!("../../../shaders/optim/sgd.wgsl")),
];

/// Which learning rate of the step's `hyper` a tensor takes, and its factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// `hyper.classifier_rate` instead of `hyper.learning_rate`.
    pub classifier: bool,
    /// Factor of it.
    pub scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SgdParams {
    len: u32,
    classifier: u32,
    rate_scale: f32,
    momentum: f32,
    weight_decay: f32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct AdamWParams {
    len: u32,
    classifier: u32,
    rate_scale: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    _pad0: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LarsParams {
    len: u32,
    classifier: u32,
    clip: u32,
    weight_slot: u32,
    grad_slot: u32,
    rate_scale: f32,
    trust_coefficient: f32,
    momentum: f32,
    weight_decay: f32,
    eps: f32,
    _pad0: u32,
    _pad1: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct EmaParams {
    len: u32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

fn dispatch<P: bytemuck::NoUninit>(
    recorder: &mut Recorder<'_>,
    kernel: &str,
    params: &P,
    len: usize,
    tensors: &[&Buffer],
) -> Result<()> {
    recorder.dispatch(kernel, bytemuck::bytes_of(params), tensors, &[], fold(len, 64))
}

fn all_at_least(kernel: &str, len: usize, tensors: &[(&str, &Buffer)]) -> Result<()> {
    tensors.iter().try_for_each(|(name, buffer)| buffer.at_least(&format!("{kernel} {name}"), len))
}

/// Records a step of momentum SGD on the first `len` elements; `state` is `[weight, velocity]`.
///
/// # Errors
/// [`crate::Error::Shape`] if a buffer is too small, [`crate::Error::Device`] if the shader is refused.
pub fn sgd(
    recorder: &mut Recorder<'_>,
    len: usize,
    rate: Rate,
    settings: &Sgd<f32>,
    grad: &Buffer,
    [weight, velocity]: [&Buffer; 2],
) -> Result<()> {
    let tensors = [("grad", grad), ("weight", weight), ("velocity", velocity)];
    all_at_least("sgd", len, &tensors)?;
    let params = SgdParams {
        len: size("len", len)?,
        classifier: u32::from(rate.classifier),
        rate_scale: rate.scale,
        momentum: settings.momentum,
        weight_decay: settings.weight_decay,
        _pad0: 0,
        _pad1: 0,
        _pad2: 0,
    };
    dispatch(recorder, "optim/sgd", &params, len, &tensors.map(|(_, b)| b))
}

/// Records a step of AdamW on the first `len` elements; `state` is `[weight, moment1, moment2]`.
///
/// # Errors
/// As [`sgd`].
pub fn adamw(
    recorder: &mut Recorder<'_>,
    len: usize,
    rate: Rate,
    settings: &AdamW<f32>,
    grad: &Buffer,
    [weight, moment1, moment2]: [&Buffer; 3],
) -> Result<()> {
    let tensors = [("grad", grad), ("weight", weight), ("moment1", moment1), ("moment2", moment2)];
    all_at_least("adamw", len, &tensors)?;
    let params = AdamWParams {
        len: size("len", len)?,
        classifier: u32::from(rate.classifier),
        rate_scale: rate.scale,
        beta1: settings.beta1,
        beta2: settings.beta2,
        eps: settings.eps,
        weight_decay: settings.weight_decay,
        _pad0: 0,
    };
    dispatch(recorder, "optim/adamw", &params, len, &tensors.map(|(_, b)| b))
}

/// Records a step of LARS on the first `len` elements of a matrix. `slots` are the places of `Σ w²` and `Σ g²` in
/// `norms`, written before by [`super::reduce::square_sum`]; `state` is `[weight, velocity]`.
///
/// # Errors
/// As [`sgd`].
pub fn lars(
    recorder: &mut Recorder<'_>,
    len: usize,
    rate: Rate,
    settings: &Lars<f32>,
    grad: &Buffer,
    (norms, slots): (&Buffer, [usize; 2]),
    [weight, velocity]: [&Buffer; 2],
) -> Result<()> {
    all_at_least("lars", len, &[("grad", grad), ("weight", weight), ("velocity", velocity)])?;
    norms.at_least("lars norms", slots[0].max(slots[1]) + 1)?;
    let params = LarsParams {
        len: size("len", len)?,
        classifier: u32::from(rate.classifier),
        clip: u32::from(settings.clip),
        weight_slot: size("weight_slot", slots[0])?,
        grad_slot: size("grad_slot", slots[1])?,
        rate_scale: rate.scale,
        trust_coefficient: settings.trust,
        momentum: settings.momentum,
        weight_decay: settings.weight_decay,
        eps: settings.eps,
        _pad0: 0,
        _pad1: 0,
    };
    dispatch(recorder, "optim/lars", &params, len, &[grad, norms, weight, velocity])
}

/// Records `momentum = τ momentum + (1 - τ) online` on the first `len` elements, τ from `hyper.momentum_decay`.
///
/// # Errors
/// As [`sgd`].
pub fn ema(recorder: &mut Recorder<'_>, len: usize, online: &Buffer, momentum: &Buffer) -> Result<()> {
    all_at_least("ema", len, &[("online", online), ("momentum", momentum)])?;
    let params = EmaParams { len: size("len", len)?, _pad0: 0, _pad1: 0, _pad2: 0 };
    dispatch(recorder, "optim/ema", &params, len, &[online, momentum])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level, fields};
    use crate::gpu::{Device, Hyper};
    use crate::reference::optim;

    const LENGTHS: [usize; 7] = [0, 1, 63, 64, 65, 131, 1021];

    const SGD: Sgd<f32> = Sgd { momentum: 0.875, weight_decay: 0.0625 };
    const ADAMW: AdamW<f32> =
        AdamW { beta1: 0.875, beta2: 0.984_375, eps: 0.000_015_258_789, weight_decay: 0.0625 };
    const LARS: Lars<f32> =
        Lars { trust: 0.125, momentum: 0.875, weight_decay: 0.0625, eps: 1e-8, clip: true };

    fn hyper() -> Hyper {
        Hyper {
            learning_rate: 0.5,
            classifier_rate: 0.25,
            momentum_decay: 0.9375,
            adam_correction1: 0.125,
            adam_correction2: 0.015_625,
            ..Hyper::default()
        }
    }

    fn wide_lars(l: &Lars<f32>) -> Lars<f64> {
        let [trust, momentum, weight_decay, eps] =
            [l.trust, l.momentum, l.weight_decay, l.eps].map(f64::from);
        Lars { trust, momentum, weight_decay, eps, clip: l.clip }
    }

    /// Runs three steps on gradients and state of `len` values; returns each state tensor as `(got, want)`.
    fn steps<const N: usize>(
        device: &Device,
        len: usize,
        record: impl Fn(&mut Recorder<'_>, &Buffer, [&Buffer; N]) -> Result<()>,
        define: impl Fn(&[f64], [&mut [f64]; N]),
    ) -> Vec<(Vec<f32>, Vec<f64>)> {
        let start: [Vec<f32>; N] = std::array::from_fn(|i| {
            let values = testing::values(i as u64, len);
            if i == 2 { values.iter().map(|v| v * v).collect() } else { values }
        });
        let buffers = start.each_ref().map(|values| testing::in_place(device, values));
        let mut want = start.map(|values| testing::wide(&values));
        for t in 0..3 {
            let grad = testing::values(10 + t, len);
            let input = Buffer::from_slice(device, "grad", &grad);
            testing::run(device, hyper().as_ref(), |r| record(r, &input, buffers.each_ref()));
            define(&testing::wide(&grad), want.each_mut().map(|v| &mut v[..]));
        }
        buffers.iter().map(|buffer| testing::read_guarded(device, buffer)).zip(want).collect()
    }

    fn assert_steps(what: &str, states: &[(Vec<f32>, Vec<f64>)]) {
        for (i, (got, want)) in states.iter().enumerate() {
            testing::assert_close(&format!("{what} {i}"), got, want, Level::Rounding);
        }
    }

    #[test]
    fn params_have_the_layout_of_the_shaders() {
        testing::assert_layout::<SgdParams>(
            "optim/sgd",
            fields!(SgdParams: len, classifier, rate_scale, momentum, weight_decay),
        );
        testing::assert_layout::<AdamWParams>(
            "optim/adamw",
            fields!(AdamWParams: len, classifier, rate_scale, beta1, beta2, eps, weight_decay),
        );
        testing::assert_layout::<LarsParams>(
            "optim/lars",
            fields!(LarsParams: len, classifier, clip, weight_slot, grad_slot, rate_scale, trust_coefficient,
                momentum, weight_decay, eps),
        );
        testing::assert_layout::<EmaParams>("optim/ema", fields!(EmaParams: len));
    }

    #[test]
    fn sgd_matches_the_reference_and_the_wrong_rate_is_seen() {
        let Some(device) = testing::device() else { return };
        let settings = Sgd { momentum: 0.875, weight_decay: 0.0625 };
        for len in LENGTHS {
            for (classifier, rate) in [(false, 1.0), (true, 0.5)] {
                let chosen = Rate { classifier, scale: 2.0 };
                let run = |rate| {
                    steps(
                        device,
                        len,
                        |r, grad, state| sgd(r, len, chosen, &SGD, grad, state),
                        |grad, [w, v]| optim::sgd(rate, &settings, grad, w, v),
                    )
                };
                assert_steps("sgd", &run(rate));
                if len > 0 {
                    let (got, want) = &run(1.5 - rate)[0];
                    assert!(testing::mismatch("rate", got, want, Level::Rounding).is_some());
                }
            }
        }
    }

    #[test]
    fn adamw_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        let [beta1, beta2, eps, weight_decay] =
            [ADAMW.beta1, ADAMW.beta2, ADAMW.eps, ADAMW.weight_decay].map(f64::from);
        let settings = AdamW { beta1, beta2, eps, weight_decay };
        let rate = Rate { classifier: true, scale: 1.0 };
        for len in LENGTHS {
            let states = steps(
                device,
                len,
                |r, grad, state| adamw(r, len, rate, &ADAMW, grad, state),
                |grad, [w, m, s]| optim::adamw(0.25, &settings, [0.125, 0.015_625], grad, w, [m, s]),
            );
            assert_steps("adamw", &states);
        }
    }

    #[test]
    fn lars_matches_the_reference_clipped_or_not_and_with_zero_norms() {
        let Some(device) = testing::device() else { return };
        let rate = Rate { classifier: false, scale: 1.0 };
        for len in LENGTHS {
            for (sums, clip) in [
                ([4.0_f32, 9.0], true),
                ([4.0, 9.0], false),
                ([900.0, 0.25], true),
                ([0.0, 1.0], true),
                ([1.0, 0.0], false),
            ] {
                let settings = Lars { clip, ..LARS };
                let norms = Buffer::from_slice(device, "norms", &[7.0, sums[1], 7.0, sums[0]]);
                let states = steps(
                    device,
                    len,
                    |r, grad, state| lars(r, len, rate, &settings, grad, (&norms, [3, 1]), state),
                    |grad, [w, v]| {
                        let sums = sums.map(f64::from);
                        optim::lars(0.5, &wide_lars(&settings), sums, grad, w, v);
                    },
                );
                assert_steps(&format!("lars {sums:?} {clip}"), &states);
            }
        }
    }

    #[test]
    fn ema_matches_the_reference() {
        let Some(device) = testing::device() else { return };
        for len in LENGTHS {
            let states = steps(
                device,
                len,
                |r, online, [momentum]| ema(r, len, online, momentum),
                |online, [momentum]| optim::ema(0.9375, online, momentum),
            );
            assert_steps("ema", &states);
        }
    }

    #[test]
    fn poison_in_a_gradient_stays_visible_in_the_weight() {
        let Some(device) = testing::device() else { return };
        let rate = Rate { classifier: false, scale: 1.0 };
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let grad = Buffer::from_slice(device, "grad", &[0.5, poison]);
            let norms = Buffer::from_slice(device, "norms", &[1.0, poison.abs()]);
            let weights = [0; 4].map(|_| testing::in_place(device, &[1.0, 1.0]));
            let state = [0; 4].map(|_| Buffer::zeroed(device, "state", 2));
            testing::run(device, hyper().as_ref(), |r| {
                sgd(r, 2, rate, &SGD, &grad, [&weights[0], &state[0]])?;
                adamw(r, 2, rate, &ADAMW, &grad, [&weights[1], &state[1], &state[2]])?;
                lars(r, 2, rate, &LARS, &grad, (&norms, [0, 1]), [&weights[2], &state[3]])?;
                ema(r, 2, &grad, &weights[3])
            });
            for (kernel, weight) in ["sgd", "adamw", "lars", "ema"].iter().zip(&weights) {
                let got = testing::read_guarded(device, weight);
                assert!(!got[1].is_finite(), "{kernel} {poison}: {got:?}");
            }
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_refused() {
        let Some(device) = testing::device() else { return };
        let (small, large) = (Buffer::zeroed(device, "small", 3), Buffer::zeroed(device, "large", 4));
        let mut recorder = Recorder::new(device, 1);
        let r = &mut recorder;
        let rate = Rate { classifier: false, scale: 1.0 };
        let refused = |result| assert!(matches!(result, Err(crate::Error::Shape { .. })));
        refused(sgd(r, 4, rate, &SGD, &large, [&large, &small]));
        refused(adamw(r, 4, rate, &ADAMW, &large, [&large, &large, &small]));
        refused(lars(r, 4, rate, &LARS, &large, (&small, [0, 1]), [&large, &small]));
        refused(lars(r, 3, rate, &LARS, &large, (&small, [0, 3]), [&large, &small]));
        refused(ema(r, 4, &large, &small));
    }
}
