//! How much of the machine learning takes.

use std::time::Duration;

use crate::{Error, Result};

/// The longest pause between two pieces of training.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How much of the machine learning takes. Its threads have a low priority in every case, and below
/// `full` it also pauses between training steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Power {
    /// No pauses: for a machine on mains.
    Full,
    /// Trains half of the time.
    #[default]
    Balanced,
    /// Trains a fifth of the time: for a battery or a warm case.
    Low,
}

impl Power {
    /// Every setting, in falling order.
    pub const ALL: [Self; 3] = [Self::Full, Self::Balanced, Self::Low];

    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Balanced => "balanced",
            Self::Low => "low",
        }
    }

    /// Pause after `work`.
    pub(super) fn pause(self, work: Duration) -> Duration {
        let pause = match self {
            Self::Full => Duration::ZERO,
            Self::Balanced => work,
            Self::Low => 4 * work,
        };
        pause.min(LONGEST_PAUSE)
    }

    /// Threads that learning may use of `cores`: below `full` one is left to prediction.
    #[cfg(feature = "serve")]
    pub(super) fn threads(self, cores: usize) -> usize {
        match self {
            Self::Full => cores,
            Self::Balanced | Self::Low => cores.saturating_sub(1),
        }
        .max(1)
    }
}

impl std::str::FromStr for Power {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|power| power.name() == text);
        found.ok_or_else(|| Error::config("power", text, "full, balanced or low"))
    }
}

/// Gives the calling thread a lower priority, by so many steps of Unix's `nice` (0 to 19).
/// Elsewhere than on Linux, where priorities belong to processes, it does nothing; a refusal of the
/// system only costs the advantage.
pub fn yield_to_others(steps: i32) {
    #[cfg(target_os = "linux")]
    {
        let own = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(own), steps);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = steps;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_work_and_end() {
        let work = Duration::from_millis(100);
        assert_eq!(Power::Full.pause(work), Duration::ZERO);
        assert_eq!(Power::Balanced.pause(work), work);
        assert_eq!(Power::Low.pause(work), 4 * work);
        assert_eq!(Power::Low.pause(Duration::from_secs(9)), LONGEST_PAUSE);
        assert_eq!((Power::Full.threads(4), Power::Low.threads(4), Power::Low.threads(1)), (4, 3, 1));
    }

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for power in Power::ALL {
            assert_eq!(power.name().parse::<Power>().unwrap(), power);
        }
        assert!("max".parse::<Power>().unwrap_err().to_string().contains("full, balanced or low"));
    }
}
