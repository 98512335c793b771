//! How much of the machine learning takes.

use std::time::Duration;

/// The longest pause between two pieces of training.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How much of the machine learning takes. Its threads have a low priority in every case, and below
/// `full` it also pauses between training steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Power {
    /// No pauses: for a machine on mains.
    Full,
    /// Trains half of the time.
    #[default]
    Balanced,
    /// Trains a fifth of the time: for a battery or a warm case.
    Low,
}

impl Power {
    /// Name on the command line.
    #[cfg(feature = "serve")]
    pub(crate) fn name(self) -> &'static str {
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

/// Gives the calling thread a lower priority by `steps` of Unix's `nice` (0 to 19).
/// Elsewhere than on Linux, where priorities belong to processes, it does nothing; a refusal of the
/// system only costs the advantage.
#[cfg(feature = "serve")]
pub(crate) fn yield_to_others(steps: i32) {
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
        #[cfg(feature = "serve")]
        assert_eq!((Power::Full.threads(4), Power::Low.threads(4), Power::Low.threads(1)), (4, 3, 1));
    }

    #[cfg(feature = "serve")]
    #[test]
    fn names_are_those_of_the_command_line() {
        use clap::ValueEnum as _;

        for power in Power::value_variants() {
            assert_eq!(Power::from_str(power.name(), false), Ok(*power));
        }
    }
}
