//! Removals that are under way. Undoing a label or forgetting a class leaves a mark before anything
//! else; it goes only when nothing that was learned from it answers or is on the disk any more. A
//! process that opens a state with such a mark finishes the removal first.

use rusqlite::{Connection, params};

use super::fault::{Fault, Outcome};
use super::label_log::{LabelId, LabelKind};
use super::quota::Cost;
use super::state::Memory;
use super::{query, seal};
use crate::error::Result;

/// A removal that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Name of the class that is forgotten, or of the label that is taken back.
    pub class: String,
    /// The label that is taken back; `None` where the whole class is forgotten.
    pub label: Option<LabelId>,
}

impl std::fmt::Display for Removal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.label {
            Some(label) => write!(f, "undoing label {label} (`{}`)", self.class),
            None => write!(f, "forgetting `{}`", self.class),
        }
    }
}

impl Memory {
    /// Returns the removals that are under way.
    ///
    /// # Errors
    /// [`crate::Error::State`] if the file cannot be read, [`crate::Error::Corrupt`] if a mark is
    /// damaged.
    pub fn removals(&self) -> Result<Vec<Removal>> {
        let sql = "SELECT c.name, l.kind, l.undone FROM removals r
                   JOIN classes c ON c.id=r.class_id LEFT JOIN labels l ON l.label_id=r.label_id
                   WHERE r.is_applied=0 ORDER BY r.id";
        self.read(|connection| {
            if let Some(&row) = seal::damaged(connection, &seal::REMOVALS)?.1.first() {
                return Err(Fault::damaged("removals", row));
            }
            query::all(connection, sql, [], |row| {
                let label = match row.get::<_, Option<LabelKind>>(1)? {
                    Some(LabelKind::Undo) => row.get::<_, Option<i64>>(2)?.map(LabelId),
                    Some(LabelKind::Teach | LabelKind::Forget) | None => None,
                };
                Ok(Removal { class: row.get(0)?, label })
            })
        })
    }

    /// Notes that nothing answers by what was removed, and overwrites its bytes in the file. While
    /// a reader needs the file as it was, they stay; a later call, or the next writer that opens
    /// the state, tries again.
    ///
    /// # Errors
    /// [`crate::Error::Full`] or [`crate::Error::State`] if it cannot be noted.
    pub fn end_removals(&mut self) -> Result<()> {
        self.write(Cost::of(0), |connection| {
            let sql = "SELECT id FROM removals WHERE label_id IS NOT NULL AND is_applied=0";
            for row in query::values(connection, sql, [])? {
                seal::amend(connection, &seal::REMOVALS, row, "is_applied=1", &[])?;
            }
            Ok(())
        })?;
        self.overwrite_removed()
    }

    /// Overwrites in the file what is removed and still stands there, if no reader needs it.
    pub(super) fn overwrite_removed(&mut self) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT 1 FROM removals WHERE is_applied=1)";
        if self.read(|connection| query::value(connection, sql, []))? && self.checkpoint()? {
            self.write(Cost::of(0), |connection| {
                query::execute(connection, "DELETE FROM removals WHERE is_applied=1", [])
            })?;
        }
        Ok(())
    }
}

/// Marks a removal as under way: of the label that row `undo` of the log takes back, or, without
/// it, of a whole class. A class is marked once.
pub(super) fn mark(connection: &Connection, class: i64, undo: Option<i64>) -> Outcome<()> {
    let sql = "SELECT EXISTS (
                   SELECT 1 FROM removals WHERE class_id=?1 AND label_id IS ?2 AND is_applied=0)";
    if query::value(connection, sql, (class, undo))? {
        return Ok(());
    }
    let id: i64 = query::value(connection, "SELECT coalesce(max(id) + 1, 0) FROM removals", [])?;
    seal::insert(connection, &seal::REMOVALS, params![id, class, undo, 0], &[])
}

/// Notes that the samples of a class are erased, as row `forget` of the log says.
pub(super) fn erased(connection: &Connection, class: i64, forget: i64) -> Outcome<()> {
    let sql = "SELECT id FROM removals WHERE class_id=?1 AND label_id IS NULL";
    for row in query::values(connection, sql, [class])? {
        seal::amend(connection, &seal::REMOVALS, row, "label_id=?2", &[&forget])?;
    }
    Ok(())
}
