//! The label log: append-only, and the only source of what a sample's label is. A sample's live label is its
//! newest `teach` row that no `undo` names and no later `forget` of its class or of the sample covers.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::quota::Cost;
use super::samples::{FORGOTTEN, KEPT};
use super::{Memory, now_millis, seal};
use crate::error::{Error, Result};
use crate::ids::{ClassId, SampleId};

/// A row of the label log. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelId(pub i64);

impl std::fmt::Display for LabelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a row of the label log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelKind {
    /// The sample is of the class.
    Teach,
    /// An earlier `teach` row no longer counts.
    Undo,
    /// The sample, or with no sample the whole class, is forgotten.
    Forget,
}

impl LabelKind {
    fn text(self) -> &'static str {
        match self {
            Self::Teach => "teach",
            Self::Undo => "undo",
            Self::Forget => "forget",
        }
    }

    fn parse(text: &str) -> Outcome<Self> {
        match text {
            "teach" => Ok(Self::Teach),
            "undo" => Ok(Self::Undo),
            "forget" => Ok(Self::Forget),
            other => Err(Fault::Refused(format!("label kind `{other}` is unknown: run `kaizen check`"))),
        }
    }
}

/// One row of the label log, with the names it refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelEntry {
    /// Row of the log.
    pub label_id: LabelId,
    /// The sample; none where a whole class is forgotten.
    pub sample: Option<SampleId>,
    /// Source name of the sample.
    pub sample_name: Option<String>,
    /// The class.
    pub class: ClassId,
    /// Name of the class.
    pub class_name: String,
    /// What the row says.
    pub kind: LabelKind,
    /// The row that an `undo` takes back.
    pub undone: Option<LabelId>,
    /// Milliseconds since the Unix epoch.
    pub created_millis: i64,
    /// Whether it is a label that still counts: neither undone nor forgotten.
    pub counts: bool,
    /// Whether this row is its sample's label now: the newest of those that count.
    pub live: bool,
}

/// What a further label in the same transaction adds to the write-ahead log: the pages of its sample and of two
/// indices.
const LABEL_LOG_BYTES: usize = 6 << 10;

impl Memory {
    /// The id of class `name`, made if it is new. A class is listed by [`Memory::classes`] once a sample has
    /// it.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty name or one with control characters; [`Error::State`] if it cannot be
    /// kept.
    pub fn class_id(&mut self, name: &str) -> Result<ClassId> {
        self.write(Cost::of(name.len()), |connection, _| class_from_row(class_row(connection, name)?))
    }

