//! A copy of the state, made while others read and write it.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::fault::{Fault, Outcome};
use super::lock::beside;
use super::schema;
use super::state::Memory;
use crate::error::{Error, Result};
use crate::file::sync_folder;

/// What [`Memory::backup`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The copy.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Rows whose checksums were verified in it.
    pub rows: u64,
    /// Rows of its label log.
    pub labels: u64,
}

impl Memory {
    /// Copies the state, as of its last acknowledged change, into one file at `path`: verified row
    /// by row, synced, and moved into place whole. A writer is not held up; what it changes in the
    /// meantime is not in the copy. An earlier copy at `path` is replaced.
    ///
    /// # Errors
    /// [`Error::Refused`] if `path` is the state itself or a file that is no state,
    /// [`Error::Corrupt`] if the state is damaged, [`Error::Full`] and [`Error::Io`] if the copy
    /// cannot be written. What was at `path` is then as it was.
    pub fn backup(&self, path: &Path) -> Result<BackupReport> {
        self.refuse_to_replace(path)?;
        let fresh = beside(path, ".new");
        remove_leftovers(&fresh)?;
        let made = copy(&self.connection, &fresh).map_err(|fault| fault.at(&fresh));
        let report = made.and_then(|()| verified(&fresh, path));
        if report.is_err() {
            remove_leftovers(&fresh)?;
        }
        let report = report?;
        fs::rename(&fresh, path).map_err(Error::io(path))?;
        sync_folder(path)?;
        Ok(report)
    }

    fn refuse_to_replace(&self, path: &Path) -> Result<()> {
        let refuse = |reason: &str| {
            let what = format!("a copy at {}", path.display());
            Err(Error::refused(what, reason, "name another file"))
        };
        if !path.try_exists().map_err(Error::io(path))? {
            return Ok(());
        }
        if [
            &self.path,
            &beside(&self.path, "-wal"),
            &beside(&self.path, "-shm"),
            &beside(&self.path, ".lock"),
        ]
        .into_iter()
        .any(|own| same_file(own, path))
        {
            return refuse("it is the state itself");
        }
        match is_state(path) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => refuse("there is a file that is no state of kaizen"),
        }
    }
}

/// Copies an older state beside it before it is brought up to date, unless that was done before.
/// Returns where the copy is.
pub(super) fn keep_older(connection: &Connection, path: &Path, version: usize) -> Outcome<PathBuf> {
    let kept = beside(path, &format!(".schema-{version}"));
    if kept.exists() {
        return Ok(kept);
    }
    let fresh = beside(&kept, ".new");
    remove_leftovers(&fresh)?;
    if let Err(fault) = copy(connection, &fresh) {
        remove_leftovers(&fresh)?;
        return Err(fault);
    }
    fs::rename(&fresh, &kept).map_err(Error::io(&kept))?;
    sync_folder(&kept)?;
    Ok(kept)
}

/// Copies a database into a new file, synced, which needs no second file beside it.
fn copy(from: &Connection, path: &Path) -> Outcome<()> {
    let mut to = Connection::open(path)?;
    schema::make_careful(&to)?;
    // In one go: a change by another process between two parts would begin the copy anew.
    let copied = Backup::new(from, &mut to)?.step(-1)?;
    if copied != StepResult::Done {
        let reason = "another process holds the state: try again".to_owned();
        return Err(Fault::Unusable(reason));
    }
    // Without a write-ahead log: a medium that can only be read has no room for one.
    let mode: String = to.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode != "delete" {
        return Err(Fault::Unusable(format!("the copy keeps a write-ahead log (journal mode `{mode}`)")));
    }
    to.close().map_err(|(_, error)| Fault::Sql(error))?;
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))?;
    Ok(())
}

/// Verifies the copy at `fresh`, which is to be at `path`.
fn verified(fresh: &Path, path: &Path) -> Result<BackupReport> {
    let mut memory = Memory::open_read_only(fresh)?;
    let report = memory.check()?;
    if let Some(damage) = report.damages.first() {
        let way_out = "run `kaizen check` on the state, then copy it again";
        return Err(Error::corrupt("the state that was to be copied", damage.what.clone(), way_out));
    }
    let labels = memory.counts()?.labels;
    let bytes = fs::metadata(fresh).map_err(Error::io(fresh))?.len();
    Ok(BackupReport { path: path.to_path_buf(), bytes, rows: report.rows, labels })
}

fn remove_leftovers(fresh: &Path) -> Result<()> {
    for leftover in
        [fresh.to_path_buf(), beside(fresh, "-journal"), beside(fresh, "-wal"), beside(fresh, "-shm")]
    {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&leftover)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Whether the file at `path` is a state, of whatever version.
fn is_state(path: &Path) -> Outcome<bool> {
    let mode = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    schema::is_state(&Connection::open_with_flags(path, mode)?)
}
