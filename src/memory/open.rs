//! Making, opening and replacing a state file.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::backup;
use super::fault::{Fault, Outcome};
use super::identity::{self, FeatureIdentity};
use super::lock::{WriterLock, beside};
use super::schema::{self, now_millis};
use super::state::{IN_MEMORY, Memory};
use crate::error::{Error, Result};
use crate::file::sync_folder;

impl Memory {
    /// Opens the state at `path` for writing, or makes it; without a path, makes a state that ends
    /// with the process.
    ///
    /// # Errors
    /// [`Error::State`] if another process writes it, if it was made with other features than
    /// `identity` describes or by a newer program, or is no state file; [`Error::Corrupt`] if it is
    /// damaged; [`Error::Io`] if its folder cannot be used.
    pub fn open(path: Option<&Path>, identity: &FeatureIdentity) -> Result<Self> {
        let Some(path) = path else {
            return Self::open_in_memory(identity);
        };
        let path = real(path);
        let lock = WriterLock::take(&path)?;
        if !path.try_exists().map_err(Error::io(&path))? {
            create(&path, identity)?;
        }
        let mut memory = Self::attach(path, Some(lock))?;
        memory.adopt(identity)?;
        Ok(memory)
    }

    /// Opens an existing state for writing, whatever backbone it was made with: for work on labels
    /// and checks.
    ///
    /// # Errors
    /// As [`Memory::open`], and [`Error::State`] if there is no such file.
    pub fn open_existing(path: &Path) -> Result<Self> {
        let path = existing(path)?;
        let lock = WriterLock::take(&path)?;
        Self::attach(path, Some(lock))
    }

    /// Opens an existing state for reading, beside a writer if there is one. What a process that
    /// was killed left half done is taken back first.
    ///
    /// # Errors
    /// [`Error::State`] if there is no such file, or if it is no state file or of another version;
    /// [`Error::Corrupt`] if it is damaged.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        Self::attach(existing(path)?, None)
    }

    fn open_in_memory(identity: &FeatureIdentity) -> Result<Self> {
        let path = PathBuf::from(IN_MEMORY);
        let make = || -> Outcome<Connection> {
            let mut connection = Connection::open_in_memory()?;
            schema::make_careful(&connection)?;
            schema::create(&mut connection)?;
            identity::write(&connection, identity, now_millis())?;
            Ok(connection)
        };
        let connection = make().map_err(|fault| fault.at(&path))?;
        Ok(Self { connection, path, lock: None, writable: true, identity: identity.clone(), quota: None })
    }

    fn attach(path: PathBuf, lock: Option<WriterLock>) -> Result<Self> {
        let writable = lock.is_some();
        let connected = match connect(&path, writable) {
            Err(fault) if fault.needs_recovery() && !writable => {
                recover(&path)?;
                connect(&path, writable)
            }
            connected => connected,
        };
        let (connection, identity) = connected.map_err(|fault| fault.at(&path))?;
        let mut memory = Self { connection, path, lock, writable, identity, quota: None };
        if writable {
            memory.overwrite_removed()?;
        }
        Ok(memory)
    }

    /// Puts `fresh`, a state in a file of its own in the same folder, in the place of this one. A
    /// crash at any point leaves the old state or the new one. Both are closed.
    ///
    /// # Errors
    /// [`Error::State`] if this state is read-only or another process reads it; [`Error::Io`] if
    /// the file cannot be moved. This state is then as it was.
    pub fn replace_with(self, fresh: Self) -> Result<()> {
        fresh.checkpoint()?;
        let from = fresh.path.clone();
        drop(fresh);
        self.checkpoint()?;
        let Self { connection, path, lock, .. } = self;
        let refuse = |reason: String| Err(Fault::Unusable(reason).at(&path));
        // The lock is held until the new file is in place.
        let Some(_lock) = lock else {
            return refuse("it is open for reading only: open it for writing to change it".to_owned());
        };
        drop(connection);
        for (state, what) in [(&from, "the new state"), (&path, "it")] {
            if beside(state, "-wal").exists() {
                return refuse(format!("another process reads {what}: end that process, then try again"));
            }
        }
        fs::rename(&from, &path).map_err(Error::io(&path))?;
        sync_folder(&path)?;
        let left = beside(&from, ".lock");
        fs::remove_file(&left).map_err(Error::io(&left))
    }
}

/// Lets SQLite take back what a process that was killed left half done: a reader may not.
fn recover(path: &Path) -> Result<()> {
    let _lock = WriterLock::take(path)?;
    let recovered = || -> Outcome<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        schema::make_careful(&connection)?;
        schema::recognised(&connection)?;
        Ok(())
    };
    recovered().map_err(|fault| fault.at(path))
}

fn connect(path: &Path, writable: bool) -> Outcome<(Connection, FeatureIdentity)> {
    if fs::metadata(path).map_err(Error::io(path))?.len() == 0 {
        let reason = "the file is empty: put back a copy, or delete it to start a new state";
        return Err(Fault::Unusable(reason.to_owned()));
    }
    let mode = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let mut connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    schema::make_careful(&connection)?;
    let version = schema::recognised(&connection)?;
    if writable && version < schema::MIGRATIONS.len() {
        let kept = backup::keep_older(&connection, path, version)?;
        let (now, kept) = (schema::MIGRATIONS.len(), kept.display());
        tracing::warn!(
            event = "state_upgraded",
            "the state is brought from schema {version} to {now}; a copy of it as it was is kept: {kept}"
        );
    }
    schema::adopt(&mut connection, version, writable)?;
    if writable {
        schema::make_durable(&connection, true)?;
    }
    let identity = identity::read(&connection)?;
    Ok((connection, identity))
}

/// Returns the path behind links, so that one file has one lock.
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

/// Makes a complete state beside `path` and moves it there, so that a crash leaves no state or a
/// whole one.
fn create(path: &Path, identity: &FeatureIdentity) -> Result<()> {
    if beside(path, "-wal").exists() {
        let reason =
            "its write-ahead log is there, but not the file: put the file back, or delete the `-wal`";
        return Err(Fault::Unusable(reason.to_owned()).at(path));
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
