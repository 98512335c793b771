//! Verifies every row of a state and repairs what can be. Content is judged by checksums, structure by
//! SQLite.

use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::Memory;
use super::fault::Outcome;
use super::repair::Repair;
use super::seal::{self, Table};
use crate::error::Result;

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What was wrong and what became of it.
    pub what: String,
    /// Whether the state is sound again in this respect.
    pub repaired: bool,
}

/// What [`Memory::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Rows whose checksum was verified.
    pub rows: u64,
    /// What was wrong; empty for a sound state.
    pub damages: Vec<Damage>,
}

impl CheckReport {
    /// Nothing was wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }

    /// Everything that was wrong is repaired.
    #[must_use]
    pub fn is_repaired(&self) -> bool {
        self.damages.iter().all(|damage| damage.repaired)
    }

    pub(super) fn note(&mut self, repaired: bool, what: String) {
        self.damages.push(Damage { what, repaired });
    }
}

/// Rows by table whose checksum does not match.
pub(super) struct Findings {
    pub(super) classes: Vec<i64>,
    pub(super) samples: Vec<i64>,
    pub(super) views: Vec<i64>,
    pub(super) labels: Vec<i64>,
    pub(super) versions: Vec<i64>,
    pub(super) training: Vec<i64>,
}

impl Memory {
    /// Verifies checksums, references, the labels derived from the log, and SQLite's structure. A state open
    /// for writing is repaired: damaged features are quarantined (their labels stay in the log), damaged
    /// thumbnails, views and training states dropped, damaged log rows taken out, and a damaged version gives
    /// way to the one before it. A state open for reading is only judged.
    ///
    /// # Errors
    /// [`crate::Error::State`] if the check itself cannot run; damage is no error but in the report.
    pub fn check(&mut self) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let mut structure = self.structure()?;
        if !structure.is_empty() && self.writable {
            // Repairs search by index, so indices come first; if that fails, the later verdict says so.
            let _rebuilt = self.read(|connection| Ok(connection.execute_batch("REINDEX")?));
        }
        let scanned = self.check_rows(&mut report);
        if let Err(error) = &scanned {
            report.note(
                false,
                format!("rows cannot be read or repaired ({error}): put back a copy of the file"),
            );
        }
        if structure.is_empty() {
            return Ok(report);
        }
        let found = structure.join("; ");
        if self.writable {
            structure = self.structure()?;
            if !structure.is_empty() && scanned.is_ok() && self.quota.is_none() {
                // Writes every row to fresh pages.
                let _rewritten = self.read(|connection| Ok(connection.execute_batch("VACUUM")?));
                structure = self.structure()?;
            }
        }
        let repaired = structure.is_empty();
        let outcome = if repaired { "rebuilt" } else { "not repaired: put back a copy of the file" };
        report.note(repaired, format!("structure of the file: {found}: {outcome}"));
        Ok(report)
    }

    fn structure(&self) -> Result<Vec<String>> {
        self.read(|connection| Ok(structure(connection).unwrap_or_else(|error| vec![error.to_string()])))
    }

    fn check_rows(&mut self, report: &mut CheckReport) -> Result<()> {
        let (width, fix) = (self.identity.feature_width, self.writable);
        let behavior = if fix { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
        let connection = &mut self.connection;
        let mut work = || -> Outcome<()> {
            let transaction = connection.transaction_with_behavior(behavior)?;
            transaction.pragma_update(None, "defer_foreign_keys", true)?;
            let findings = scan(&transaction, report)?;
            Repair { connection: &transaction, width, fix, report }.run(&findings)?;
            transaction.commit()?;
            Ok(())
        };
        let done = work().map_err(|fault| fault.at(&self.path));
        if done.is_err() {
            // The transaction took the repairs back.
            for damage in &mut report.damages {
                damage.repaired = false;
            }
        }
        done
    }
}

/// SQLite's own complaints.
fn structure(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let found: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

fn scan(connection: &Connection, report: &mut CheckReport) -> Outcome<Findings> {
    let mut bad = |table: &Table| -> Outcome<Vec<i64>> {
        let (rows, bad) = seal::damaged(connection, table)?;
        report.rows += rows;
        Ok(bad)
    };
    let meta = bad(&seal::META)?;
    let findings = Findings {
        classes: bad(&seal::CLASSES)?,
        samples: bad(&seal::SAMPLES)?,
        views: bad(&seal::VIEWS)?,
        labels: bad(&seal::LABELS)?,
        versions: bad(&seal::VERSIONS)?,
        training: bad(&seal::TRAINING)?,
    };
    for row in meta {
        report.note(false, format!("row {row} of `meta` is damaged: put back a copy of the file"));
    }
    Ok(findings)
}
