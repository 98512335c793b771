//! Optimisers, one parameter tensor at a time, and the moving average of the momentum copies.

use super::real::Real;

/// LARS: added to the denominator of the local rate, as in the authors' code.
pub const LARS_EPS: f64 = 1e-8;

/// Settings of `sgd`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Share of the old velocity that stays.
    pub momentum: f64,
    /// Factor of the weight that is added to the gradient.
    pub weight_decay: f64,
}

/// Settings of `adamw`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Share of the old first moment that stays.
    pub beta1: f64,
    /// Share of the old second moment that stays.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the weight that decays per unit of learning rate.
    pub weight_decay: f64,
}

/// Settings of `lars`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// Trust coefficient η: the step's length as a share of the weight's.
    pub trust: f64,
    /// Share of the old velocity that stays.
    pub momentum: f64,
    /// Factor of the weight that is added to the gradient.
    pub weight_decay: f64,
    /// Added to the denominator of the local rate.
    pub eps: f64,
}

impl AdamW {
    /// Bias corrections `1 - β₁ᵗ` and `1 - β₂ᵗ` of the step that follows `taken` steps,
    /// `t = taken + 1`.
    #[must_use]
    pub fn corrections(&self, taken: u64) -> [f64; 2] {
        let t = i32::try_from(taken.saturating_add(1)).unwrap_or(i32::MAX);
        [self.beta1, self.beta2].map(|beta| 1.0 - beta.powi(t))
    }
}

/// `v = μ v + (g + λ w)`, `w -= rate v` (momentum SGD as PyTorch defines it: no dampening, no
/// look-ahead).
pub(crate) fn sgd<T: Real>(rate: f64, settings: &Sgd, grad: &[T], weight: &mut [T], velocity: &mut [T]) {
    let [rate, momentum, weight_decay] = [rate, settings.momentum, settings.weight_decay].map(T::of);
    for ((w, v), &g) in weight.iter_mut().zip(velocity).zip(grad) {
        *v = momentum * *v + (g + weight_decay * *w);
        *w = *w - rate * *v;
    }
}

/// AdamW (Loshchilov and Hutter 2019, algorithm 2): `w -= rate λ w`, `m = β₁ m + (1 - β₁) g`,
/// `s = β₂ s + (1 - β₂) g²`, `w -= rate (m / c₁) / (√(s / c₂) + ε)` with the `corrections` c.
pub(crate) fn adamw<T: Real>(
    rate: f64,
    settings: &AdamW,
    corrections: [f64; 2],
    grad: &[T],
    [weight, moment1, moment2]: [&mut [T]; 3],
) {
    let AdamW { beta1, beta2, eps, weight_decay } = *settings;
    let [beta1, beta2, eps, weight_decay] = [beta1, beta2, eps, weight_decay].map(T::of);
    let [rate, correction1, correction2] = [rate, corrections[0], corrections[1]].map(T::of);
    let keep = T::one() - rate * weight_decay;
    let step = rate / correction1;
    let root = correction2.sqrt();
    for ((w, (m, s)), &g) in weight.iter_mut().zip(moment1.iter_mut().zip(moment2)).zip(grad) {
        *m = beta1 * *m + (T::one() - beta1) * g;
        *s = beta2 * *s + (T::one() - beta2) * g * g;
        *w = *w * keep - step * *m / (s.sqrt() / root + eps);
    }
}

/// The factor and the decay that [`lars`] applies to a gradient: `min(local / rate, 1)` and λ with
/// `local = η ‖w‖ / (‖g‖ + λ ‖w‖ + ε)`. A zero weight or gradient leaves the gradient as it is.
fn lars_factor<T: Real>(rate: T, settings: &Lars, square_sums: [T; 2]) -> [T; 2] {
    let [weight, grad] = square_sums.map(T::sqrt);
    if weight == T::zero() || grad == T::zero() {
        return [T::one(), T::zero()];
    }
    let [trust, decay, eps] = [settings.trust, settings.weight_decay, settings.eps].map(T::of);
    let local = trust * weight / (grad + decay * weight + eps);
    [if local < rate { local / rate } else { T::one() }, decay]
}

/// LARS over momentum SGD (You et al. 2017), clipped so that it only shrinks a step:
/// `v = μ v + factor (g + λ w)`, `w -= rate v` with `factor = min(local / rate, 1)`,
/// `local = η ‖w‖ / (‖g‖ + λ ‖w‖ + ε)`; factor 1 and no decay if ‖w‖ or ‖g‖ is 0. `square_sums`
/// `[2]` are `Σ w²` and `Σ g²`. For matrices; vectors take [`sgd`] without decay.
pub(crate) fn lars<T: Real>(
    rate: f64,
    settings: &Lars,
    square_sums: [T; 2],
    grad: &[T],
    weight: &mut [T],
    velocity: &mut [T],
) {
    let [rate, momentum] = [rate, settings.momentum].map(T::of);
    let [factor, decay] = lars_factor(rate, settings, square_sums);
    for ((w, v), &g) in weight.iter_mut().zip(velocity).zip(grad) {
        *v = momentum * *v + (g + decay * *w) * factor;
        *w = *w - rate * *v;
    }
}

/// `m = τ m + (1 - τ) w`: the momentum copy of a parameter (`BYOL`, `MoCo`).
pub(crate) fn ema<T: Real>(decay: f64, online: &[T], momentum: &mut [T]) {
    let decay = T::of(decay);
    for (m, &w) in momentum.iter_mut().zip(online) {
        *m = decay * *m + (T::one() - decay) * w;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::reduce::square_sum;
    use crate::reference::testing::values;

    const LARS: Lars = Lars { trust: 0.02, momentum: 0.9, weight_decay: 1e-5, eps: LARS_EPS };

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
        adamw(0.01, &settings, settings.corrections(0), &[1e-3, -5.0, 80.0], [&mut w, &mut m, &mut s]);
        let want = [0.99, 1.01, 0.99];
        assert!(w.iter().zip(want).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn a_clipped_lars_step_never_exceeds_that_of_sgd_and_zero_norms_change_nothing() {
        assert_eq!(lars_factor(1e-9, &LARS, [4.0, 1.0])[0], 1.0);
        let [factor, _]: [f64; 2] = lars_factor(1.0, &LARS, [4.0, 1.0]);
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
            adamw(0.1, &settings, [0.1, 0.001], &grad, [&mut w, &mut m, &mut s]);
            assert!(!w[1].is_finite() && w[0].is_finite(), "adamw {poison}");
            let mut w = [1.0; 2];
            sgd(0.1, &Sgd { momentum: 0.9, weight_decay: 0.0 }, &grad, &mut w, &mut v);
            assert!(!w[1].is_finite(), "sgd {poison}");
            let mut copy = [0.0; 2];
            ema(0.99, &grad, &mut copy);
            assert!(!copy[1].is_finite() && copy[0].is_finite(), "ema {poison}");
        }
    }
}
