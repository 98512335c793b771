//! Finds what is wrong with the rows and repairs it, one table after the other. Where a damaged row
//! no longer tells what it said, the cautious reading wins: a sample trains instead of judging, a
//! version does not serve.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::contents::{self, intact_features};
use super::fault::Outcome;
use super::label_log::{live, settle, settle_split};
use super::query;
use super::report::CheckReport;
use super::schema::{KEPT, QUARANTINED};
use super::seal::{self, Table};
use super::versions::{ends, serving, without_heads};
use crate::number::sha256_hex;

/// At most this many versions lost from the end of the table are believed to have been there.
const MOST_LOST: i64 = 1000;

/// One check of the rows of a state.
pub(super) struct Repair<'a> {
    pub(super) connection: &'a Connection,
    /// Features per sample, D.
    pub(super) width: usize,
    /// Whether to repair, or only to report.
    pub(super) fix: bool,
    pub(super) report: &'a mut CheckReport,
}

impl Repair<'_> {
    /// Reports, and repairs if `fix`, everything that is wrong with the rows.
    pub(super) fn run(&mut self) -> Outcome<()> {
        for row in self.damaged(&seal::META)? {
            self.report.note(false, format!("row {row} of `meta` is damaged: put back a copy of the file"));
        }
        // Every table is scanned before the first repair, which may change others.
        let classes = self.damaged(&seal::CLASSES)?;
        let samples = self.damaged(&seal::SAMPLES)?;
        let views = self.damaged(&seal::VIEWS)?;
        let latents = self.damaged(&seal::LATENTS)?;
        let labels = self.damaged(&seal::LABELS)?;
        let versions = self.damaged(&seal::VERSIONS)?;
        let training = self.damaged(&seal::TRAINING)?;
        let checkpoints = self.damaged(&seal::CHECKPOINTS)?;
        let removals = self.damaged(&seal::REMOVALS)?;
        self.classes(&classes)?;
        self.samples(&samples)?;
        self.contents()?;
        self.each(
            &views,
            |row| format!("row {row} of the views was damaged: the views of its sample are dropped"),
            |connection, row| {
                let sql = "DELETE FROM views
                           WHERE rowid=?1 OR sample_id=(SELECT sample_id FROM views WHERE rowid=?1)";
                query::execute(connection, sql, [row])
            },
        )?;
        self.each(
            &latents,
            |row| format!("the latents of sample {row} were damaged: dropped, its thumbnail brings new ones"),
            |connection, row| query::execute(connection, "DELETE FROM latents WHERE sample_id=?1", [row]),
        )?;
        self.each(
            &labels,
            |row| {
                format!("row {row} of the label log was damaged: taken out, the rows before it count again")
            },
            remove_label,
        )?;
        self.versions(&versions)?;
        self.each(
            &training,
            |_| "the state of the training was damaged: dropped, the trained head and its optimiser start anew".to_owned(),
            |connection, row| query::execute(connection, "DELETE FROM training WHERE rowid=?1", [row]),
        )?;
        self.each(
            &checkpoints,
            |_| "the checkpoint of a training was damaged: dropped, that training starts anew".to_owned(),
            |connection, row| query::execute(connection, "DELETE FROM checkpoints WHERE rowid=?1", [row]),
        )?;
        self.each(
            &removals,
            |_| {
                "the mark of a removal that was cut short was damaged: dropped, so undo or forget again what was to go"
                    .to_owned()
            },
            |connection, row| query::execute(connection, "DELETE FROM removals WHERE id=?1", [row]),
        )?;
        self.references()?;
        self.derived()
    }

    /// Returns the rows of a table that do not have their checksum, and counts all of them.
    fn damaged(&mut self, table: &Table) -> Outcome<Vec<i64>> {
        let (rows, damaged) = seal::damaged(self.connection, table)?;
        self.report.rows += rows;
        Ok(damaged)
    }

    fn note(&mut self, what: String) {
        self.report.note(self.fix, what);
    }

    /// Reports each row and, if `fix`, repairs it.
    fn each(
        &mut self,
        rows: &[i64],
        what: impl Fn(i64) -> String,
        repair: impl Fn(&Connection, i64) -> Outcome<()>,
    ) -> Outcome<()> {
        for &row in rows {
            self.note(what(row));
            if self.fix {
                repair(self.connection, row)?;
            }
        }
        Ok(())
    }

    fn classes(&mut self, rows: &[i64]) -> Outcome<()> {
        for &row in rows {
            let name = text(self.connection, &seal::CLASSES, "name", row)?;
            self.note(format!("class {row} was damaged: its name `{name}` may be wrong"));
            if !self.fix {
                continue;
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM classes WHERE name=?1 AND id<>?2)";
            let taken: bool = query::value(self.connection, sql, (&name, row))?;
            let name = if taken { format!("{name} (damaged {row})") } else { name };
            let assignments = "name=?2, created_millis=CAST(created_millis AS INTEGER)";
            seal::rewrite(self.connection, &seal::CLASSES, row, assignments, &[&name])?;
        }
        Ok(())
    }

    fn samples(&mut self, rows: &[i64]) -> Outcome<()> {
        self.each(
            rows,
            |row| format!("the description of sample {row} was damaged: it is for training from now on"),
            |connection, row| {
                let name = text(connection, &seal::SAMPLES, "name", row)?;
                let assignments = "held_out=0, name=?2, state=CASE
                        WHEN EXISTS (SELECT 1 FROM contents WHERE sample_id=id) THEN 0
                        WHEN state IN (1, 2) THEN state ELSE 3 END,
                    timestamp_millis=CAST(timestamp_millis AS INTEGER),
                    created_millis=CAST(created_millis AS INTEGER),
                    features_sum=CAST(features_sum AS INTEGER)";
                seal::rewrite(connection, &seal::SAMPLES, row, assignments, &[&name])
            },
        )
    }

    /// Judges features and thumbnails by their checksums.
    fn contents(&mut self) -> Outcome<()> {
        let sql = "SELECT id, state, features, features_sum, thumbnail, thumbnail_sum
                   FROM samples LEFT JOIN contents ON sample_id=id";
        let (mut features, mut thumbnails) = (Vec::new(), Vec::new());
        query::all(self.connection, sql, [], |row| {
            let sound = match row.get_ref(1)? {
                ValueRef::Integer(KEPT) => {
                    intact_features(row.get_ref(2)?, row.get_ref(3)?, self.width).is_some()
                }
                _ => row.get_ref(2)? == ValueRef::Null,
            };
            if !sound {
                features.push(row.get(0)?);
            }
            let sound = match (row.get_ref(4)?, row.get_ref(5)?) {
                (ValueRef::Null, ValueRef::Null) => true,
                (ValueRef::Blob(bytes), ValueRef::Integer(stored)) => seal::sum(bytes) == stored,
                _ => false,
            };
            if !sound {
                thumbnails.push(row.get(0)?);
            }
            Ok(())
        })?;
        self.each(
            &thumbnails,
            |row| format!("the thumbnail of sample {row} was damaged: dropped"),
            |connection, row| {
                let sql = "UPDATE contents SET thumbnail=NULL WHERE sample_id=?1";
                query::execute(connection, sql, [row])?;
                seal::rewrite(connection, &seal::SAMPLES, row, "thumbnail_sum=NULL", &[])
            },
        )?;
        self.each(
            &features,
            |row| {
                format!("the features of sample {row} were damaged: quarantined, its labels stay in the log")
            },
            |connection, row| {
                let assignments = "thumbnail_sum=NULL, state=CASE WHEN state=?2 THEN ?3 ELSE state END";
                seal::rewrite(connection, &seal::SAMPLES, row, assignments, params![KEPT, QUARANTINED])?;
                contents::delete(connection, row)
            },
        )
    }

    fn versions(&mut self, rows: &[i64]) -> Outcome<()> {
        let before = serving(self.connection)?;
        self.each(
            rows,
            |row| format!("the description of version {row} was damaged: it does not serve any more"),
            |connection, row| {
                let kind = text(connection, &seal::VERSIONS, "head_kind", row)?;
                let digest = text(connection, &seal::VERSIONS, "sha256", row)?;
                let assignments = "status='rolled_back', head_kind=?2, sha256=?3, figures='null',
                    parent=CAST(parent AS INTEGER), created_millis=CAST(created_millis AS INTEGER)";
                seal::rewrite(connection, &seal::VERSIONS, row, assignments, &[&kind, &digest])
            },
        )?;
        let damaged = damaged_heads(self.connection)?;
        self.each(
            &damaged,
            |row| format!("the heads of version {row} were damaged: dropped"),
            |connection, row| {
                let assignments = "status='rolled_back', heads=NULL";
                seal::rewrite(connection, &seal::VERSIONS, row, assignments, &[])
            },
        )?;
        let lost = without_heads(self.connection, serving(self.connection)?)?;
        self.each(
            &lost,
            |row| format!("the heads of version {row} were lost: it does not serve any more"),
            |connection, row| seal::rewrite(connection, &seal::VERSIONS, row, "status='rolled_back'", &[]),
        )?;
        self.lost_versions()?;
        let after = serving(self.connection)?;
        if before != after {
            let now = after
                .map_or("no version serves: learn again".to_owned(), |id| format!("version {id} serves"));
            self.note(format!("the published version was damaged: {now}"));
        }
        Ok(())
    }

    /// Gives each version that was recorded and is not there a row that says so.
    fn lost_versions(&mut self) -> Outcome<()> {
        let (last, given) = ends(self.connection)?;
        if last == given {
            return Ok(());
        }
        self.note(format!("the newest version is {last}, and {given} was recorded: recorded anew as lost"));
        if !self.fix {
            return Ok(());
        }
        // If they are further apart than that, it is the count that was damaged.
        if given > last && given - last <= MOST_LOST {
            let (nothing, digest) = (None::<i64>, sha256_hex(&[]));
            for id in last + 1..=given {
                let row = params![id, nothing, "rolled_back", "lost", digest, "null", 0];
                seal::insert(self.connection, &seal::VERSIONS, row, &[&nothing])?;
            }
            return Ok(());
        }
        query::execute(self.connection, "DELETE FROM sqlite_sequence WHERE name='versions'", [])?;
        let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES ('versions', ?1)";
        query::execute(self.connection, sql, [last])
    }

    /// Drops references to rows that are not there.
    fn references(&mut self) -> Outcome<()> {
        let sql = "PRAGMA foreign_key_check";
        let orphans: Vec<(String, i64)> =
            query::all(self.connection, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (table, row) in orphans {
            self.note(format!(
                "row {row} of `{table}` refers to a row that is not there: the reference is dropped"
            ));
            if !self.fix {
                continue;
            }
            let connection = self.connection;
            match table.as_str() {
                "labels" => remove_label(connection, row)?,
                "views" => query::execute(connection, "DELETE FROM views WHERE rowid=?1", [row])?,
                "latents" => query::execute(connection, "DELETE FROM latents WHERE sample_id=?1", [row])?,
                "contents" => query::execute(connection, "DELETE FROM contents WHERE sample_id=?1", [row])?,
                "removals" => query::execute(connection, "DELETE FROM removals WHERE id=?1", [row])?,
                "versions" => seal::rewrite(connection, &seal::VERSIONS, row, "parent=NULL", &[])?,
                _ => unlabel(connection, "id", row)?,
            }
        }
        Ok(())
    }

    /// Compares the labels in `samples` with the log, and gives every class enough training rows.
    fn derived(&mut self) -> Outcome<()> {
        let mut wrong = Vec::new();
        query::all(self.connection, "SELECT id, label_id, class_id FROM samples", [], |row| {
            let id = row.get(0)?;
            let (label, class) = live(self.connection, id)?.unzip();
            let integer = |value: Option<i64>| value.map_or(ValueRef::Null, ValueRef::Integer);
            if (row.get_ref(1)?, row.get_ref(2)?) != (integer(label), integer(class)) {
                wrong.push(id);
            }
            Ok(())
        })?;
        self.each(
            &wrong,
            |id| format!("the label of sample {id} was not what the log says: derived again"),
            |connection, id| {
                unlabel(connection, "id", id)?;
                settle(connection, id)
            },
        )?;
        if self.fix {
            for class in query::values(self.connection, "SELECT id FROM classes", [])? {
                settle_split(self.connection, class)?;
            }
        }
        Ok(())
    }
}

