//! Versions of the heads: what was published, what the guard turned down, what was taken back.

use std::collections::BTreeMap;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::label_log::{self, LabelEntry};
use super::quota::Cost;
use super::schema::now_millis;
use super::state::Memory;
use super::{query, seal};
use crate::error::{Error, Result};
use crate::number::sha256_hex;

/// The number of a version of the heads. No number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(pub i64);

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a version may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionStatus {
    /// The version was found good; the newest such version serves.
    Published,
    /// The guard turned the version down, or it was taken back.
    RolledBack,
}

impl ToSql for VersionStatus {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Published => "published",
            Self::RolledBack => "rolled_back",
        }))
    }
}

impl FromSql for VersionStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "published" => Ok(Self::Published),
            "rolled_back" => Ok(Self::RolledBack),
            other => Err(FromSqlError::Other(format!("version status `{other}` is unknown").into())),
        }
    }
}

/// Heads to record.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    /// Named parameters as safetensors.
    pub heads: &'a [u8],
    /// Which kind of head answers: the trained one or a closed-form one.
    pub head_kind: &'a str,
    /// The figures that the guard measured.
    pub figures: &'a VersionFigures,
}

/// The figures that the guard measured when it decided on a version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionFigures {
    /// Why the heads were published or refused, in a sentence.
    pub reason: String,
    /// Whether held-out samples decided; training samples did otherwise.
    pub held_out: bool,
    /// Accuracy of each candidate by its name, 0..1.
    pub candidates: BTreeMap<String, f64>,
    /// Accuracy of each class before and after.
    pub classes: Vec<ClassFigures>,
}

/// Accuracy of one class under the heads before and after a version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassFigures {
    /// Name of the class.
    pub class: Option<String>,
    /// Accuracy of the heads before, 0..1; `None` if they did not know the class.
    pub before: Option<f64>,
    /// Accuracy of the new heads, 0..1.
    pub after: Option<f64>,
    /// Samples behind these figures.
    pub samples: u64,
}

/// A recorded version, without its heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionEntry {
    /// Row of the state file.
    pub id: VersionId,
    /// The version that served when this one was made.
    pub parent: Option<VersionId>,
    /// Whether the version may serve.
    pub status: VersionStatus,
    /// Which kind of head answers.
    pub head_kind: String,
    /// SHA-256 of the heads, in hexadecimal.
    pub sha256: String,
    /// The figures that the guard measured; `None` if the row was damaged and repaired.
    pub figures: Option<VersionFigures>,
    /// Milliseconds since the Unix epoch.
    pub created_millis: i64,
}

/// A version with its heads, verified against their SHA-256.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// The version without its heads.
    pub entry: VersionEntry,
    /// Named parameters as safetensors; `None` for a version that was turned down, or whose heads
    /// the quota took.
    pub heads: Option<Vec<u8>>,
}

/// All labels and versions, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The label log.
    pub labels: Vec<LabelEntry>,
    /// Versions of the heads.
    pub versions: Vec<VersionEntry>,
}

impl Memory {
    /// Records heads as the version that serves from now on.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::State`] if it cannot be kept.
    pub fn publish(&mut self, new: NewVersion<'_>) -> Result<VersionId> {
        self.record(new, VersionStatus::Published)
    }

    /// Records that heads were turned down, with the figures that say why. The heads themselves are
    /// not kept.
    ///
    /// # Errors
    /// As [`Memory::publish`].
    pub fn record_rolled_back(&mut self, new: NewVersion<'_>) -> Result<VersionId> {
        self.record(new, VersionStatus::RolledBack)
    }

    fn record(&mut self, new: NewVersion<'_>, status: VersionStatus) -> Result<VersionId> {
        let digest = sha256_hex(new.heads);
        let figures = serde_json::to_string(new.figures).map_err(|error| {
            Error::refused("storing the figures", error.to_string(), "report this as a bug")
        })?;
        let heads = (status == VersionStatus::Published).then_some(new.heads);
        let cost = Cost::of(heads.map_or(0, <[u8]>::len) + figures.len() + 256);
        self.write(cost, |connection| {
            let id = seal::next_id(connection, "versions", "id")?;
            let parent = serving(connection)?;
            let row = params![id, parent, status, new.head_kind, digest, figures, now_millis()];
            seal::insert(connection, &seal::VERSIONS, row, &[&heads])?;
            Ok(VersionId(id))
        })
    }

