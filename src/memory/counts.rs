//! How much of what the state holds.

use serde::{Deserialize, Serialize};

use super::Memory;
use super::samples::{EVICTED, FORGOTTEN, KEPT, QUARANTINED};
use crate::error::Result;

/// Numbers of rows by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Classes that some sample is labelled with.
    pub classes: u64,
    /// Kept samples, labelled, for training.
    pub training: u64,
    /// Kept samples, labelled, held out.
    pub held_out: u64,
    /// Kept samples without label.
    pub unlabelled: u64,
    /// Samples whose features went to hold the quota, and that the label log names.
    pub evicted: u64,
    /// Samples erased with their class.
    pub forgotten: u64,
    /// Samples whose features were damaged.
    pub quarantined: u64,
    /// Rows of the label log.
    pub labels: u64,
    /// Versions of the heads.
    pub versions: u64,
}

impl Memory {
    /// Numbers of rows by kind.
    ///
    /// # Errors
    /// [`crate::Error::State`] if the file cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        let sql = format!(
            "SELECT count(DISTINCT class_id),
                count(*) FILTER (WHERE state={KEPT} AND class_id IS NOT NULL AND held_out=0),
                count(*) FILTER (WHERE state={KEPT} AND class_id IS NOT NULL AND held_out=1),
                count(*) FILTER (WHERE state={KEPT} AND class_id IS NULL),
                count(*) FILTER (WHERE state={EVICTED}), count(*) FILTER (WHERE state={FORGOTTEN}),
                    count(*) FILTER (WHERE state={QUARANTINED}),
                (SELECT count(*) FROM labels), (SELECT count(*) FROM versions)
             FROM samples"
        );
        self.read(|connection| {
            let number = |row: &rusqlite::Row<'_>, column: usize| -> rusqlite::Result<u64> {
                Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
            };
            Ok(connection.prepare_cached(&sql)?.query_row([], |row| {
                Ok(Counts {
                    classes: number(row, 0)?,
                    training: number(row, 1)?,
                    held_out: number(row, 2)?,
                    unlabelled: number(row, 3)?,
                    evicted: number(row, 4)?,
                    forgotten: number(row, 5)?,
                    quarantined: number(row, 6)?,
                    labels: number(row, 7)?,
                    versions: number(row, 8)?,
                })
            })?)
        })
    }
}
