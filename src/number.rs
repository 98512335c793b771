//! Conversions between counts and floating point.

/// A count as `f64`; exact below 2^53.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
#[must_use]
pub fn real(count: usize) -> f64 {
    count as f64
}
