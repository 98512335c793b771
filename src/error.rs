//! The one error type: variants by who can do what about it.

mod redact;

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Chain;

pub use redact::redacted;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, named by what a caller can do about it. Messages name the thing, the reason
/// and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range: change the setting.
    #[error("setting `{field}` is {value}: allowed is {allowed}")]
    Config {
        /// Name of the setting, as typed.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed instead.
        allowed: String,
    },
    /// Two shapes that must agree do not.
    #[error("{what}: expected shape {expected}, got {got}")]
    Shape {
        /// The array or file that has the wrong shape.
        what: String,
        /// The shape that is needed.
        expected: String,
        /// The shape that was found.
        got: String,
    },
    /// A model file cannot be used.
    #[error("model cannot be used: {reason}: {}", path.display())]
    Model {
        /// The ONNX file or manifest.
        path: PathBuf,
        /// Why, and the way out.
        reason: String,
    },
    /// The inference provider that was asked for cannot run.
    #[error("provider `{asked}` cannot run: {reason}")]
    Provider {
        /// The provider as asked.
        asked: String,
        /// What was tried, why it failed, what to do.
        reason: String,
    },
    /// The GPU adapter or device cannot be used.
    #[error("GPU engine cannot run: {reason} (adapters seen: {adapter})")]
    Device {
        /// The adapters that were seen.
        adapter: String,
        /// Why none serves, and the way out.
        reason: String,
    },
    /// Training produced a value that is not finite; the last good heads stay in place.
    #[error("training stopped: {term} is not finite at step {step}; the last good heads are kept")]
    NonFinite {
        /// The loss term or parameter.
        term: String,
        /// Training step, from 0.
        step: u64,
    },
    /// A frame source cannot be opened or read.
    #[error("source cannot be used: {}: {}", redacted(reason), redacted(uri))]
    Source {
        /// The URI as given; it is shown without the user name and the password in it.
        uri: String,
        /// Why, and the way out.
        reason: String,
    },
    /// One frame cannot be decoded; the stream may go on.
    #[error("frame cannot be decoded: {reason}: {name}")]
    Frame {
        /// File name or position of the frame.
        name: String,
        /// Why.
        reason: String,
    },
    /// The state file cannot be used or was refused.
    #[error("state cannot be used: {reason}: {}", path.display())]
    State {
        /// The SQLite file.
        path: PathBuf,
        /// Why, and the way out.
        reason: String,
    },
    /// Something else has to be done first.
    #[error("{what} is not ready: {reason}; {way_out}")]
    NotReady {
        /// What was asked for.
        what: String,
        /// What is missing.
        reason: String,
        /// What to do first.
        way_out: String,
    },
    /// There is no such class, sample, label, cluster, version or tensor.
    #[error("there is no {what} `{name}`: {way_out}")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// Its name or number, as given.
        name: String,
        /// What there is, or where to look it up.
        way_out: String,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is damaged: {reason}; {way_out}")]
    Corrupt {
        /// What is damaged.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// How to get a sound one.
        way_out: String,
    },
    /// The request can be carried out, but its result would be wrong.
    #[error("{what} is refused: {reason}; {way_out}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What would be wrong.
        reason: String,
        /// What to do instead.
        way_out: String,
    },
    /// A limit that was set leaves no room.
    #[error("{what} is full: {reason}; {way_out}")]
    Full {
        /// What is full.
        what: String,
        /// The limit, and what does not fit.
        reason: String,
        /// How to make room.
        way_out: String,
    },
    /// Reading or writing a file failed.
    #[error("{source}: {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Io`] for `path`; shaped for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// An [`Error::Shape`] from anything printable.
    pub fn shape(what: impl Into<String>, expected: impl std::fmt::Debug, got: impl std::fmt::Debug) -> Self {
        Self::Shape { what: what.into(), expected: format!("{expected:?}"), got: format!("{got:?}") }
    }

    /// An [`Error::Config`] from anything printable.
    pub fn config(field: &'static str, value: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        Self::Config { field, value: value.to_string(), allowed: allowed.into() }
    }

    /// An [`Error::NotReady`] from anything printable.
    pub fn not_ready(what: impl Into<String>, reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::NotReady { what: what.into(), reason: reason.into(), way_out: way_out.into() }
    }

    /// An [`Error::NotFound`] from anything printable.
    pub fn not_found(what: &'static str, name: impl std::fmt::Display, way_out: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.to_string(), way_out: way_out.into() }
    }

    /// An [`Error::Corrupt`] from anything printable.
    pub fn corrupt(what: impl Into<String>, reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into(), way_out: way_out.into() }
    }

    /// An [`Error::Refused`] from anything printable.
    pub fn refused(what: impl Into<String>, reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), reason: reason.into(), way_out: way_out.into() }
    }

    /// An [`Error::Full`] from anything printable.
    pub fn full(what: impl Into<String>, reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Full { what: what.into(), reason: reason.into(), way_out: way_out.into() }
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// The words for an error, on the terminal and in an answer of the API alike: the error with those
/// of its causes that it does not name itself, and the way out of a full disk.
#[must_use]
pub fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
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