/// Returns a text column, with bytes that are no UTF-8 replaced.
fn text(connection: &Connection, table: &Table, column: &str, row: i64) -> Outcome<String> {
    let sql = format!("SELECT CAST({column} AS BLOB) FROM {} WHERE rowid=?1", table.name);
    let bytes: Option<Vec<u8>> = query::value(connection, &sql, [row])?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

fn remove_label(connection: &Connection, row: i64) -> Outcome<()> {
    unlabel(connection, "label_id", row)?;
    query::execute(connection, "DELETE FROM labels WHERE label_id=?1 OR undone=?1", [row])
}

/// Takes the derived label from the samples whose `column` is `value`.
fn unlabel(connection: &Connection, column: &str, value: i64) -> Outcome<()> {
    let sql = format!("UPDATE samples SET label_id=NULL, class_id=NULL WHERE {column}=?1");
    query::execute(connection, &sql, [value])
}

/// Returns the versions whose heads do not have their SHA-256.
fn damaged_heads(connection: &Connection) -> Outcome<Vec<i64>> {
    let mut damaged = Vec::new();
    query::all(connection, "SELECT id, heads, sha256 FROM versions", [], |row| {
        let sound = match (row.get_ref(1)?, row.get_ref(2)?) {
            (ValueRef::Null, _) => true,
            (ValueRef::Blob(heads), ValueRef::Text(digest)) => sha256_hex(heads).as_bytes() == digest,
            _ => false,
        };
        if !sound {
            damaged.push(row.get(0)?);
        }
        Ok(())
    })?;
    Ok(damaged)
}
