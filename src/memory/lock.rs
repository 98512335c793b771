//! One writer per state file, by an advisory lock on `<state>.lock`, which holds the writer's
//! process id. The system drops the lock with the process, so a crash leaves nothing to clean up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The right to write one state file, held until dropped.
#[derive(Debug)]
pub(super) struct WriterLock {
    file: File,
}

impl WriterLock {
    /// Takes the lock of `state`.
    ///
    /// # Errors
    /// [`Error::State`] with the holder's process id if another writer has it; [`Error::Io`] if the
    /// lock file cannot be made.
    pub(super) fn take(state: &Path) -> Result<Self> {
        let path = beside(state, ".lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let holder = match file.read_to_string(&mut pid) {
                    Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                    _ => "another process".to_owned(),
                };
                let reason =
                    format!("{holder} is writing it: end that process, or open the state for reading");
                return Err(Error::State { path: state.to_path_buf(), reason });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        let mut record = || {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        record().map_err(Error::io(&path))?;
        Ok(Self { file })
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // The lock itself goes with the handle; the number would only mislead a reader.
        let _cleared = self.file.set_len(0);
    }
}

/// Returns `state` with `suffix` added to its file name.
pub(super) fn beside(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
