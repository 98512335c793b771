//! How a command ends: its exit code, and the words for the error that ended it.

use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::Chain;

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

/// The words for an error, on the terminal and in an answer of the API alike: the error with those
/// of its causes that it does not name itself, and the way out of a full disk.
pub(super) fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in Chain::new(error) {
        let reason = cause.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
    }
    let is_full =
        |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    if Chain::new(error).any(|cause| cause.downcast_ref().is_some_and(is_full)) {
        text.push_str("; make room there or name another folder");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_and_a_full_disk_with_the_way_out() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let said = sentence(&crate::Error::io("/media/card/report.json")(full));
        assert_eq!(said.matches("no storage space").count(), 1, "{said}");
        assert!(said.contains("/media/card/report.json") && said.ends_with("name another folder"), "{said}");
        let missing = std::io::Error::from(ErrorKind::NotFound);
        let error = anyhow::Error::new(missing).context("the camera");
        assert_eq!(sentence(error.as_ref()), "the camera: entity not found");
    }
}
