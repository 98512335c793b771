//! A place for the newest value.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock::locked;

/// A place for one value, where a newer value replaces one that nobody took.
pub(super) struct Slot<T> {
    value: Mutex<Option<T>>,
    filled: Condvar,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), filled: Condvar::new() }
    }
}

impl<T> Slot<T> {
    /// Puts `value` in and returns whether an older one was lost.
    pub(super) fn put(&self, value: T) -> bool {
        let lost = locked(&self.value).replace(value).is_some();
        self.filled.notify_one();
        lost
    }

    /// Takes the value, after waiting for one up to `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<T> {
        let guard = locked(&self.value);
        let waited = self.filled.wait_timeout_while(guard, patience, |value| value.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Wakes every thread that waits, to look again.
    pub(super) fn wake(&self) {
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_what_is_lost_is_said() {
        let slot = Slot::default();
        assert!(!slot.put(1));
        assert!(slot.put(2));
        assert_eq!(slot.take(Duration::ZERO), Some(2));
        assert_eq!(slot.take(Duration::from_millis(1)), None);
    }
}
