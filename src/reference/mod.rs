//! The definition of every kernel on the CPU, generic over `f32` and `f64`, in plain loops, written from the
//! equation with the backward pass derived by hand beside the forward one. In `f64` it is the oracle of all
//! engines; in `f32` the CPU engine runs it. Arrays are row-major slices; sizes come first.

pub mod batch;
pub mod classify;
pub mod contrast;
pub mod distill;
#[cfg(test)]
pub(crate) mod golden;
pub mod linear;
pub mod normalize;
pub mod optim;
pub mod reduce;

/// The real numbers that the definitions are written for: `f32` and `f64`.
pub trait Real:
    num_traits::Float
    + num_traits::FromPrimitive
    + std::iter::Sum
    + std::ops::AddAssign
    + Send
    + Sync
    + std::fmt::Debug
    + 'static
{
    /// Rounds a double.
    fn of(value: f64) -> Self;
    /// Widens to a double.
    fn wide(self) -> f64;
    /// `e^x`. In f64 the library's; in f32 a polynomial within 2 units in the last place for x of at most 0, in a form
    /// that the compiler turns into SIMD.
    fn exponential(self) -> Self;
}

impl Real for f32 {
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
    fn of(value: f64) -> Self {
        value as Self
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn exponential(self) -> Self {
        exponential(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
    fn exponential(self) -> Self {
        self.exp()
    }
}

/// `e^x = 2^n e^r` with `n = round(x / ln 2)`, `|r| <= ln 2 / 2`, and the Taylor polynomial of degree 7 for `e^r`, whose
/// remainder is below 2^-28. Results below the smallest normal number become 0; NaN stays NaN.
#[inline]
fn exponential(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few enough bits for n times it to be exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let kept = if x < 88.0 { x } else { 88.0 };
    let kept = if kept > -87.0 { kept } else { -87.0 };
    let n = (kept * LOG2_E + ROUND) - ROUND;
    let r = (kept - n * LN2_HIGH) - n * LN2_LOW;
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let value = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * tail)));
    #[allow(clippy::cast_possible_truncation, reason = "n is an integer between -126 and 127")]
    let exponent = (n as i32 + 127) << 23;
    let power = f32::from_bits(exponent.cast_unsigned());
    let result = if x > 88.0 { f32::INFINITY } else { value * power };
    let result = if x < -87.0 { 0.0 } else { result };
    if x.is_nan() { x } else { result }
}

/// A count as a real number.
pub(crate) fn count<T: Real>(n: usize) -> T {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let value = n as f64;
    T::of(value)
}

#[cfg(test)]
mod golden_losses;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_f32_exponential_is_within_two_units_in_the_last_place_of_the_library() {
        let mut worst = 0.0_f64;
        for i in 0..2_000_000_u32 {
            let x = f32::of(-86.5 * f64::from(i) / 2e6);
            let (got, want) = (f64::from(exponential(x)), f64::from(x).exp());
            let unit = f64::from(f32::from_bits(f32::of(want).to_bits() + 1)) - f64::from(f32::of(want));
            worst = worst.max((got - want).abs() / unit);
        }
        assert!(worst <= 2.0, "{worst} units in the last place");
        assert!(worst > 0.4, "{worst}: the measurement itself must see rounding");
    }

    #[test]
    fn the_f32_exponential_keeps_the_edges() {
        assert!((exponential(0.0) - 1.0).abs() < f32::EPSILON);
        assert!(exponential(f32::NEG_INFINITY) == 0.0 && exponential(-1e9) == 0.0);
        assert!(exponential(f32::INFINITY).is_infinite() && exponential(f32::NAN).is_nan());
        assert!((exponential(80.0) / 80.0_f32.exp() - 1.0).abs() < 1e-6);
    }
}

#[cfg(test)]
pub(crate) mod gradient {
    //! Central differences in `f64` against the hand-derived backward passes.

    use crate::rng::Rng;

    /// Checks `d_x`, the claimed gradient of `loss` at `x`: some coordinates and one random direction.
    /// Returns the first disagreement.
    pub(crate) fn disagreement(
        x: &[f64],
        d_x: &[f64],
        mut loss: impl FnMut(&[f64]) -> f64,
    ) -> Option<String> {
        assert_eq!(x.len(), d_x.len());
        let mut rng = Rng::new(11, 3);
        let mut probe = x.to_vec();
        let scale = d_x.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
        let tolerance = |size: f64| 1e-7 + 1e-5 * size;
        for _ in 0..x.len().min(24) {
            let i = rng.below(x.len());
            let h = 1e-5 * x[i].abs().max(1.0);
            probe[i] = x[i] + h;
            let up = loss(&probe);
            probe[i] = x[i] - h;
            let down = loss(&probe);
            probe[i] = x[i];
            let numeric = (up - down) / (2.0 * h);
            if (numeric - d_x[i]).abs() > tolerance(scale) || !numeric.is_finite() {
                return Some(format!("coordinate {i}: derived {}, numeric {numeric}", d_x[i]));
            }
        }
        let direction: Vec<f64> = x.iter().map(|_| f64::from(rng.normal())).collect();
        let h = 1e-6;
        let at = |sign: f64| x.iter().zip(&direction).map(|(a, d)| a + sign * h * d).collect::<Vec<_>>();
        let numeric = (loss(&at(1.0)) - loss(&at(-1.0))) / (2.0 * h);
        let derived: f64 = d_x.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let size = d_x.iter().zip(&direction).map(|(g, d)| (g * d).abs()).sum::<f64>();
        ((numeric - derived).abs() > tolerance(size))
            .then(|| format!("direction: derived {derived}, numeric {numeric}"))
    }

    /// Fails where [`disagreement`] finds one.
    #[track_caller]
    pub(crate) fn check(what: &str, x: &[f64], d_x: &[f64], loss: impl FnMut(&[f64]) -> f64) {
        if let Some(line) = disagreement(x, d_x, loss) {
            panic!("{what}: {line}");
        }
    }

    /// Seeded values in -1..1.
    pub(crate) fn values(seed: u64, len: usize) -> Vec<f64> {
        let mut rng = Rng::new(seed, 1);
        (0..len).map(|_| f64::from(rng.between(-1.0, 1.0))).collect()
    }

    #[test]
    fn the_check_sees_a_wrong_sign_and_a_swapped_index() {
        let x = values(1, 4);
        let loss = |x: &[f64]| x[0] * x[0] + 3.0 * x[1] * x[2] + x[3];
        let right = [2.0 * x[0], 3.0 * x[2], 3.0 * x[1], 1.0];
        assert_eq!(disagreement(&x, &right, loss), None);
        assert!(disagreement(&x, &[-right[0], right[1], right[2], right[3]], loss).is_some());
        assert!(disagreement(&x, &[right[0], right[2], right[1], right[3]], loss).is_some());
    }
}
