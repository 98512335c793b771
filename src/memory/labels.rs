//! Classes and labels: what is taught, and what is taken back.

use std::collections::BTreeMap;

use super::label_log::{COUNTS, LabelId, LabelKind, append, class_row, settle, teach};
use super::query;
use super::quota::Cost;
use super::removals::mark;
use super::schema::FORGOTTEN;
use super::state::Memory;
use crate::error::{Error, Result};
use crate::ids::{ClassId, SampleId};

/// What a further label in the same transaction adds to the write-ahead log: the pages of its
/// sample and of two indices.
const LABEL_LOG_BYTES: usize = 6 << 10;

impl Memory {
    /// Returns every class that some sample is labelled with, by id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn classes(&self) -> Result<Vec<(ClassId, String)>> {
        let sql = "SELECT id, name FROM classes c
                   WHERE EXISTS (SELECT 1 FROM samples WHERE class_id=c.id) ORDER BY id";
        self.read(|connection| query::all(connection, sql, [], |row| Ok((ClassId(row.get(0)?), row.get(1)?))))
    }

    /// Returns the live class of every sample that has one, whether or not its features are kept.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn live_classes(&self) -> Result<BTreeMap<SampleId, ClassId>> {
        let sql = "SELECT id, class_id FROM samples WHERE class_id IS NOT NULL";
        let rows = self.read(|connection| {
            query::all(connection, sql, [], |row| Ok((SampleId(row.get(0)?), ClassId(row.get(1)?))))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Returns the number of samples that have each class as their live class.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    #[cfg(feature = "serve")]
    pub(crate) fn samples_by_class(&self) -> Result<BTreeMap<ClassId, u32>> {
        let sql = "SELECT class_id, count(*) FROM samples WHERE class_id IS NOT NULL GROUP BY class_id";
        let rows = self.read(|connection| {
            query::all(connection, sql, [], |row| Ok((ClassId(row.get(0)?), row.get(1)?)))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Gives a stored sample a label, which is durable when this returns. An earlier label stays in
    /// the log.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the sample is not kept, [`Error::Config`] for a name that cannot be
    /// used, [`Error::Full`] or [`Error::State`] if the label cannot be kept.
    pub fn label(&mut self, sample: SampleId, name: &str) -> Result<LabelId> {
        let labels = self.label_all(&[sample], name)?;
        labels.first().copied().ok_or_else(|| Error::shape("labels", 1, labels.len()))
    }

    /// Gives stored samples one label each in one transaction: all are durable when it returns, or
    /// none is.
    ///
    /// # Errors
    /// As [`Memory::label`], of the first sample that cannot be labelled.
    pub fn label_all(&mut self, samples: &[SampleId], name: &str) -> Result<Vec<LabelId>> {
        let further = samples.len().saturating_sub(1);
        let cost =
            Cost { growth: name.len() + 128 * samples.len(), log: name.len() + LABEL_LOG_BYTES * further };
        self.write(cost, |connection| {
            let class = class_row(connection, name)?;
            let label = |sample: &SampleId| {
                let sql = "SELECT 1 FROM samples WHERE id=?1 AND state<>?2";
                if query::first(connection, sql, [sample.0, FORGOTTEN], |_| Ok(()))?.is_none() {
                    let way_out = "`kaizen history` lists those with a label";
                    return Err(Error::not_found("kept sample", sample, way_out).into());
                }
                teach(connection, sample.0, class)
            };
            samples.iter().map(label).collect()
        })
    }

    /// Takes back one label exactly: the sample then has the label it would have without it, if
    /// any. Returns the class of that label. The removal is marked as under way until
    /// [`Memory::end_removals`], since what was learned from the label is not gone yet.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `label` is not a label that still counts, [`Error::Full`] or
    /// [`Error::State`] if the undo cannot be kept.
    pub fn undo(&mut self, label: LabelId) -> Result<Option<ClassId>> {
        let sql = format!("SELECT l.sample_id, l.class_id FROM labels l WHERE l.label_id=?1 AND {COUNTS}");
        self.write(Cost::of(0), |connection| {
            let found = query::first(connection, &sql, [label.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some((sample, class)) = found else {
                let way_out = "`kaizen history` lists the labels that count";
                return Err(Error::not_found("label that counts", label, way_out).into());
            };
            let undo = append(connection, Some(sample), class, LabelKind::Undo, Some(label.0))?;
            mark(connection, class, Some(undo.0))?;
            settle(connection, sample)?;
            let sql = "SELECT class_id FROM samples WHERE id=?1";
            Ok(query::value::<Option<u32>>(connection, sql, [sample])?.map(ClassId))
        })
    }
}
