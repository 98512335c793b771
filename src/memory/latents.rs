//! The latents of a sample, `[1 + V, positions, channels]` in 8 bits: what the trunk of a backbone
//! makes of the frame and of its views.

use rusqlite::{Connection, Row, params};

use super::fault::{Fault, Outcome};
use super::quota::Cost;
use super::schema::KEPT;
use super::state::Memory;
use super::{query, seal};
use crate::error::{Error, Result};
use crate::ids::SampleId;
use crate::latent::LatentTable;

impl Memory {
    /// Returns the latents of a sample, of the frame itself first, then of its views; `None` for a
    /// sample without latents.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] for damaged latents.
    pub fn latents(&self, sample: SampleId) -> Result<Option<LatentTable>> {
        let sql = seal::select_where(&seal::LATENTS, "sample_id=?1");
        self.read(|connection| query::first(connection, &sql, [sample.0], read))
    }

    /// Stores the latents of a sample that was stored without. They replace its views' features.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a sample that has no features any more; [`Error::Full`] or
    /// [`Error::State`] if they cannot be kept.
    pub fn add_latents(&mut self, sample: SampleId, latents: &LatentTable) -> Result<()> {
        let cost = Cost::of(bytes(latents));
        self.write(cost, |connection| {
            let sql = format!("SELECT 1 FROM samples WHERE id=?1 AND state={KEPT}");
            if query::first(connection, &sql, [sample.0], |_| Ok(()))?.is_none() {
                return Err(Error::not_found("sample", sample, "its features are gone").into());
            }
            query::execute(connection, "DELETE FROM views WHERE sample_id=?1", [sample.0])?;
            query::execute(connection, "DELETE FROM latents WHERE sample_id=?1", [sample.0])?;
            insert(connection, sample.0, latents)
        })
    }

    /// Returns the kept samples that have no latents and a thumbnail to make some from, by id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn pictured_without_latents(&self) -> Result<Vec<SampleId>> {
        let sql = format!(
            "SELECT id FROM samples JOIN contents c ON c.sample_id=id WHERE state={KEPT}
             AND thumbnail IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM latents WHERE sample_id=id) ORDER BY id"
        );
        let ids = self.read(|connection| query::values(connection, &sql, []))?;
        Ok(ids.into_iter().map(SampleId).collect())
    }

    /// Returns whether latents are there, or a picture to make some from.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn may_have_latents(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM latents) OR NOT EXISTS (SELECT 1 FROM samples)
                   OR EXISTS (SELECT 1 FROM contents WHERE thumbnail IS NOT NULL)";
        self.read(|connection| query::value(connection, sql, []))
    }

    /// Returns the kept samples that have no latents, by id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn without_latents(&self) -> Result<Vec<SampleId>> {
        let sql = format!(
            "SELECT id FROM samples WHERE state={KEPT}
             AND NOT EXISTS (SELECT 1 FROM latents WHERE sample_id=id) ORDER BY id"
        );
        let ids = self.read(|connection| query::values(connection, &sql, []))?;
        Ok(ids.into_iter().map(SampleId).collect())
    }
}

/// Returns the bytes that latents add to the file.
pub(super) fn bytes(latents: &LatentTable) -> usize {
    latents.codes().len() + 2 * latents.scales().len() + 128
}

/// Inserts the latents of a sample.
pub(super) fn insert(connection: &Connection, sample: i64, latents: &LatentTable) -> Outcome<()> {
    let [positions, channels] = latents.shape().map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let codes: Vec<u8> = latents.codes().iter().map(|code| code.to_le_bytes()[0]).collect();
    let scales: Vec<u8> = latents.scales().iter().flat_map(|scale| scale.to_le_bytes()).collect();
    seal::insert(connection, &seal::LATENTS, params![sample, positions, channels, codes, scales], &[])
}

/// Reads a row of [`seal::LATENTS`].
fn read(row: &Row<'_>) -> Outcome<LatentTable> {
    let id: i64 = row.get(0)?;
    if !seal::intact(&seal::LATENTS, row)? {
        return Err(Fault::damaged("latents", id));
    }
    let blob = |column| -> Outcome<_> {
        let value = row.get_ref(column)?;
        Ok(value.as_blob().map_err(rusqlite::Error::from)?)
    };
    let codes = blob(4)?.iter().map(|&byte| i8::from_le_bytes([byte])).collect();
    let scales = blob(5)?.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes)).collect();
    let size = |column| -> Outcome<usize> { Ok(usize::try_from(row.get::<_, i64>(column)?).unwrap_or(0)) };
    LatentTable::from_parts([size(2)?, size(3)?], codes, scales)
        .map_err(|error| Fault::corrupt(format!("row {id} of `latents`"), error.to_string()))
}
