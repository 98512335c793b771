//! Optimisers, one parameter tensor a dispatch: `optim/*`. Definitions in `reference::optim`.

use crate::Result;
use crate::gpu::buffer::Buffer;
use crate::gpu::kernel::{Kernel, kernel};
use crate::gpu::recorder::Param::{Flag, Number, Size};
use crate::gpu::recorder::{Recorder, fold};
use crate::reference::optim::{AdamW, Lars, Sgd};

const ADAMW: Kernel = kernel!("optim/adamw");
const EMA: Kernel = kernel!("optim/ema");
const LARS: Kernel = kernel!("optim/lars");
const SGD: Kernel = kernel!("optim/sgd");

/// Elements of a tensor, and which learning rate of the step's `hyper` it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor {
    /// Elements.
    pub len: usize,
    /// `hyper.classifier_rate` instead of `hyper.learning_rate`.
    pub is_classifier: bool,
    /// Factor of the rate.
    pub rate_scale: f64,
}

/// Records a step of momentum SGD.
pub(crate) fn sgd(
    recorder: &mut Recorder<'_>,
    Tensor { len, is_classifier, rate_scale }: Tensor,
    settings: &Sgd,
    grad: &Buffer,
    [weight, velocity]: [&Buffer; 2],
) -> Result<()> {
    let params = [
        ("len", Size(len)),
        ("classifier", Flag(is_classifier)),
        ("momentum", Number(settings.momentum)),
        ("weight_decay", Number(settings.weight_decay)),
        ("rate_scale", Number(rate_scale)),
    ];
    let buffers = [grad, weight, velocity].map(|buffer| (buffer, len));
    recorder.dispatch(&SGD, &params, &buffers, fold(len, 64))
}

/// Records a step of AdamW, its bias corrections taken from the step's `hyper`.
pub(crate) fn adamw(
    recorder: &mut Recorder<'_>,
    Tensor { len, is_classifier, rate_scale }: Tensor,
    settings: &AdamW,
    grad: &Buffer,
    [weight, moment1, moment2]: [&Buffer; 3],
) -> Result<()> {
    let params = [
        ("len", Size(len)),
        ("classifier", Flag(is_classifier)),
        ("beta1", Number(settings.beta1)),
        ("beta2", Number(settings.beta2)),
        ("eps", Number(settings.eps)),
        ("weight_decay", Number(settings.weight_decay)),
        ("rate_scale", Number(rate_scale)),
    ];
    let buffers = [grad, weight, moment1, moment2].map(|buffer| (buffer, len));
    recorder.dispatch(&ADAMW, &params, &buffers, fold(len, 64))
}

/// Records a step of LARS on a matrix. `norms` `[2]` are `Σ w²` and `Σ g²`, written before by
/// [`square_sum`](super::reduce::square_sum).
pub(crate) fn lars(
    recorder: &mut Recorder<'_>,
    Tensor { len, is_classifier, rate_scale }: Tensor,
    settings: &Lars,
    [grad, norms]: [&Buffer; 2],
    [weight, velocity]: [&Buffer; 2],
) -> Result<()> {
    let params = [
        ("len", Size(len)),
        ("classifier", Flag(is_classifier)),
        ("trust", Number(settings.trust)),
        ("momentum", Number(settings.momentum)),
        ("weight_decay", Number(settings.weight_decay)),
        ("eps", Number(settings.eps)),
        ("rate_scale", Number(rate_scale)),
    ];
    let buffers = [(grad, len), (norms, 2), (weight, len), (velocity, len)];
    recorder.dispatch(&LARS, &params, &buffers, fold(len, 64))
}

