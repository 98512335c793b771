//! The numbers that the definitions are written for.

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
    /// `e^x`. In f64 the library's; in f32 a polynomial within 2 units in the last place for x of
    /// at most 0, in a form that the compiler turns into SIMD.
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

/// `e^x = 2^n e^r` with `n = round(x / ln 2)`, `|r| <= ln 2 / 2`, and the Taylor polynomial of
/// degree 7 for `e^r`, whose remainder is below 2^-28. Results below the smallest normal number
/// become 0; NaN stays NaN.
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
pub(super) fn count<T: Real>(n: usize) -> T {
    T::of(crate::number::real(n))
}

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
