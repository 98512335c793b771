//! The state of the learner in one SQLite file: features of samples, the label log, versions of the heads and
//! the state of the training. What a call acknowledged survives a crash at any point. It knows no loss, no
//! head and no engine: features are `[D]` rows and heads are bytes.
//!
//! ```
//! use kaizen_edge::low_level::memory::{FeatureIdentity, Memory, Rows, Sample};
//!
//! let identity = FeatureIdentity {
//!     backbone_name: "tiny".into(),
//!     backbone_sha256: "00".into(),
//!     feature_width: 2,
//!     feature_class: "fp32".into(),
//!     preprocessing: "224 bilinear".into(),
//! };
//! let mut memory = Memory::open(None, &identity)?;
//! let new = Sample {
//!     features: vec![0.5, 1.0],
//!     name: "cup-1.jpg".into(),
//!     label: Some("cup".into()),
//!     ..Sample::default()
//! };
//! let stored = memory.add_sample(&new)?;
//! assert!(stored.label.is_some());
//! assert_eq!(memory.samples(Rows::Training)?.len(), 1);
//! # Ok::<(), kaizen_edge::Error>(())
//! ```

mod check;
mod counts;
mod fault;
mod features;
mod forget;
mod identity;
mod labels;
mod lock;
mod open;
mod quota;
mod repair;
mod replace;
mod samples;
mod schema;
mod seal;
#[cfg(test)]
mod tests;
mod versions;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

pub use check::{CheckReport, Damage};
pub use counts::Counts;
pub use identity::FeatureIdentity;
pub use labels::{LabelEntry, LabelId, LabelKind};
pub use quota::{MIN_QUOTA_BYTES, Tally};
pub use samples::{Description, Rows, Sample, Stored, StoredSample};
pub use versions::{
    ClassFigures, History, NewVersion, Version, VersionEntry, VersionFigures, VersionId, VersionStatus,
};

use crate::error::{Error, Result};
use fault::Outcome;
use lock::WriterLock;
use quota::{Cost, Quota};

/// Stands for the path of a state without file.
const IN_MEMORY: &str = ":memory:";
/// How often a change is tried again with more room, if the estimate of its size was too small.
const ATTEMPTS: i64 = 4;

/// The learner's state. One writer a file; readers beside it see the last acknowledged change.
#[derive(Debug)]
pub struct Memory {
    // Before the lock: closing writes.
    connection: Connection,
    path: PathBuf,
    lock: Option<WriterLock>,
    writable: bool,
    identity: FeatureIdentity,
    quota: Option<Quota>,
    tally: Tally,
}

impl Memory {
    /// Which backbone made the features.
    #[must_use]
    pub fn identity(&self) -> &FeatureIdentity {
        &self.identity
    }

    /// Refuses, saying what to do, features of another kind than those stored.
    ///
    /// # Errors
    /// [`Error::State`] unless `asked` makes the same features.
    pub fn require(&self, asked: &FeatureIdentity) -> Result<()> {
        self.identity.require(asked).map_err(|fault| fault.at(&self.path))
    }

    /// Where the state is; `:memory:` without a file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was turned away or dropped since the state was opened.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        work(&self.connection).map_err(|fault| fault.at(&self.path))
    }

    /// Runs `work` as one durable transaction, after making room for its cost under the quota.
    fn write<T>(&mut self, cost: Cost, work: impl Fn(&Connection, &mut Tally) -> Outcome<T>) -> Result<T> {
        if !self.writable {
            let reason = "it is open for reading only: open it for writing to change it".to_owned();
            return Err(Error::State { path: self.path.clone(), reason });
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
        work: impl Fn(&Connection, &mut Tally) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut tally = self.tally;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(quota) = self.quota {
            quota.make_room(&transaction, cost, attempt, &mut tally)?;
        }
        let value = work(&transaction, &mut tally)?;
        transaction.commit()?;
        self.tally = tally;
        Ok(value)
    }
}

/// Milliseconds since the Unix epoch; 0 on a machine whose clock stands before it.
fn now_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
