//! Learning rates and EMA decay over the steps of one task; both start anew at each task.

use std::f64::consts::PI;

use crate::number::real;

/// Linear warm-up from `start` to `peak` over `warmup` steps, then half a cosine down to 0 at
/// `total` (the paper's scripts, per epoch; here per step).
#[must_use]
pub(crate) fn warmup_cosine(step: usize, total: usize, warmup: usize, start: f64, peak: f64) -> f64 {
    if step < warmup {
        return if warmup == 1 { peak } else { start + (peak - start) * real(step) / real(warmup - 1) };
    }
    let rest = total.saturating_sub(warmup).max(1);
    peak / 2.0 * (1.0 + (PI * real((step - warmup).min(rest)) / real(rest)).cos())
}

/// EMA decay of the momentum copies, rising along a cosine from `base` to `last` over a task's
/// steps.
#[must_use]
pub(crate) fn momentum_decay(step: usize, total: usize, base: f64, last: f64) -> f64 {
    last - (last - base) * ((PI * real(step) / real(total.max(1))).cos() + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_equal_the_reference_values() {
        let rates =
            [(0, 0.003), (1, 0.113_778), (5, 0.556_889), (9, 1.0), (10, 1.0), (255, 0.5), (499, 0.000_010)];
        for (epoch, want) in rates {
            let got = warmup_cosine(epoch, 500, 10, 0.003, 1.0);
            assert!((got - want).abs() < 1e-6, "epoch {epoch}: {got}, expected {want}");
        }
        assert!((warmup_cosine(1, 500, 10, 0.003, 0.1) - 0.013_778).abs() < 1e-6);
    }

    #[test]
    fn decay_equals_the_reference_values() {
        for (quarter, want) in [(0, 0.99), (1, 0.991_464), (2, 0.995), (3, 0.998_536), (4, 1.0)] {
            assert!((momentum_decay(quarter, 4, 0.99, 1.0) - want).abs() < 1e-6);
        }
        assert!((momentum_decay(1, 2, 0.99, 0.999) - 0.9945).abs() < 1e-9);
    }
}
