//! Versions of the heads: what was published, what the guard turned down, what was taken back; and the state
//! of the training between consolidations.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::labels::{self, LabelEntry};
use super::quota::Cost;
use super::{Memory, now_millis, seal};
use crate::error::{Error, Result};

/// A version of the heads. Never reused.
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
    /// It was found good; the newest such version serves.
    Published,
    /// The guard turned it down, or it was taken back.
    RolledBack,
}

/// Heads to record.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    /// Named parameters as safetensors.
    pub heads: &'a [u8],
    /// Which kind of head answers: the trained one or a closed-form one.
    pub head_kind: &'a str,
    /// What the guard measured.
    pub figures: &'a VersionFigures,
}

/// What the guard measured when it decided on a version.
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
    /// Accuracy of the heads before, 0..1; none if they did not know the class.
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
    /// Whether it may serve.
    pub status: VersionStatus,
    /// Which kind of head answers.
    pub head_kind: String,
    /// SHA-256 of the heads, in hexadecimal.
    pub sha256: String,
    /// What the guard measured; none if the row was damaged and repaired.
    pub figures: Option<VersionFigures>,
    /// Milliseconds since the Unix epoch.
    pub created_millis: i64,
}

/// A version with its heads, verified against their SHA-256.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// What is known of it.
    pub entry: VersionEntry,
    /// Named parameters as safetensors; none for a version that was turned down, or dropped to hold the
    /// quota.
    pub heads: Option<Vec<u8>>,
}

/// Everything that happened, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The label log.
    pub labels: Vec<LabelEntry>,
    /// Versions of the heads.
    pub versions: Vec<VersionEntry>,
}

/// The newest published version that still has its heads.
pub(super) const SERVING: &str =
    "SELECT id FROM versions WHERE status='published' AND heads IS NOT NULL ORDER BY id DESC LIMIT 1";

impl Memory {
    /// Records heads as the version that serves from now on.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be kept.
    pub fn publish(&mut self, new: NewVersion<'_>) -> Result<VersionId> {
        self.record(new, VersionStatus::Published)
    }

    /// Records that heads were turned down, with the figures that say why. The heads themselves are not kept.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be kept.
    pub fn record_rolled_back(&mut self, new: NewVersion<'_>) -> Result<VersionId> {
        self.record(new, VersionStatus::RolledBack)
    }

    fn record(&mut self, new: NewVersion<'_>, status: VersionStatus) -> Result<VersionId> {
        let digest = hex(&seal::sha256(new.heads));
        let figures = serde_json::to_string(new.figures)
            .map_err(|error| Error::shape("figures of a version", "finite numbers", error.to_string()))?;
        let heads = match status {
            VersionStatus::Published => ValueRef::Blob(new.heads),
            VersionStatus::RolledBack => ValueRef::Null,
        };
        let kept = if status == VersionStatus::Published { new.heads.len() } else { 0 };
        self.write(Cost::of(kept + figures.len() + 256), |connection, _| {
            let id = seal::next_id(connection, "versions", "id")?;
            let parent = serving(connection)?;
            let sealed = [
                ValueRef::Integer(id),
                seal::optional(parent),
                ValueRef::Text(status.text().as_bytes()),
                ValueRef::Text(new.head_kind.as_bytes()),
                ValueRef::Text(digest.as_bytes()),
                ValueRef::Text(figures.as_bytes()),
                ValueRef::Integer(now_millis()),
            ];
            seal::insert(connection, &seal::VERSIONS, &sealed, &[heads])?;
            Ok(VersionId(id))
        })
    }

