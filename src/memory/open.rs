//! Making, opening and adopting a state file.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::{Fault, Outcome};
use super::identity::{self, FeatureIdentity};
use super::lock::{WriterLock, beside};
use super::quota::Tally;
use super::{IN_MEMORY, Memory, now_millis, schema};
use crate::error::{Error, Result};

impl Memory {
    /// Opens the state at `path` for writing, or makes it; without a path, a state that ends with the
    /// process.
    ///
    /// # Errors
    /// [`Error::State`] if another process writes it, if it was made with other features than `identity`
    /// describes, by a newer program, or is damaged or no state file; [`Error::Io`] if its folder cannot be
    /// used.
    pub fn open(path: Option<&Path>, identity: &FeatureIdentity) -> Result<Self> {
        let Some(path) = path else {
            return Self::open_in_memory(identity);
        };
        let path = real(path);
        let lock = WriterLock::take(&path)?;
        if !path.try_exists().map_err(Error::io(&path))? {
            create(&path, identity)?;
        }
        let memory = Self::attach(path, Some(lock))?;
        memory.require(identity)?;
        Ok(memory)
    }

    /// Opens an existing state for writing, whatever backbone it was made with: for work on labels and
    /// checks.
    ///
    /// # Errors
    /// As [`Memory::open`], and [`Error::State`] if there is no such file.
    pub fn open_existing(path: &Path) -> Result<Self> {
        let path = existing(path)?;
        let lock = WriterLock::take(&path)?;
        Self::attach(path, Some(lock))
    }

    /// Opens an existing state for reading, beside a writer if there is one.
    ///
    /// # Errors
    /// [`Error::State`] if there is no such file, if it is damaged or no state file, or of another version.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        Self::attach(existing(path)?, None)
    }

    fn open_in_memory(identity: &FeatureIdentity) -> Result<Self> {
        let path = PathBuf::from(IN_MEMORY);
        let opened = (|| {
            let mut connection = Connection::open_in_memory()?;
            schema::make_careful(&connection)?;
            schema::create(&mut connection)?;
            identity::write(&connection, identity, now_millis())?;
            Ok(connection)
        })();
        let connection = opened.map_err(|fault: Fault| fault.at(&path))?;
        let identity = identity.clone();
        Ok(Self {
            connection,
            path,
            lock: None,
            writable: true,
            identity,
            quota: None,
            tally: Tally::default(),
        })
    }

    fn attach(path: PathBuf, lock: Option<WriterLock>) -> Result<Self> {
        let length = fs::metadata(&path).map_err(Error::io(&path))?.len();
        let writable = lock.is_some();
        let (connection, identity) = if length == 0 {
            let reason = "the file is empty: put back a copy, or delete it to start a new state".to_owned();
            Err(Fault::Refused(reason))
        } else {
            connect(&path, writable)
        }
        .map_err(|fault| fault.at(&path))?;
        Ok(Self { connection, path, lock, writable, identity, quota: None, tally: Tally::default() })
    }
}

fn connect(path: &Path, writable: bool) -> Outcome<(Connection, FeatureIdentity)> {
    let mode = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let mut connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    schema::make_careful(&connection)?;
    schema::adopt(&mut connection, writable)?;
    if writable {
        schema::make_durable(&connection, true)?;
    }
    let identity = identity::read(&connection)?;
    Ok((connection, identity))
}

/// The path behind links, so that one file has one lock.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn existing(path: &Path) -> Result<PathBuf> {
    let path = real(path);
    if path.is_file() {
        return Ok(path);
    }
    let reason = "there is no such file: `kaizen teach NAME PATH… --state FILE` makes one".to_owned();
    Err(Error::State { path, reason })
}

/// Makes a complete state beside `path` and moves it there, so that a crash leaves either none or a whole
/// one.
fn create(path: &Path, identity: &FeatureIdentity) -> Result<()> {
    if beside(path, "-wal").exists() {
        let reason =
            "its write-ahead log is there, but not the file: put the file back, or delete the `-wal`";
        return Err(Error::State { path: path.to_path_buf(), reason: reason.to_owned() });
    }
    let fresh = beside(path, ".new");
    for leftover in [fresh.clone(), beside(&fresh, "-journal")] {
        if leftover.exists() {
            fs::remove_file(&leftover).map_err(Error::io(&leftover))?;
        }
    }
    fill(&fresh, identity).map_err(|fault| fault.at(path))?;
    fs::rename(&fresh, path).map_err(Error::io(path))?;
    sync_folder(path)
}

/// Makes a file's entry in its folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

fn fill(path: &Path, identity: &FeatureIdentity) -> Outcome<()> {
    let mut connection = Connection::open(path)?;
    schema::make_careful(&connection)?;
    schema::make_durable(&connection, false)?;
    schema::create(&mut connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    identity::write(&transaction, identity, now_millis())?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| Fault::Sql(error))
}
