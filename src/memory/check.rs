//! Verifies every row of a state and repairs what can be. Checksums judge the content, and
//! SQLite judges the structure.

use rusqlite::TransactionBehavior;

use super::fault::Outcome;
use super::query;
use super::repair::Repair;
use super::report::CheckReport;
use super::state::Memory;
use crate::error::Result;

impl Memory {
    /// Verifies checksums, references, the labels derived from the log, and SQLite's structure. A
    /// state open for writing is repaired: damaged features are quarantined (their labels stay in
    /// the log), damaged thumbnails, views and training states dropped, damaged log rows taken out,
    /// and a damaged version gives way to the one before it. A state open for reading is only
    /// judged.
    ///
    /// # Errors
    /// [`crate::Error::State`] if the check itself cannot run; damage is in the report.
    pub fn check(&mut self) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let mut structure = self.structure();
        if !structure.is_empty() && self.writable {
            // Repairs search by index, so indices come first. If that fails, the verdict below says
            // so.
            let _rebuilt = self.connection.execute_batch("REINDEX");
        }
        let scanned = self.check_rows(&mut report);
        if let Err(error) = &scanned {
            let what = format!("rows cannot be read or repaired ({error}): put back a copy of the file");
            report.note(false, what);
        }
        if structure.is_empty() {
            return Ok(report);
        }
        let found = structure.join("; ");
        if self.writable {
            structure = self.structure();
            if !structure.is_empty() && scanned.is_ok() && self.quota.is_none() {
                // Writes every row to fresh pages.
                let _rewritten = self.connection.execute_batch("VACUUM");
                structure = self.structure();
            }
        }
        let repaired = structure.is_empty();
        let outcome = if repaired { "rebuilt" } else { "not repaired: put back a copy of the file" };
        report.note(repaired, format!("structure of the file: {found}: {outcome}"));
        Ok(report)
    }

    /// Returns SQLite's own complaints.
    fn structure(&self) -> Vec<String> {
        match query::values::<String>(&self.connection, "PRAGMA integrity_check(20)", []) {
            Ok(lines) => lines.into_iter().filter(|line| line != "ok").collect(),
            Err(fault) => vec![fault.at(&self.path).to_string()],
        }
    }

    fn check_rows(&mut self, report: &mut CheckReport) -> Result<()> {
        let (width, fix) = (self.identity.feature_width, self.writable);
        let behavior = if fix { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
        let connection = &mut self.connection;
        let mut work = || -> Outcome<()> {
            let transaction = connection.transaction_with_behavior(behavior)?;
            transaction.pragma_update(None, "defer_foreign_keys", true)?;
            Repair { connection: &transaction, width, fix, report }.run()?;
            transaction.commit()?;
            Ok(())
        };
        let done = work().map_err(|fault| fault.at(&self.path));
        if done.is_err() {
            // The transaction took the repairs back.
            report.damages.iter_mut().for_each(|damage| damage.repaired = false);
        }
        done
    }
}
