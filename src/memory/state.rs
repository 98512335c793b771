//! The open state: reading, durable changes, and the bytes it takes.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::fault::{Fault, Outcome};
use super::identity::{self, FeatureIdentity};
use super::lock::{WriterLock, beside};
use super::quota::{Cost, MIN_QUOTA_BYTES, PAGE, Quota, evict, pragma};
use crate::error::{Error, Result};

/// Stands for the path of a state without a file.
pub(super) const IN_MEMORY: &str = ":memory:";
/// A change is tried again this often with more room, if the estimate of its size was too small.
const ATTEMPTS: i64 = 4;

/// The learner's state. A file has one writer; readers beside it see the last acknowledged change.
#[derive(Debug)]
pub struct Memory {
    // Fields are dropped in this order: closing the connection writes, so it needs the lock.
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) lock: Option<WriterLock>,
    pub(super) writable: bool,
    pub(super) identity: FeatureIdentity,
    pub(super) quota: Option<Quota>,
}

impl Memory {
    /// Returns which backbone made the features.
    #[must_use]
    pub fn identity(&self) -> &FeatureIdentity {
        &self.identity
    }

    /// Refuses features of another kind than those stored.
    ///
    /// # Errors
    /// [`Error::State`], which says what to do, unless `asked` makes the same features.
    pub fn require(&self, asked: &FeatureIdentity) -> Result<()> {
        self.identity.require(asked).map_err(|fault| fault.at(&self.path))
    }

    /// Refuses features of another kind than those stored, and notes where the backbone is cut if
    /// the state was made by the whole one.
    ///
    /// # Errors
    /// As [`Memory::require`]; [`Error::Full`] or [`Error::State`] if it cannot be noted.
    pub fn adopt(&mut self, asked: &FeatureIdentity) -> Result<()> {
        self.require(asked)?;
        if let (None, Some(cut)) = (&self.identity.cut, &asked.cut) {
            self.write(Cost::of(cut.len()), |connection| identity::adopt_cut(connection, cut))?;
            self.identity.cut = Some(cut.clone());
        }
        Ok(())
    }

    /// Returns the path of the state file; `:memory:` without a file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        work(&self.connection).map_err(|fault| fault.at(&self.path))
    }

    /// Runs `work` as one durable transaction, after making room for its cost under the quota.
    pub(super) fn write<T>(&mut self, cost: Cost, work: impl Fn(&Connection) -> Outcome<T>) -> Result<T> {
        if !self.writable {
            return Err(self.unusable("it is open for reading only: open it for writing to change it"));
        }
        let mut attempt = 0;
        loop {
            self.make_room_in_log(cost)?;
            match self.try_write(cost, attempt, &work) {
                Err(fault) if fault.is_full() && self.quota.is_some() && attempt < ATTEMPTS => attempt += 1,
                result => return result.map_err(|fault| fault.at(&self.path)),
            }
        }
    }

    fn try_write<T>(
        &mut self,
        cost: Cost,
        attempt: i64,
        work: impl Fn(&Connection) -> Outcome<T>,
    ) -> Outcome<T> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(quota) = self.quota {
            quota.make_room(&transaction, cost, attempt)?;
        }
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Bounds the bytes on disk: state file, write-ahead log and its index. A quarter is set aside
    /// for the log, so one change (a batch, a version's heads) may take up to an eighth. A state
    /// that is larger is shrunk at once.
    ///
    /// # Errors
    /// [`Error::Config`] for less than `MIN_QUOTA_BYTES`, [`Error::Full`] if the state cannot be
    /// made that small, [`Error::State`] if it cannot be written.
    pub fn set_quota_bytes(&mut self, bytes: u64) -> Result<()> {
        if bytes < MIN_QUOTA_BYTES {
            return Err(Error::config("quota_bytes", bytes, format!("{MIN_QUOTA_BYTES} or more")));
        }
        let quota = Quota::new(bytes, self.lock.is_some());
        let fits = |connection: &Connection| quota.fits(connection, 0);
        self.checkpoint()?;
        while self.read(|connection| pragma(connection, "page_count"))? > quota.max_pages {
            if !self.read(fits)? && !self.write(Cost::of(0), |connection| evict(connection, &fits))? {
                return Err(quota.full("the state cannot be kept"));
            }
            self.read(|connection| Ok(connection.pragma(None, "incremental_vacuum", 32, |_| Ok(()))?))?;
            self.checkpoint()?;
        }
        let set: i64 = self.read(|connection| {
            let pages = quota.max_pages;
            Ok(connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0))?)
        })?;
        if set != quota.max_pages {
            return Err(quota.full(&format!("the page limit is {set} instead of {}", quota.max_pages)));
        }
        self.quota = Some(quota);
        Ok(())
    }

    /// Returns whether a change that adds `bytes` can be kept within the quota.
    #[must_use]
    pub fn holds_change(&self, bytes: usize) -> bool {
        let log_bytes = Cost::of(bytes).log_bytes();
        self.lock.is_none() || self.quota.is_none_or(|quota| log_bytes <= quota.log_bytes)
    }

    /// Returns the bytes on disk of state file, write-ahead log and its index; of a state in
    /// memory, the bytes of its pages.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be examined.
    pub fn bytes(&self) -> Result<u64> {
        if self.path.as_os_str() == IN_MEMORY {
            let pages = self.read(|connection| pragma(connection, "page_count"))?;
            return Ok(u64::try_from(pages).unwrap_or(0) * PAGE);
        }
        ["", "-wal", "-shm"].iter().map(|suffix| size(&beside(&self.path, suffix))).sum()
    }

    /// Empties the write-ahead log if the change would make it outgrow its share.
    fn make_room_in_log(&self, cost: Cost) -> Result<()> {
        let (Some(quota), Some(_)) = (self.quota, &self.lock) else { return Ok(()) };
        if cost.log_bytes() > quota.log_bytes {
            let reason = format!(
                "one change of {} bytes is more than an eighth of its {} bytes",
                cost.log, quota.bytes
            );
            return Err(Error::full("the quota", reason, "make smaller changes, or raise the quota"));
        }
        let log = beside(&self.path, "-wal");
        let outgrows = || size(&log).map(|size| size + cost.log_bytes() > quota.log_bytes);
        if outgrows()? {
            self.checkpoint()?;
            if outgrows()? {
                let reason = format!("a reader keeps it from being emptied: {}", log.display());
                return Err(Error::full("the write-ahead log", reason, "end that reader"));
            }
        }
        Ok(())
    }

    /// Moves the write-ahead log into the file and empties it, as far as readers allow. Returns
    /// whether they allowed all of it.
    pub(super) fn checkpoint(&self) -> Result<bool> {
        let mut is_busy = false;
        self.read(|connection| {
            let note = |row: &rusqlite::Row<'_>| {
                is_busy = row.get(0)?;
                Ok(())
            };
            Ok(connection.pragma(None, "wal_checkpoint", "TRUNCATE", note)?)
        })?;
        Ok(!is_busy)
    }

    pub(super) fn unusable(&self, reason: &str) -> Error {
        Fault::Unusable(reason.to_owned()).at(&self.path)
    }
}

fn size(path: &Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(path)(error)),
    }
}
