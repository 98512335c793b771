//! A limit on how often something may happen.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A token bucket: so many a second on average, so many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    most: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new((rate, most): (f64, f64)) -> Self {
        Self { rate, most, level: Mutex::new((most, Instant::now())) }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(level.1).as_secs_f64();
        *level = ((level.0 + passed * self.rate).min(self.most), now);
        let is_there = level.0 >= 1.0;
        if is_there {
            level.0 -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let bucket = Bucket::new((2.0, 3.0));
        let start = Instant::now();
        let taken = |now: Instant| (0..10).filter(|_| bucket.take_at(now)).count();
        assert_eq!(taken(start), 3);
        assert_eq!(taken(start + Duration::from_secs(1)), 2);
        assert_eq!(taken(start + Duration::from_secs(100)), 3);
    }
}
