//! How a command ends: its exit code.

use std::process::ExitCode;

/// The meaning of the exit codes, for `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, the reason is on standard error \
    (of doctor on standard output); 2 wrong usage; 3 done in part: images left out (teach, observe, \
    import, predict, record), rolled back by the guard (learn), damage repaired (check); 4 damage that \
    cannot be repaired (check)";

/// The end of a command that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything was done.
    Done,
    /// Something that was asked for does not work here, as the output says.
    Missing,
    /// Some frames were left out, the guard rolled back, or damage was repaired.
    InPart,
    /// The state is damaged beyond repair.
    Damaged,
}

impl Outcome {
    /// The end of a command that did everything, or only a part.
    pub(super) fn of(is_everything: bool) -> Self {
        if is_everything { Self::Done } else { Self::InPart }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Missing => Self::FAILURE,
            Outcome::InPart => Self::from(3),
            Outcome::Damaged => Self::from(4),
        }
    }
}
