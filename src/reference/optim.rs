//! Optimisers, one parameter tensor at a time, and the moving average of the momentum copies.

use super::Real;

/// Settings of [`sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd<T> {
    /// Share of the old velocity that stays.
    pub momentum: T,
    /// Factor of the weight that is added to the gradient.
    pub weight_decay: T,
}

/// Settings of [`adamw`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW<T> {
    /// Share of the old first moment that stays.
    pub beta1: T,
    /// Share of the old second moment that stays.
    pub beta2: T,
    /// Added to the root of the second moment.
    pub eps: T,
    /// Share of the weight that decays per unit of learning rate.
    pub weight_decay: T,
}

/// Settings of [`lars`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars<T> {
    /// Trust coefficient η: the step's length as a share of the weight's.
    pub trust: T,
    /// Share of the old velocity that stays.
    pub momentum: T,
    /// Factor of the weight that is added to the gradient.
    pub weight_decay: T,
    /// Added to the denominator of the local rate.
    pub eps: T,
    /// Whether the local rate may only shrink the step.
    pub clip: bool,
}

/// `v = μ v + (g + λ w)`, `w -= rate v` (momentum SGD as PyTorch defines it: no dampening, no look-ahead).
pub fn sgd<T: Real>(rate: T, settings: &Sgd<T>, grad: &[T], weight: &mut [T], velocity: &mut [T]) {
    let Sgd { momentum, weight_decay } = *settings;
    for ((w, v), &g) in weight.iter_mut().zip(velocity).zip(grad) {
        *v = momentum * *v + (g + weight_decay * *w);
        *w = *w - rate * *v;
    }
}

/// AdamW (Loshchilov and Hutter 2019, algorithm 2): `w -= rate λ w`, `m = β₁ m + (1 - β₁) g`, `s = β₂ s + (1 - β₂) g²`,
/// `w -= rate (m / c₁) / (√(s / c₂) + ε)` with the corrections `c = 1 - βᵗ` at step t, from 1.
pub fn adamw<T: Real>(
    rate: T,
    settings: &AdamW<T>,
    correction: [T; 2],
    grad: &[T],
    weight: &mut [T],
    [moment1, moment2]: [&mut [T]; 2],
) {
    let AdamW { beta1, beta2, eps, weight_decay } = *settings;
    let keep = T::one() - rate * weight_decay;
    let step = rate / correction[0];
    let root = correction[1].sqrt();
    let moments = moment1.iter_mut().zip(moment2);
    for ((w, (m, s)), &g) in weight.iter_mut().zip(moments).zip(grad) {
        *m = beta1 * *m + (T::one() - beta1) * g;
        *s = beta2 * *s + (T::one() - beta2) * g * g;
        *w = *w * keep - step * *m / (s.sqrt() / root + eps);
    }
}

/// The factor and the decay that [`lars`] applies to a gradient: `local = η ‖w‖ / (‖g‖ + λ ‖w‖ + ε)`, as
/// `min(local / rate, 1)` if clipped. A zero weight or gradient leaves the gradient as it is.
#[must_use]
pub fn lars_factor<T: Real>(rate: T, settings: &Lars<T>, square_sums: [T; 2]) -> [T; 2] {
    let [weight, grad] = square_sums.map(T::sqrt);
    if weight == T::zero() || grad == T::zero() {
        return [T::one(), T::zero()];
    }
    let local = settings.trust * weight / (grad + settings.weight_decay * weight + settings.eps);
    let factor = match settings.clip {
        true if local < rate => local / rate,
        true => T::one(),
        false => local,
    };
    [factor, settings.weight_decay]
}

/// LARS over momentum SGD (You et al. 2017, with clipping): `v = μ v + factor (g + λ w)`, `w -= rate v`, the factor from
/// [`lars_factor`]. `square_sums` are `[Σ w², Σ g²]`. For matrices; vectors take [`sgd`] without decay.
pub fn lars<T: Real>(
    rate: T,
    settings: &Lars<T>,
    square_sums: [T; 2],
    grad: &[T],
    weight: &mut [T],
    velocity: &mut [T],
) {
    let [factor, decay] = lars_factor(rate, settings, square_sums);
    for ((w, v), &g) in weight.iter_mut().zip(velocity).zip(grad) {
        *v = settings.momentum * *v + (g + decay * *w) * factor;
        *w = *w - rate * *v;
    }
}