    /// Every class that some sample is labelled with, by id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn classes(&self) -> Result<Vec<(ClassId, String)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, name FROM classes c
                 WHERE EXISTS (SELECT 1 FROM samples WHERE class_id=c.id) ORDER BY id",
            )?;
            let mut rows = statement.query([])?;
            let mut classes = Vec::new();
            while let Some(row) = rows.next()? {
                classes.push((class_from_row(row.get(0)?)?, row.get(1)?));
            }
            Ok(classes)
        })
    }

    /// The live class of every sample that has one, whether or not its features are still kept.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn live_classes(&self) -> Result<BTreeMap<SampleId, ClassId>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, class_id FROM samples WHERE class_id IS NOT NULL")?;
            let mut rows = statement.query([])?;
            let mut classes = BTreeMap::new();
            while let Some(row) = rows.next()? {
                classes.insert(SampleId(row.get(0)?), class_from_row(row.get(1)?)?);
            }
            Ok(classes)
        })
    }

    /// Gives a stored sample a label; it is durable when this returns. An earlier label stays in the log.
    ///
    /// # Errors
    /// [`Error::Config`] if the sample is not kept or the name cannot be used; [`Error::State`] if it cannot
    /// be kept.
    pub fn label(&mut self, sample: SampleId, name: &str) -> Result<LabelId> {
        let labels = self.label_all(&[sample], name)?;
        labels.first().copied().ok_or_else(|| Error::shape("labels", 1, labels.len()))
    }

    /// Gives stored samples one label each in one transaction: all are durable when it returns, or none is.
    ///
    /// # Errors
    /// As [`Memory::label`], of the first sample that cannot be labelled.
    pub fn label_all(&mut self, samples: &[SampleId], name: &str) -> Result<Vec<LabelId>> {
        let further = samples.len().saturating_sub(1);
        let cost =
            Cost { growth: name.len() + 128 * samples.len(), log: name.len() + LABEL_LOG_BYTES * further };
        self.write(cost, |connection, _| {
            let class = class_row(connection, name)?;
            let label = |sample: &SampleId| {
                let state: Option<i64> = connection
                    .prepare_cached("SELECT state FROM samples WHERE id=?1")?
                    .query_row([sample.0], |row| row.get(0))
                    .optional()?;
                if state.is_none_or(|state| state == FORGOTTEN) {
                    return Err(Error::not_found(
                        "kept sample",
                        sample,
                        "`kaizen history` lists those with a label",
                    )
                    .into());
                }
                teach(connection, sample.0, class)
            };
            samples.iter().map(label).collect()
        })
    }

    /// Takes back one label, exactly: the sample has again the label it would have without it, if any.
    ///
    /// # Errors
    /// [`Error::Config`] if `label` is not a label that still counts; [`Error::State`] if the undo cannot be
    /// kept.
    pub fn undo(&mut self, label: LabelId) -> Result<Option<ClassId>> {
        self.write(Cost::of(0), |connection, _| {
            let found: Option<(i64, i64)> = connection
                .prepare_cached(&format!(
                    "SELECT l.sample_id, l.class_id FROM labels l WHERE l.label_id=?1 AND {COUNTS}"
                ))?
                .query_row([label.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((sample, class)) = found else {
                let allowed = "a label that still counts: see `kaizen history`";
                return Err(Error::not_found("label that counts", label, allowed).into());
            };
            append(connection, Some(sample), class, LabelKind::Undo, Some(label.0))?;
            settle(connection, sample)?;
            live(connection, sample)?.map(|(_, class)| class_from_row(class)).transpose()
        })
    }
}

/// Condition on a row `l` of the log: it is a label that still counts.
const COUNTS: &str = "l.kind='teach'
    AND NOT EXISTS (SELECT 1 FROM labels u WHERE u.undone=l.label_id)
    AND NOT EXISTS (SELECT 1 FROM labels f
        WHERE f.sample_id=l.sample_id AND f.kind='forget' AND f.label_id>l.label_id)
    AND NOT EXISTS (SELECT 1 FROM labels f
        WHERE f.class_id=l.class_id AND f.sample_id IS NULL AND f.kind='forget' AND f.label_id>l.label_id)";

/// Label and class of a sample now, from the log alone.
pub(super) fn live(connection: &Connection, sample: i64) -> Outcome<Option<(i64, i64)>> {
    let sql = format!(
        "SELECT l.label_id, l.class_id FROM labels l
         WHERE l.sample_id=?1 AND {COUNTS} ORDER BY l.label_id DESC LIMIT 1"
    );
    let found = connection.prepare_cached(&sql)?.query_row([sample], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

/// Brings a sample's `class_id` and `label_id` into line with the log, and the split of the classes
/// concerned.
pub(super) fn settle(connection: &Connection, sample: i64) -> Outcome<()> {
    let now = live(connection, sample)?;
    let before: Option<i64> = connection
        .prepare_cached("SELECT class_id FROM samples WHERE id=?1")?
        .query_row([sample], |row| row.get(0))?;
    connection.prepare_cached("UPDATE samples SET label_id=?2, class_id=?3 WHERE id=?1")?.execute((
        sample,
        now.map(|(label, _)| label),
        now.map(|(_, class)| class),
    ))?;
    for class in [before, now.map(|(_, class)| class)].into_iter().flatten() {
        settle_split(connection, class)?;
    }
    Ok(())
}

/// A class has at least this many training rows before it has a held-out one.
const MIN_TRAINING: i64 = 2;

/// Moves held-out samples of a class to training until it has enough; never the other way, since what was
/// trained on must not judge.
pub(super) fn settle_split(connection: &Connection, class: i64) -> Outcome<()> {
    let rows_of = "FROM samples WHERE class_id=?1 AND state=?2 AND held_out=?3";
    let training: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM (SELECT 1 {rows_of} LIMIT {MIN_TRAINING})"))?
        .query_row([class, KEPT, 0], |row| row.get(0))?;
    if training >= MIN_TRAINING {
        return Ok(());
    }
    let moved: Vec<i64> = connection
        .prepare_cached(&format!("SELECT id {rows_of} ORDER BY id LIMIT ?4"))?
        .query_map([class, KEPT, 1, MIN_TRAINING - training], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for sample in moved {
        seal::amend(connection, &seal::SAMPLES, sample, "held_out=0", &[])?;
    }
    Ok(())
}

/// Appends a `teach` row and applies it.
pub(super) fn teach(connection: &Connection, sample: i64, class: i64) -> Outcome<LabelId> {
    let label = append(connection, Some(sample), class, LabelKind::Teach, None)?;
    settle(connection, sample)?;
    Ok(label)
}

pub(super) fn append(
    connection: &Connection,
    sample: Option<i64>,
    class: i64,
    kind: LabelKind,
    undone: Option<i64>,
) -> Outcome<LabelId> {
    let id = seal::next_id(connection, "labels", "label_id")?;
    let row = [
        ValueRef::Integer(id),
        seal::optional(sample),
        ValueRef::Integer(class),
        ValueRef::Text(kind.text().as_bytes()),
        seal::optional(undone),
        ValueRef::Integer(now_millis()),
    ];
    seal::insert(connection, &seal::LABELS, &row, &[])?;
    Ok(LabelId(id))
}

/// Row of class `name`, made if it is new.
pub(super) fn class_row(connection: &Connection, name: &str) -> Outcome<i64> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(Error::config("class", format!("{name:?}"), "a name without control characters").into());
    }
    let found: Option<i64> = connection
        .prepare_cached("SELECT id FROM classes WHERE name=?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let id: i64 = connection
        .prepare_cached("SELECT coalesce(max(id) + 1, 0) FROM classes")?
        .query_row([], |row| row.get(0))?;
    let row = [ValueRef::Integer(id), ValueRef::Text(name.as_bytes()), ValueRef::Integer(now_millis())];
    seal::insert(connection, &seal::CLASSES, &row, &[])?;
    Ok(id)
}

/// A class row as an id.
pub(super) fn class_from_row(row: i64) -> Outcome<ClassId> {
    u32::try_from(row)
        .map(ClassId)
        .map_err(|_| Fault::Refused(format!("class id {row} is out of range: run `kaizen check`")))
}

/// The whole log, oldest first.
pub(super) fn log(connection: &Connection) -> Outcome<Vec<LabelEntry>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT l.label_id, l.sample_id, s.name, l.class_id, c.name, l.kind, l.undone, l.created_millis,
                s.label_id IS l.label_id, ({COUNTS})
         FROM labels l JOIN classes c ON c.id=l.class_id LEFT JOIN samples s ON s.id=l.sample_id
         ORDER BY l.label_id"
    ))?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(LabelEntry {
            label_id: LabelId(row.get(0)?),
            sample: row.get::<_, Option<i64>>(1)?.map(SampleId),
            sample_name: row.get(2)?,
            class: class_from_row(row.get(3)?)?,
            class_name: row.get(4)?,
            kind: LabelKind::parse(&row.get::<_, String>(5)?)?,
            undone: row.get::<_, Option<i64>>(6)?.map(LabelId),
            created_millis: row.get(7)?,
            live: row.get(8)?,
            counts: row.get(9)?,
        });
    }
    Ok(entries)
}