    /// Takes a published version back. Returns the version that serves then, if any.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not a published version; [`Error::State`] if the change cannot be kept.
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.write(Cost::of(0), |connection, _| {
            let found: Option<String> = connection
                .prepare_cached("SELECT status FROM versions WHERE id=?1")?
                .query_row([version.0], |row| row.get(0))
                .optional()?;
            if found.as_deref() != Some(VersionStatus::Published.text()) {
                let way_out = "`kaizen history` lists the published versions";
                return Err(Error::not_found("published version", version, way_out).into());
            }
            seal::amend(connection, &seal::VERSIONS, version.0, "status='rolled_back'", &[])?;
            Ok(serving(connection)?.map(VersionId))
        })
    }

    /// Erases the heads of all versions but the newest `count` published ones; what is known of them stays.
    ///
    /// # Errors
    /// [`Error::State`] if the change cannot be kept.
    pub fn keep_heads(&mut self, count: usize) -> Result<()> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.write(Cost::of(0), |connection, _| {
            connection
                .prepare_cached(
                    "UPDATE versions SET heads=NULL WHERE heads IS NOT NULL AND id NOT IN (
                        SELECT id FROM versions WHERE status='published' AND heads IS NOT NULL
                        ORDER BY id DESC LIMIT ?1)",
                )?
                .execute([count])?;
            Ok(())
        })
    }

    /// The version that serves: the newest published one.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or the version is damaged.
    pub fn published(&self) -> Result<Option<Version>> {
        self.read(|connection| {
            let serving = serving(connection)?;
            verify_newest(connection, serving)?;
            serving.map_or(Ok(None), |id| load(connection, id))
        })
    }

    /// One version, if there is one with this id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or the version is damaged.
    pub fn version(&self, id: VersionId) -> Result<Option<Version>> {
        self.read(|connection| load(connection, id.0))
    }

    /// The label log and the versions.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub fn history(&self) -> Result<History> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM versions ORDER BY id"))?;
            let mut rows = statement.query([])?;
            let mut versions = Vec::new();
            while let Some(row) = rows.next()? {
                versions.push(entry(row)?);
            }
            Ok(History { labels: labels::log(connection)?, versions })
        })
    }

    /// Keeps the state of optimiser and generators in place of the one before.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be kept.
    pub fn save_training(&mut self, state: &[u8]) -> Result<()> {
        let before: i64 = self.read(|connection| {
            let sql = "SELECT coalesce(max(length(state)), 0) FROM training";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        })?;
        let before = usize::try_from(before).unwrap_or(0);
        let growth = state.len().saturating_sub(before);
        self.write(Cost { growth, log: state.len().max(before) }, |connection, _| {
            connection.execute("DELETE FROM training", [])?;
            seal::insert(connection, &seal::TRAINING, &[ValueRef::Integer(0), ValueRef::Blob(state)], &[])
        })
    }

    /// The state of optimiser and generators, if one was kept.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or the state is damaged.
    pub fn load_training(&self) -> Result<Option<Vec<u8>>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&seal::select_where(&seal::TRAINING, "id=0"))?;
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            if !seal::intact(&seal::TRAINING, row)? {
                return Err(Fault::damaged("training", 0));
            }
            Ok(Some(row.get(2)?))
        })
    }
}

impl VersionStatus {
    fn text(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serving(connection: &Connection) -> Outcome<Option<i64>> {
    Ok(connection.prepare_cached(SERVING)?.query_row([], |row| row.get(0)).optional()?)
}

/// Refuses if the version that serves, or a newer one, is not as it was written or not there: an older one must not
/// answer in its place unsaid.
fn verify_newest(connection: &Connection, serving: Option<i64>) -> Outcome<()> {
    let mut statement = connection.prepare_cached(&seal::select_where(&seal::VERSIONS, "id>=?1"))?;
    let mut rows = statement.query([serving.unwrap_or(i64::MIN)])?;
    while let Some(row) = rows.next()? {
        if !seal::intact(&seal::VERSIONS, row)? {
            return Err(Fault::damaged("versions", row.get(0)?));
        }
    }
    if let Some(&id) = without_heads(connection, serving)?.first() {
        return Err(Fault::damaged("versions", id));
    }
    match ends(connection)? {
        (last, given) if last == given => Ok(()),
        (_, given) => Err(Fault::damaged("versions", given)),
    }
}

/// Published versions newer than the one that serves whose heads are gone though no newer one was taken back: only the
/// heads of versions that others followed are ever dropped. A version that the guard turned down has empty heads.
pub(super) fn without_heads(connection: &Connection, serving: Option<i64>) -> Outcome<Vec<i64>> {
    let sql = "SELECT id FROM versions p WHERE status='published' AND id>?1 AND NOT EXISTS (
                   SELECT 1 FROM versions t WHERE t.id>p.id AND t.status='rolled_back' AND t.sha256<>?2)
               ORDER BY id";
    let rows = (serving.unwrap_or(i64::MIN), hex(&seal::sha256(&[])));
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map(rows, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// The newest version there is, and the newest that ever was; 0 for none.
pub(super) fn ends(connection: &Connection) -> Outcome<(i64, i64)> {
    let sql = "SELECT coalesce((SELECT max(id) FROM versions), 0),
                      coalesce((SELECT seq FROM sqlite_sequence WHERE name='versions'), 0)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

const COLUMNS: &str = "id, parent, status, head_kind, sha256, figures, created_millis";

fn entry(row: &Row<'_>) -> Outcome<VersionEntry> {
    let id: i64 = row.get(0)?;
    let status = match row.get::<_, String>(2)?.as_str() {
        "published" => VersionStatus::Published,
        "rolled_back" => VersionStatus::RolledBack,
        _ => return Err(Fault::damaged("versions", id)),
    };
    let figures =
        serde_json::from_str(&row.get::<_, String>(5)?).map_err(|_| Fault::damaged("versions", id))?;
    Ok(VersionEntry {
        id: VersionId(id),
        parent: row.get::<_, Option<i64>>(1)?.map(VersionId),
        status,
        head_kind: row.get(3)?,
        sha256: row.get(4)?,
        figures,
        created_millis: row.get(6)?,
    })
}

fn load(connection: &Connection, id: i64) -> Outcome<Option<Version>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS}, heads FROM versions WHERE id=?1"))?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let entry = entry(row)?;
    let heads: Option<Vec<u8>> = row.get(7)?;
    if heads.as_ref().is_some_and(|heads| hex(&seal::sha256(heads)) != entry.sha256) {
        return Err(Fault::damaged("versions", id));
    }
    Ok(Some(Version { entry, heads }))
}
