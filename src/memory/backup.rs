//! A copy of the state, made while others read and write it.

use std::fs;
use std::io::{BufRead as _, BufReader};
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

/// The ending of a copy that is not whole yet.
const FRESH: &str = ".kaizen-copy";

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
        let fresh = beside(path, FRESH);
        let _only = only_copy(&fresh)?;
        remove_leftovers(&fresh, false)?;
        let made = copy(&self.connection, &fresh).map_err(|fault| fault.at(&fresh));
        let report = made.and_then(|()| verified(&fresh, path));
        if report.is_err() {
            remove_leftovers(&fresh, true)?;
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
        let own = ["", "-wal", "-shm", ".lock"].map(|ending| beside(&self.path, ending));
        if own.iter().any(|own| same_file(own, path) || same_file(own, &beside(path, FRESH))) {
            return refuse("it is the state itself");
        }
        if beside(path, "-wal").exists() {
            return refuse("it has a write-ahead log: a program writes to it, or was killed while it did");
        }
        if !path.try_exists().map_err(Error::io(path))? {
            return Ok(());
        }
        match is_state(path) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => refuse("there is a file that is no state of kaizen"),
        }
    }
}

/// Copies an older state beside it before it is brought up to date, under a name that is free,
/// unless the same copy is there from an attempt before. Returns where the copy is.
pub(super) fn keep_older(connection: &Connection, path: &Path, version: usize) -> Outcome<PathBuf> {
    let stem = beside(path, &format!(".schema-{version}"));
    let fresh = beside(&stem, FRESH);
    let _only = only_copy(&fresh)?;
    remove_leftovers(&fresh, false)?;
    if let Err(fault) = copy(connection, &fresh) {
        remove_leftovers(&fresh, true)?;
        return Err(fault);
    }
    let mut kept = stem.clone();
    for number in 2.. {
        if !kept.try_exists().map_err(Error::io(&kept))? {
            fs::rename(&fresh, &kept).map_err(Error::io(&kept))?;
            sync_folder(&kept)?;
            break;
        }
        if same_content(&kept, &fresh).map_err(Error::io(&kept))? {
            remove_leftovers(&fresh, true)?;
            break;
        }
        kept = beside(&stem, &format!("-{number}"));
    }
    Ok(kept)
}

/// Takes the right to make the file at `fresh`, until it is dropped.
fn only_copy(fresh: &Path) -> Result<fs::File> {
    let open = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(fresh);
    let file = open.map_err(Error::io(fresh))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let what = format!("a copy at {}", fresh.display());
            Err(Error::refused(what, "another process is making it", "wait for it"))
        }
        Err(fs::TryLockError::Error(error)) => Err(Error::io(fresh)(error)),
    }
}

/// Whether two files hold the same bytes.
fn same_content(a: &Path, b: &Path) -> std::io::Result<bool> {
    let [mut a, mut b] = [BufReader::new(fs::File::open(a)?), BufReader::new(fs::File::open(b)?)];
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left[..length] != right[..length] {
            return Ok(false);
        }
        a.consume(length);
        b.consume(length);
    }
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
    // Some systems sync only what is open for writing.
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_all()).map_err(Error::io(path))?;
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

/// Removes what a killed process left of a copy; of the file itself its content, or all of it.
fn remove_leftovers(fresh: &Path, all: bool) -> Result<()> {
    fs::OpenOptions::new().write(true).truncate(true).open(fresh).map_err(Error::io(fresh))?;
    let own = if all { vec![fresh.to_path_buf()] } else { Vec::new() };
    for leftover in ["-journal", "-wal", "-shm"].map(|ending| beside(fresh, ending)).into_iter().chain(own) {
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
