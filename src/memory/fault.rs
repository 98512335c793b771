//! Errors inside the module: SQLite's own, and refusals whose sentence still lacks the path of the state
//! file.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

/// Result of the functions that see only a connection.
pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// What went wrong, before the path of the file is known.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// The state refuses: the whole sentence.
    Refused(String),
    /// An error that needs no path.
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
    /// A row whose checksum does not match.
    pub(super) fn damaged(table: &str, row: i64) -> Self {
        Self::Refused(format!("row {row} of `{table}` is damaged (checksum differs): run `kaizen check`"))
    }

    /// Whether SQLite ran out of the pages it may use.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// The crate's error for the state file at `path`.
    pub(super) fn at(self, path: &Path) -> Error {
        let reason = match self {
            Self::Typed(error) => return error,
            Self::Refused(sentence) => sentence,
            Self::Sql(error) => sentence(&error),
        };
        Error::State { path: path.to_path_buf(), reason }
    }
}

fn sentence(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!(
                "the file is not a SQLite database ({error}): name another file, or move it away to start \
                a new state"
            )
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("the file is damaged ({error}): run `kaizen check`, or put back a copy")
        }
        Some(ErrorCode::DiskFull) => {
            format!("the disk or the quota is full ({error}): free space or raise the quota")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("another process holds the file ({error}): end it, then try again")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("the file cannot be written ({error}): check its permissions and those of its folder")
        }
        Some(ErrorCode::CannotOpen) => {
            format!("the file cannot be opened ({error}): check that it exists and may be read")
        }
        _ => format!("{error}: run `kaizen check`"),
    }
}