    /// Takes a published version back. Returns the version that serves then, if any.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not a published version; [`Error::Full`] or [`Error::State`] if
    /// the change cannot be kept.
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.write(Cost::of(0), |connection| {
            let sql = "SELECT 1 FROM versions WHERE id=?1 AND status='published'";
            if query::first(connection, sql, [version.0], |_| Ok(()))?.is_none() {
                let way_out = "`kaizen history` lists the published versions";
                return Err(Error::not_found("published version", version, way_out).into());
            }
            seal::amend(connection, &seal::VERSIONS, version.0, "status='rolled_back'", &[])?;
            Ok(serving(connection)?.map(VersionId))
        })
    }

    /// Erases the heads of all versions but the newest `count` published ones; their entries stay.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::State`] if the change cannot be kept.
    pub fn keep_heads(&mut self, count: usize) -> Result<()> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let sql = "UPDATE versions SET heads=NULL WHERE heads IS NOT NULL AND id NOT IN (
                       SELECT id FROM versions WHERE status='published' AND heads IS NOT NULL
                       ORDER BY id DESC LIMIT ?1)";
        self.write(Cost::of(0), |connection| query::execute(connection, sql, [count]))
    }

    /// Returns the version that serves: the newest published one.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] if this version or a newer
    /// one is damaged: an older one must not answer in its place unnoticed.
    pub fn published(&self) -> Result<Option<Version>> {
        self.read(|connection| {
            let serving = serving(connection)?;
            verify_newest(connection, serving)?;
            let Some(id) = serving else { return Ok(None) };
            let sql = format!("SELECT {COLUMNS}, heads FROM versions WHERE id=?1");
            query::first(connection, &sql, [id], |row| {
                let (entry, heads) = (entry(row)?, row.get::<_, Option<Vec<u8>>>(7)?);
                if heads.as_ref().is_some_and(|heads| sha256_hex(heads) != entry.sha256) {
                    return Err(Fault::damaged("versions", id));
                }
                Ok(Version { entry, heads })
            })
        })
    }

    /// Returns which version serves.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn serving_version(&self) -> Result<Option<VersionId>> {
        self.read(|connection| Ok(serving(connection)?.map(VersionId)))
    }

    /// Returns the label log and the versions.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] for a row that makes no
    /// sense.
    pub fn history(&self) -> Result<History> {
        let sql = format!("SELECT {COLUMNS} FROM versions ORDER BY id");
        self.read(|connection| {
            let versions = query::all(connection, &sql, [], entry)?;
            Ok(History { labels: label_log::log(connection)?, versions })
        })
    }
}

/// Returns the newest published version that still has its heads.
pub(super) fn serving(connection: &Connection) -> Outcome<Option<i64>> {
    let sql = "SELECT id FROM versions WHERE status='published' AND heads IS NOT NULL
               ORDER BY id DESC LIMIT 1";
    query::first(connection, sql, [], |row| Ok(row.get(0)?))
}

/// Refuses if the version that serves, or a newer one, is not as it was written or not there.
fn verify_newest(connection: &Connection, serving: Option<i64>) -> Outcome<()> {
    let sql = seal::select_where(&seal::VERSIONS, "id>=?1");
    query::all(connection, &sql, [serving.unwrap_or(i64::MIN)], |row| {
        let intact = seal::intact(&seal::VERSIONS, row)?;
        if intact { Ok(()) } else { Err(Fault::damaged("versions", row.get(0)?)) }
    })?;
    if let Some(&id) = without_heads(connection, serving)?.first() {
        return Err(Fault::corrupt(format!("version {id}"), "its heads are gone"));
    }
    match ends(connection)? {
        (last, given) if last == given => Ok(()),
        (_, given) => Err(Fault::corrupt(format!("version {given}"), "its row is gone")),
    }
}

/// Returns the published versions that are newer than the one that serves and whose heads are gone,
/// though no newer version was taken back: heads are dropped only of versions that others followed.
/// A version that the guard turned down has empty heads.
pub(super) fn without_heads(connection: &Connection, serving: Option<i64>) -> Outcome<Vec<i64>> {
    let sql = "SELECT id FROM versions p WHERE status='published' AND id>?1 AND NOT EXISTS (
                   SELECT 1 FROM versions t WHERE t.id>p.id AND t.status='rolled_back' AND t.sha256<>?2)
               ORDER BY id";
    query::values(connection, sql, (serving.unwrap_or(i64::MIN), sha256_hex(&[])))
}

/// Returns the newest version there is, and the newest that was ever recorded; 0 for none.
pub(super) fn ends(connection: &Connection) -> Outcome<(i64, i64)> {
    let last = query::value(connection, "SELECT coalesce(max(id), 0) FROM versions", [])?;
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name='versions'), 0)";
    Ok((last, query::value(connection, sql, [])?))
}

pub(super) const COLUMNS: &str = "id, parent, status, head_kind, sha256, figures, created_millis";

pub(super) fn entry(row: &Row<'_>) -> Outcome<VersionEntry> {
    let id = row.get(0)?;
    let figures: String = row.get(5)?;
    Ok(VersionEntry {
        id: VersionId(id),
        parent: row.get::<_, Option<i64>>(1)?.map(VersionId),
        status: row.get(2)?,
        head_kind: row.get(3)?,
        sha256: row.get(4)?,
        figures: serde_json::from_str(&figures).map_err(|_| Fault::damaged("versions", id))?,
        created_millis: row.get(6)?,
    })
}
