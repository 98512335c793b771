//! The only randomness: seeded and split by purpose. The same seed gives the same numbers on every
//! machine and in every release, which is why the few distributions needed are written out here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A seeded generator (ChaCha8). Cloning copies the position.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator for one purpose (`stream`) under one seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut inner = ChaCha8Rng::seed_from_u64(seed);
        inner.set_stream(stream);
        Self(inner)
    }

    /// A generator keyed by a name, so that adding a purpose does not shift the others.
    #[must_use]
    pub fn named(seed: u64, purpose: &str) -> Self {
        // FNV-1a: stable across releases, unlike the standard hasher.
        let stream = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::new(seed, stream)
    }

    /// Uniform 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `[0, 1)` with 24 bits of resolution.
    #[allow(clippy::cast_precision_loss, reason = "24 bits fit f32 exactly")]
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform integer in `0..n`; 0 when `n` is 0. Lemire's multiply-shift, bias below 2^-32 * n.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from((u64::from(self.bits()) * n as u64) >> 32).unwrap_or(0)
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - f64::from(self.uniform())).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        #[allow(clippy::cast_possible_truncation, reason = "f64 to f32 rounding is intended")]
        let value = (radius * angle.cos()) as f32;
        value
    }

    /// Fisher-Yates shuffle in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_do_not_share_numbers() {
        assert_ne!(Rng::named(7, "a").bits(), Rng::named(7, "b").bits());
        assert_ne!(Rng::named(7, "a").bits(), Rng::named(8, "a").bits());
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut rng = Rng::new(1, 0);
        let n = 20_000;
        let (mut u, mut z, mut zz) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            u += rng.uniform();
            let x = rng.normal();
            z += x;
            zz += x * x;
        }
        let n = n as f32;
        assert!((u / n - 0.5).abs() < 0.01 && (z / n).abs() < 0.03 && (zz / n - 1.0).abs() < 0.05);
    }
}
