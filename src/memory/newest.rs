//! The newest part of the history, at a cost that does not grow with its length.

use rusqlite::Connection;

use super::fault::Outcome;
use super::label_log::{self, COUNTS, LabelEntry, LabelId};
use super::query;
use super::state::Memory;
use super::versions::{self, COLUMNS as VERSION_COLUMNS, VersionEntry, VersionId};
use crate::error::Result;

/// The most entries of each kind that are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MostEntries {
    /// Labels.
    pub labels: u32,
    /// Versions.
    pub versions: u32,
}

/// The newest part of the history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewestEntries {
    /// Labels that count, the newest first.
    pub labels: Vec<LabelEntry>,
    /// The number of labels that count.
    pub labels_in_all: u32,
    /// Versions, the newest first.
    pub versions: Vec<VersionEntry>,
    /// The version that answers.
    pub serving: Option<VersionId>,
}

impl Memory {
    /// Returns the newest labels that count and are older than `before`, and the newest versions;
    /// `most` limits the number of each. Both come newest first. Besides them, the cost is one pass
    /// that counts the rows of the log.
    ///
    /// # Errors
    /// As [`Memory::history`].
    pub(crate) fn newest(&self, before: LabelId, most: MostEntries) -> Result<NewestEntries> {
        let sql = format!("SELECT {VERSION_COLUMNS} FROM versions ORDER BY id DESC LIMIT ?1");
        self.read(|connection| {
            Ok(NewestEntries {
                labels: newest(connection, before, most.labels)?,
                labels_in_all: number(connection)?,
                versions: query::all(connection, &sql, [most.versions], versions::entry)?,
                serving: versions::serving(connection)?.map(VersionId),
            })
        })
    }
}

/// Returns the newest labels that count and are older than `before`, the newest first, at most
/// `most`.
fn newest(connection: &Connection, before: LabelId, most: u32) -> Outcome<Vec<LabelEntry>> {
    let condition = format!("l.label_id<?1 AND {COUNTS} ORDER BY l.label_id DESC LIMIT ?2");
    label_log::rows(connection, &condition, (before.0, most))
}

/// Returns how many labels count: all but those that an `undo` or a `forget` names, which are few.
/// `CROSS JOIN` keeps SQLite from going through all other rows for them.
fn number(connection: &Connection) -> Outcome<u32> {
    let sql = "SELECT (SELECT count(*) FROM labels WHERE kind='teach') - (SELECT count(*) FROM (
            SELECT undone FROM labels WHERE undone IS NOT NULL
            UNION SELECT t.label_id FROM labels f CROSS JOIN labels t ON t.sample_id=f.sample_id
                WHERE f.kind='forget' AND t.kind='teach' AND t.label_id<f.label_id
            UNION SELECT t.label_id FROM labels f CROSS JOIN labels t ON t.class_id=f.class_id
                WHERE f.kind='forget' AND f.sample_id IS NULL AND t.kind='teach' AND t.label_id<f.label_id))";
    query::value(connection, sql, [])
}