/// `m = τ m + (1 - τ) w`: the momentum copy of a parameter (`BYOL`, `MoCo`).
pub fn ema<T: Real>(decay: T, online: &[T], momentum: &mut [T]) {
    for (m, &w) in momentum.iter_mut().zip(online) {
        *m = decay * *m + (T::one() - decay) * w;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::values;
    use crate::reference::reduce::square_sum;

    const LARS: Lars<f64> = Lars { trust: 0.02, momentum: 0.9, weight_decay: 1e-5, eps: 1e-8, clip: true };

    #[test]
    fn sgd_by_hand() {
        let settings = Sgd { momentum: 0.5, weight_decay: 0.25 };
        let (mut w, mut v) = ([2.0, -4.0], [1.0, 0.0]);
        sgd(0.1, &settings, &[1.0, 3.0], &mut w, &mut v);
        assert_eq!((w, v), ([1.8, -4.2], [2.0, 2.0]));
    }

    #[test]
    fn the_first_adamw_step_is_the_rate_whatever_the_gradient() {
        let settings = AdamW { beta1: 0.9, beta2: 0.999, eps: 0.0, weight_decay: 0.0 };
        let (mut w, mut m, mut s) = ([1.0; 3], [0.0; 3], [0.0; 3]);
        adamw(0.01, &settings, [0.1, 0.001], &[1e-3, -5.0, 80.0], &mut w, [&mut m, &mut s]);
        let want = [0.99, 1.01, 0.99];
        assert!(w.iter().zip(want).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn a_clipped_lars_step_never_exceeds_that_of_sgd_and_zero_norms_change_nothing() {
        assert_eq!(lars_factor(1e-9, &LARS, [4.0, 1.0])[0], 1.0);
        let [factor, _] = lars_factor(1.0, &LARS, [4.0, 1.0]);
        assert!((factor - 0.04 / (1.0 + 2e-5 + 1e-8)).abs() < 1e-15);
        assert_eq!(lars_factor(1.0, &LARS, [0.0, 1.0]), [1.0, 0.0]);
        assert_eq!(lars_factor(1.0, &LARS, [1.0, 0.0]), [1.0, 0.0]);
        assert_eq!(lars_factor(0.0, &LARS, [1.0, 1.0])[0], 1.0);
    }

    #[test]
    fn ema_ends_are_the_copy_and_the_online_weight() {
        let (online, start) = (values(1, 5), values(2, 5));
        for (decay, want) in [(1.0, &start), (0.0, &online)] {
            let mut momentum = start.clone();
            ema(decay, &online, &mut momentum);
            assert_eq!(&momentum, want);
        }
    }

    #[test]
    fn poison_stays_visible() {
        for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let grad = [1.0, poison];
            let (mut w, mut v) = ([1.0; 2], [0.0; 2]);
            lars(0.1, &LARS, [2.0, square_sum(&grad)], &grad, &mut w, &mut v);
            assert!(!w[1].is_finite(), "lars {poison}");
            let settings = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
            let (mut w, mut m, mut s) = ([1.0; 2], [0.0; 2], [0.0; 2]);
            adamw(0.1, &settings, [0.1, 0.001], &grad, &mut w, [&mut m, &mut s]);
            assert!(!w[1].is_finite() && w[0].is_finite(), "adamw {poison}");
            let mut w = [1.0; 2];
            sgd(0.1, &Sgd { momentum: 0.9, weight_decay: 0.0 }, &grad, &mut w, &mut v);
            assert!(!w[1].is_finite(), "sgd {poison}");
            let mut copy = [0.0; 2];
            ema(0.99, &grad, &mut copy);
            assert!(!copy[1].is_finite() && copy[0].is_finite(), "ema {poison}");
        }
    }

    mod golden {
        use super::*;
        use crate::reference::golden::Case;

        /// Worst relative error over five steps of both tensors.
        fn worst(name: &str, step: impl Fn(usize, bool, &[f64], &mut [f64], &mut [Vec<f64>; 2])) -> f64 {
            let case = Case::open(name);
            let mut worst = 0.0_f64;
            for (tensor, matrix) in [("weight", true), ("bias", false)] {
                let mut weight = case.values(&format!("input.{tensor}"));
                let mut state = [vec![0.0; weight.len()], vec![0.0; weight.len()]];
                for t in 0..5 {
                    let grad = case.values(&format!("input.grad_{tensor}.{t}"));
                    step(t, matrix, &grad, &mut weight, &mut state);
                    worst = worst.max(case.error(&format!("expected.{tensor}.{t}"), &weight));
                }
            }
            worst
        }

        #[test]
        fn golden_sgd() {
            let settings = |momentum| Sgd { momentum, weight_decay: 1e-4 };
            let run = |momentum| {
                worst("sgd_momentum", |_, _, g, w, s| {
                    sgd(0.1, &settings(momentum), g, w, &mut s[0]);
                })
            };
            assert!(run(0.9) < 1e-9, "{:e}", run(0.9));
            assert!(run(0.8) > 1e-3, "a wrong momentum goes unseen");
        }

        #[test]
        fn golden_adamw() {
            let settings = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
            let error = worst("adamw", |t, _, g, w, [m, s]| {
                let t = i32::try_from(t + 1).unwrap();
                let correction = [1.0 - 0.9_f64.powi(t), 1.0 - 0.999_f64.powi(t)];
                adamw(1e-3, &settings, correction, g, w, [m, s]);
            });
            assert!(error < 1e-9, "{error:e}");
        }

        #[test]
        fn golden_lars() {
            let plain = Sgd { momentum: 0.9, weight_decay: 0.0 };
            let error = worst("lars_sgd", |_, matrix, g, w, s| {
                if matrix {
                    let norms = [square_sum(w), square_sum(g)];
                    lars(1.0, &LARS, norms, g, w, &mut s[0]);
                } else {
                    sgd(1.0, &plain, g, w, &mut s[0]);
                }
            });
            assert!(error < 1e-9, "{error:e}");
        }
    }
}
