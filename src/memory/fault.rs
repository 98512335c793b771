//! Failures inside the module, before the path of the state file is known.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

/// The way out of damage.
const MEND: &str = "run `kaizen check`, or put back a copy of the file";

/// The result of a function that sees only a connection.
pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// A failure that still lacks the path of the state file.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// The file cannot be used; the sentence gives the reason and the way out.
    Unusable(String),
    /// Something in the file is not what was written.
    Corrupt { what: String, reason: String },
    /// The failure is complete without a path.
    Typed(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Typed(error)
    }
}

impl Fault {
    /// Returns the failure for a row that does not have its checksum.
    pub(super) fn damaged(table: &str, row: i64) -> Self {
        Self::corrupt(format!("row {row} of `{table}`"), "its checksum differs")
    }

    /// Returns the failure for `what`, which is not what was written.
    pub(super) fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into() }
    }

    /// Returns whether SQLite ran out of the pages it may use.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// Returns whether a reader met what only a writer can take back.
    pub(super) fn needs_recovery(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly))
    }

    /// Returns the crate's error for the state file at `path`.
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            Self::Typed(error) => error,
            Self::Unusable(reason) => Error::State { path: path.to_path_buf(), reason },
            Self::Corrupt { what, reason } => {
                Error::corrupt(format!("{what} in {}", path.display()), reason, MEND)
            }
            Self::Sql(error) => from_sqlite(&error, path),
        }
    }
}

fn from_sqlite(error: &rusqlite::Error, path: &Path) -> Error {
    let place = path.display();
    let sentence = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            let way_out = "free space, raise the quota, or forget a class";
            return Error::full("the disk or the quota", format!("{error}: {place}"), way_out);
        }
        // Without a code, a value read is not of the type that was written.
        Some(ErrorCode::DatabaseCorrupt) | None => {
            return Error::corrupt(format!("the state file {place}"), error.to_string(), MEND);
        }
        Some(ErrorCode::NotADatabase) => format!(
            "the file is not a SQLite database ({error}): name another file, or move it away to start a new state"
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("another process holds the file ({error}): end it, then try again")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("the file cannot be written ({error}): check its permissions and those of its folder")
        }
        Some(ErrorCode::CannotOpen) => {
            format!("the file cannot be opened ({error}): check that it exists and may be read")
        }
        Some(_) => format!("{error}: run `kaizen check`"),
    };
    Error::State { path: path.to_path_buf(), reason: sentence }
}
