//! How many rows of each kind the state holds.

use serde::{Deserialize, Serialize};

use super::query;
use super::schema::{EVICTED, FORGOTTEN, KEPT, QUARANTINED};
use super::state::Memory;
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
    /// Samples that the label log names and whose features the quota took.
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
    /// Returns the numbers of rows by kind.
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
        let found = self.read(|connection| {
            query::first(connection, &sql, [], |row| {
                let number = |column| row.get::<_, u32>(column).map(u64::from);
                Ok(Counts {
                    classes: number(0)?,
                    training: number(1)?,
                    held_out: number(2)?,
                    unlabelled: number(3)?,
                    evicted: number(4)?,
                    forgotten: number(5)?,
                    quarantined: number(6)?,
                    labels: number(7)?,
                    versions: number(8)?,
                })
            })
        })?;
        Ok(found.unwrap_or_default())
    }
}
