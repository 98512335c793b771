//! Forgetting a class: its samples are erased, and the log says so.

use rusqlite::Connection;

use super::contents;
use super::fault::Outcome;
use super::label_log::{LabelKind, append, settle};
use super::query;
use super::quota::Cost;
use super::removals::{erased, mark};
use super::schema::FORGOTTEN;
use super::state::Memory;
use crate::error::{Error, Result};

/// Under a quota, one transaction of [`Memory::forget`] erases about this many bytes.
const FORGET_CHUNK_BYTES: usize = 48 << 10;

impl Memory {
    /// Forgets a class: its samples lose features, latents, views, thumbnail and label; the log and
    /// the name stay. Returns how many samples it had. The removal is marked as under way before
    /// anything else, until [`Memory::end_removals`]; under a quota it takes several transactions,
    /// and [`Memory::finish_forgetting`] goes on after a crash in between. The bytes are
    /// overwritten once no reader needs them.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no class has this name; [`Error::Full`] or [`Error::State`] if the
    /// change cannot be kept.
    pub fn forget(&mut self, name: &str) -> Result<usize> {
        let sql = "SELECT id FROM classes WHERE name=?1";
        let class = self.read(|connection| query::first(connection, sql, [name], |row| Ok(row.get(0)?)))?;
        let Some(class) = class else {
            let names: Vec<String> = self.classes()?.into_iter().map(|(_, name)| name).collect();
            return Err(Error::not_found("class", name, format!("classes are [{}]", names.join(", "))));
        };
        self.write(Cost::of(0), |connection| mark(connection, class, None))?;
        self.finish_forgetting()
    }

    /// Erases what is left of the classes that are marked to be forgotten. Returns how many samples
    /// that were.
    ///
    /// # Errors
    /// As [`Memory::forget`].
    pub fn finish_forgetting(&mut self) -> Result<usize> {
        let sql = "SELECT class_id FROM removals WHERE label_id IS NULL";
        let mut count = 0;
        for class in self.read(|connection| query::values(connection, sql, []))? {
            count += self.erase_class(class)?;
        }
        self.checkpoint()?;
        Ok(count)
    }

    fn erase_class(&mut self, class: i64) -> Result<usize> {
        let most = if self.quota.is_some() { FORGET_CHUNK_BYTES } else { usize::MAX };
        let mut count = 0;
        loop {
            let chunk = self.read(|connection| forgettable(connection, class, most))?;
            let cost = Cost { growth: 64 * chunk.samples.len(), log: chunk.bytes };
            self.write(cost, |connection| {
                for &sample in &chunk.samples {
                    append(connection, Some(sample), class, LabelKind::Forget, None)?;
                    contents::remove(connection, sample, FORGOTTEN)?;
                    settle(connection, sample)?;
                }
                if chunk.last {
                    let row = append(connection, None, class, LabelKind::Forget, None)?;
                    erased(connection, class, row.0)?;
                    // What was being trained had seen the class.
                    query::execute(connection, "DELETE FROM checkpoints", [])?;
                }
                Ok(())
            })?;
            count += chunk.samples.len();
            if chunk.last {
                return Ok(count);
            }
        }
    }
}

/// Samples of a class to forget in one transaction.
struct Chunk {
    samples: Vec<i64>,
    bytes: usize,
    /// Whether these are the last samples of the class.
    last: bool,
}

fn forgettable(connection: &Connection, class: i64, most: usize) -> Outcome<Chunk> {
    let mut statement = connection.prepare_cached(
        "SELECT id, coalesce(length(c.features), 0) + coalesce(length(c.thumbnail), 0)
            + coalesce((SELECT sum(length(features)) FROM views WHERE sample_id=samples.id), 0)
            + coalesce((SELECT length(codes) + length(scales) FROM latents WHERE sample_id=samples.id), 0)
         FROM samples LEFT JOIN contents c ON c.sample_id=id WHERE class_id=?1 ORDER BY id",
    )?;
    let mut rows = statement.query([class])?;
    let mut chunk = Chunk { samples: Vec::new(), bytes: 0, last: true };
    while let Some(row) = rows.next()? {
        let bytes = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0) + 1024;
        if !chunk.samples.is_empty() && chunk.bytes + bytes > most {
            chunk.last = false;
            break;
        }
        chunk.samples.push(row.get(0)?);
        chunk.bytes += bytes;
    }
    Ok(chunk)
}
