//! Forgetting a class: its samples are erased, the log says so.

use rusqlite::{Connection, OptionalExtension as _};

use super::Memory;
use super::fault::Outcome;
use super::labels::{LabelKind, append, settle};
use super::quota::Cost;
use super::samples::{FORGOTTEN, remove_content};
use crate::error::{Error, Result};

/// Under a quota, one transaction of [`Memory::forget`] erases about so many bytes.
const FORGET_CHUNK_BYTES: usize = 48 << 10;

impl Memory {
    /// Forgets a class: its samples lose features, views, thumbnail and label; the log and the name stay.
    /// Returns how many samples that were. Under a quota it takes several transactions; after a crash in
    /// between, forgetting again finishes it. The bytes are overwritten, once no reader still needs them.
    ///
    /// # Errors
    /// [`Error::Config`] if no class has this name; [`Error::State`] if the change cannot be kept.
    pub fn forget(&mut self, name: &str) -> Result<usize> {
        let class: Option<i64> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM classes WHERE name=?1")?;
            Ok(statement.query_row([name], |row| row.get(0)).optional()?)
        })?;
        let Some(class) = class else {
            let names: Vec<String> = self.classes()?.into_iter().map(|(_, name)| name).collect();
            return Err(Error::not_found("class", name, format!("classes are [{}]", names.join(", "))));
        };
        let count = self.forget_class(class)?;
        self.checkpoint()?;
        Ok(count)
    }

    fn forget_class(&mut self, class: i64) -> Result<usize> {
        let most = if self.quota.is_some() { FORGET_CHUNK_BYTES } else { usize::MAX };
        let mut count = 0;
        loop {
            let chunk = self.read(|connection| forgettable(connection, class, most))?;
            let cost = Cost { growth: 64 * chunk.samples.len(), log: chunk.bytes };
            self.write(cost, |connection, _| {
                for &sample in &chunk.samples {
                    append(connection, Some(sample), class, LabelKind::Forget, None)?;
                    remove_content(connection, sample, FORGOTTEN)?;
                    settle(connection, sample)?;
                }
                if chunk.last {
                    append(connection, None, class, LabelKind::Forget, None)?;
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
    /// No sample of the class is left after these.
    last: bool,
}

fn forgettable(connection: &Connection, class: i64, most: usize) -> Outcome<Chunk> {
    let mut statement = connection.prepare_cached(
        "SELECT id, coalesce(length(c.features), 0) + coalesce(length(c.thumbnail), 0)
            + coalesce((SELECT sum(length(features)) FROM views WHERE sample_id=samples.id), 0)
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
