//! The one error type: variants by who can do what about it.

use std::path::PathBuf;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, named by what a caller can do about it. Messages name the thing, the reason and the way out.
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
    #[error("source cannot be used: {reason}: {uri}")]
    Source {
        /// The URI as given.
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
}