/// Records `momentum = τ momentum + (1 - τ) online` on the first `len` elements, τ from
/// `hyper.momentum_decay`.
pub(crate) fn ema(recorder: &mut Recorder<'_>, len: usize, online: &Buffer, momentum: &Buffer) -> Result<()> {
    let buffers = [(online, len), (momentum, len)];
    recorder.dispatch(&EMA, &[("len", Size(len))], &buffers, fold(len, 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{self, Level};
    use crate::gpu::{Device, Hyper};
    use crate::reference::optim;

    const LENGTHS: [usize; 7] = [0, 1, 63, 64, 65, 131, 1021];

    // Powers of two and sums of few of them, and so the same in both precisions.
    const SGD: Sgd = Sgd { momentum: 0.875, weight_decay: 0.0625 };
    const ADAMW: AdamW = AdamW { beta1: 0.875, beta2: 0.984_375, eps: 1.0 / 65_536.0, weight_decay: 0.0625 };
    const LARS: Lars = Lars { trust: 0.125, momentum: 0.875, weight_decay: 0.0625, eps: 1.0 / 134_217_728.0 };

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

    /// Runs three steps on gradients and state of `len` values; returns each state tensor as
    /// `(got, want)`.
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
            testing::run_with(device, hyper(), |r| record(r, &input, buffers.each_ref()));
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
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn sgd_matches_the_reference_and_the_wrong_rate_is_seen() {
        let device = testing::device();
        for len in LENGTHS {
            for (is_classifier, rate) in [(false, 0.5), (true, 0.25)] {
                let run = |rate| {
                    steps(
                        device,
                        len,
                        |r, grad, state| {
                            sgd(r, Tensor { len, is_classifier, rate_scale: 0.5 }, &SGD, grad, state)
                        },
                        |grad, [w, v]| optim::sgd(0.5 * rate, &SGD, grad, w, v),
                    )
                };
                assert_steps("sgd", &run(rate));
                if len > 0 {
                    let (got, want) = &run(0.75 - rate)[0];
                    assert!(testing::mismatch("rate", got, want, Level::Rounding).is_some());
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn adamw_matches_the_reference() {
        let device = testing::device();
        for len in LENGTHS {
            let states = steps(
                device,
                len,
                |r, grad, state| {
                    adamw(r, Tensor { len, is_classifier: true, rate_scale: 2.0 }, &ADAMW, grad, state)
                },
                |grad, state| optim::adamw(0.5, &ADAMW, [0.125, 0.015_625], grad, state),
            );
            assert_steps("adamw", &states);
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn lars_matches_the_reference_clipped_or_not_and_with_zero_norms() {
        let device = testing::device();
        for len in LENGTHS {
            for sums in [[4.0_f32, 9.0], [900.0, 0.25], [0.0, 1.0], [1.0, 0.0]] {
                let norms = Buffer::from_slice(device, "norms", &sums);
                let tensor = Tensor { len, is_classifier: false, rate_scale: 0.5 };
                let states = steps(
                    device,
                    len,
                    |r, grad, state| lars(r, tensor, &LARS, [grad, &norms], state),
                    |grad, [w, v]| optim::lars(0.25, &LARS, sums.map(f64::from), grad, w, v),
                );
                assert_steps(&format!("lars {sums:?}"), &states);
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn ema_matches_the_reference() {
        let device = testing::device();
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
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn poison_in_a_gradient_stays_visible_in_the_weight() {
        let device = testing::device();
        let tensor = Tensor { len: 2, is_classifier: false, rate_scale: 1.0 };
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let grad = Buffer::from_slice(device, "grad", &[0.5, poison]);
            let norms = Buffer::from_slice(device, "norms", &[1.0, poison.abs()]);
            let weights = [0; 4].map(|_| testing::in_place(device, &[1.0, 1.0]));
            let state = [0; 4].map(|_| Buffer::zeroed(device, "state", 2));
            testing::run_with(device, hyper(), |r| {
                sgd(r, tensor, &SGD, &grad, [&weights[0], &state[0]])?;
                adamw(r, tensor, &ADAMW, &grad, [&weights[1], &state[1], &state[2]])?;
                lars(r, tensor, &LARS, [&grad, &norms], [&weights[2], &state[3]])?;
                ema(r, 2, &grad, &weights[3])
            });
            for (kernel, weight) in ["sgd", "adamw", "lars", "ema"].iter().zip(&weights) {
                let got = testing::read_guarded(device, weight);
                assert!(!got[1].is_finite(), "{kernel} {poison}: {got:?}");
            }
        }
    }

    #[test]
    #[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
    fn a_buffer_that_is_too_small_is_refused() {
        let device = testing::device();
        let (small, large) = (Buffer::zeroed(device, "small", 3), Buffer::zeroed(device, "large", 4));
        let mut recorder = Recorder::new(device, 1).unwrap();
        let r = &mut recorder;
        let tensor = Tensor { len: 4, is_classifier: false, rate_scale: 1.0 };
        let one = Buffer::zeroed(device, "one", 1);
        let refused = |result| assert!(matches!(result, Err(crate::Error::Shape { .. })));
        refused(sgd(r, tensor, &SGD, &large, [&large, &small]));
        refused(adamw(r, tensor, &ADAMW, &large, [&large, &large, &small]));
        refused(lars(r, tensor, &LARS, [&large, &small], [&large, &small]));
        refused(lars(r, tensor, &LARS, [&large, &one], [&large, &large]));
        refused(ema(r, 4, &large, &small));
    }
}
