//! The label log. It is append-only, and the only source of what a sample's label is: a sample's
//! live label is its newest `teach` row that no `undo` names and no later `forget`, of its class or
//! of the sample, covers.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params};
use serde::{Deserialize, Serialize};

use super::fault::Outcome;
use super::schema::{KEPT, now_millis};
use super::{query, seal};
use crate::error::Error;
use crate::ids::{ClassId, SampleId};

/// The number of a row of the label log. No number is used twice.
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

impl ToSql for LabelKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Teach => "teach",
            Self::Undo => "undo",
            Self::Forget => "forget",
        }))
    }
}

impl FromSql for LabelKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "teach" => Ok(Self::Teach),
            "undo" => Ok(Self::Undo),
            "forget" => Ok(Self::Forget),
            other => Err(FromSqlError::Other(format!("label kind `{other}` is unknown").into())),
        }
    }
}

/// One row of the label log, with the names it refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelEntry {
    /// Row of the log.
    pub label_id: LabelId,
    /// The sample; `None` where a whole class is forgotten.
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
    /// Whether the row is a label that still counts: neither undone nor forgotten.
    pub counts: bool,
    /// Whether the row is its sample's label now: the newest of those that count.
    pub live: bool,
}

/// The condition that a row `l` of the log is a label that still counts. The plus keeps SQLite from
/// walking every label of the class for each of them: rows without a sample are few, and have an
/// index.
pub(super) const COUNTS: &str = "l.kind='teach'
    AND NOT EXISTS (SELECT 1 FROM labels u WHERE u.undone=l.label_id)
    AND NOT EXISTS (SELECT 1 FROM labels f
        WHERE f.sample_id=l.sample_id AND f.kind='forget' AND f.label_id>l.label_id)
    AND NOT EXISTS (SELECT 1 FROM labels f
        WHERE +f.class_id=l.class_id AND f.sample_id IS NULL AND f.kind='forget' AND f.label_id>l.label_id)";

/// Returns label and class of a sample now, from the log alone.
pub(super) fn live(connection: &Connection, sample: i64) -> Outcome<Option<(i64, i64)>> {
    let sql = format!(
        "SELECT l.label_id, l.class_id FROM labels l
         WHERE l.sample_id=?1 AND {COUNTS} ORDER BY l.label_id DESC LIMIT 1"
    );
    query::first(connection, &sql, [sample], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Brings a sample's `class_id` and `label_id` into line with the log, and the split of the classes
/// concerned.
pub(super) fn settle(connection: &Connection, sample: i64) -> Outcome<()> {
    let (label, class) = live(connection, sample)?.unzip();
    let before: Option<i64> = query::value(connection, "SELECT class_id FROM samples WHERE id=?1", [sample])?;
    let sql = "UPDATE samples SET label_id=?2, class_id=?3 WHERE id=?1";
    query::execute(connection, sql, (sample, label, class))?;
    for class in [before, class].into_iter().flatten() {
        settle_split(connection, class)?;
    }
    Ok(())
}

/// A class has at least this many training rows before it has a held-out one.
const MIN_TRAINING: i64 = 2;

/// Moves held-out samples of a class to training until it has enough. None moves the other way,
/// since a sample that was trained on must not judge.
pub(super) fn settle_split(connection: &Connection, class: i64) -> Outcome<()> {
    let rows_of = "FROM samples WHERE class_id=?1 AND state=?2 AND held_out=?3";
    let sql = format!("SELECT count(*) FROM (SELECT 1 {rows_of} LIMIT {MIN_TRAINING})");
    let training: i64 = query::value(connection, &sql, [class, KEPT, 0])?;
    if training >= MIN_TRAINING {
        return Ok(());
    }
    let sql = format!("SELECT id {rows_of} ORDER BY id LIMIT ?4");
    for sample in query::values(connection, &sql, [class, KEPT, 1, MIN_TRAINING - training])? {
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

/// Appends a row without applying it.
pub(super) fn append(
    connection: &Connection,
    sample: Option<i64>,
    class: i64,
    kind: LabelKind,
    undone: Option<i64>,
) -> Outcome<LabelId> {
    let id = seal::next_id(connection, "labels", "label_id")?;
    let row = params![id, sample, class, kind, undone, now_millis()];
    seal::insert(connection, &seal::LABELS, row, &[])?;
    Ok(LabelId(id))
}

/// Returns the row of class `name`, made if it is new.
pub(super) fn class_row(connection: &Connection, name: &str) -> Outcome<i64> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(Error::config("class", format!("{name:?}"), "a name without control characters").into());
    }
    let sql = "SELECT id FROM classes WHERE name=?1";
    if let Some(id) = query::first(connection, sql, [name], |row| Ok(row.get(0)?))? {
        // What is taught now would be erased with the rest.
        let sql = "SELECT EXISTS (SELECT 1 FROM removals WHERE class_id=?1 AND label_id IS NULL)";
        if query::value(connection, sql, [id])? {
            let reason = "forgetting it was cut short";
            return Err(Error::refused(format!("teaching `{name}`"), reason, "forget it again first").into());
        }
        return Ok(id);
    }
    let id: i64 = query::value(connection, "SELECT coalesce(max(id) + 1, 0) FROM classes", [])?;
    seal::insert(connection, &seal::CLASSES, params![id, name, now_millis()], &[])?;
    Ok(id)
}

/// Returns the whole log, oldest row first.
pub(super) fn log(connection: &Connection) -> Outcome<Vec<LabelEntry>> {
    rows(connection, "TRUE ORDER BY l.label_id", [])
}

/// Returns the rows of the log that meet a condition on `l`.
pub(super) fn rows(
    connection: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Outcome<Vec<LabelEntry>> {
    let sql = format!(
        "SELECT l.label_id, l.sample_id, s.name, l.class_id, c.name, l.kind, l.undone, l.created_millis,
                s.label_id IS l.label_id, ({COUNTS})
         FROM labels l CROSS JOIN classes c ON c.id=l.class_id LEFT JOIN samples s ON s.id=l.sample_id
         WHERE {condition}"
    );
    query::all(connection, &sql, parameters, |row| {
        Ok(LabelEntry {
            label_id: LabelId(row.get(0)?),
            sample: row.get::<_, Option<i64>>(1)?.map(SampleId),
            sample_name: row.get(2)?,
            class: ClassId(row.get(3)?),
            class_name: row.get(4)?,
            kind: row.get(5)?,
            undone: row.get::<_, Option<i64>>(6)?.map(LabelId),
            created_millis: row.get(7)?,
            live: row.get(8)?,
            counts: row.get(9)?,
        })
    })
}
