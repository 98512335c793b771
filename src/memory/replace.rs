//! One state file in the place of another, whole or not at all.

use std::fs;

use super::Memory;
use super::lock::beside;
use super::open::sync_folder;
use crate::error::{Error, Result};

impl Memory {
    /// Puts `fresh`, a state in a file of its own in the same folder, in the place of this one. After a crash at any
    /// point there is the old state or the new one. Both are closed.
    ///
    /// # Errors
    /// [`Error::State`] if this state is read-only or another process reads it; [`Error::Io`] if the file cannot be
    /// moved. This state is then as it was.
    pub fn replace_with(self, fresh: Self) -> Result<()> {
        fresh.checkpoint()?;
        let from = fresh.path.clone();
        drop(fresh);
        self.checkpoint()?;
        let Self { connection, path, lock, .. } = self;
        let refuse = |reason: &str| Err(Error::State { path: path.clone(), reason: reason.to_owned() });
        // Held until the new file is in place.
        let Some(_lock) = lock else {
            return refuse("it is open for reading only: open it for writing to change it");
        };
        drop(connection);
        for (state, what) in [(&from, "the new state"), (&path, "it")] {
            if beside(state, "-wal").exists() {
                return refuse(&format!("another process reads {what}: end that process, then try again"));
            }
        }
        fs::rename(&from, &path).map_err(Error::io(&path))?;
        sync_folder(&path)?;
        let left = beside(&from, ".lock");
        fs::remove_file(&left).map_err(Error::io(&left))
    }
}
