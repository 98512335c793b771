//! Repairs, one table after the other. Where it cannot be known what a damaged row said, the cautious reading
//! wins: a sample trains rather than judges, a version does not serve.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};

use super::check::{CheckReport, Findings};
use super::fault::Outcome;
use super::labels::{live, settle, settle_split};
use super::samples::{KEPT, QUARANTINED, delete_content, intact_features};
use super::seal::{self, Table};
use super::versions::{SERVING, ends, hex, without_heads};

/// Versions lost from the end of the table that are believed to have been there.
const MOST_LOST: i64 = 1000;

/// One check of the rows of a state.
pub(super) struct Repair<'a> {
    pub(super) connection: &'a Connection,
    /// Features per sample, D.
    pub(super) width: usize,
    /// Whether to repair or only to report.
    pub(super) fix: bool,
    pub(super) report: &'a mut CheckReport,
}

impl Repair<'_> {
    /// Reports, and repairs if `fix`, everything that is wrong with the rows.
    pub(super) fn run(&mut self, found: &Findings) -> Outcome<()> {
        self.classes(&found.classes)?;
        self.samples(&found.samples)?;
        self.views(&found.views)?;
        self.labels(&found.labels)?;
        self.versions(&found.versions)?;
        self.training(&found.training)?;
        self.references()?;
        self.derived()
    }

    fn note(&mut self, what: String) {
        self.report.note(self.fix, what);
    }

    /// A text column, with bytes that are no UTF-8 replaced.
    fn text(&self, table: &Table, column: &str, row: i64) -> Outcome<String> {
        let sql = format!("SELECT CAST({column} AS BLOB) FROM {} WHERE rowid=?1", table.name);
        let bytes: Option<Vec<u8>> = self.connection.query_row(&sql, [row], |found| found.get(0))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    }

    fn classes(&mut self, rows: &[i64]) -> Outcome<()> {
        for &row in rows {
            let name = self.text(&seal::CLASSES, "name", row)?;
            self.note(format!("class {row} was damaged: its name `{name}` may be wrong"));
            if !self.fix {
                continue;
            }
            let assignments = "name=?2, created_millis=CAST(created_millis AS INTEGER)";
            let taken: bool = self.connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM classes WHERE name=?1 AND id<>?2)",
                (&name, row),
                |found| found.get(0),
            )?;
            let name = if taken { format!("{name} (damaged {row})") } else { name };
            let values = [ValueRef::Text(name.as_bytes())];
            seal::rewrite(self.connection, &seal::CLASSES, row, assignments, &values)?;
        }
        Ok(())
    }

    fn samples(&mut self, rows: &[i64]) -> Outcome<()> {
        for &row in rows {
            self.note(format!("the description of sample {row} was damaged: it is for training from now on"));
            if self.fix {
                let name = self.text(&seal::SAMPLES, "name", row)?;
                let assignments = "held_out=0, name=?2, state=CASE
                        WHEN EXISTS (SELECT 1 FROM contents WHERE sample_id=id) THEN 0
                        WHEN state IN (1, 2) THEN state ELSE 3 END,
                    timestamp_millis=CAST(timestamp_millis AS INTEGER),
                    created_millis=CAST(created_millis AS INTEGER),
                    features_sum=CAST(features_sum AS INTEGER)";
                seal::rewrite(
                    self.connection,
                    &seal::SAMPLES,
                    row,
                    assignments,
                    &[ValueRef::Text(name.as_bytes())],
                )?;
            }
        }
        let (features, thumbnails) = self.damaged_content()?;
        for row in thumbnails {
            self.note(format!("the thumbnail of sample {row} was damaged: dropped"));
            if self.fix {
                self.connection.execute("UPDATE contents SET thumbnail=NULL WHERE sample_id=?1", [row])?;
                seal::rewrite(self.connection, &seal::SAMPLES, row, "thumbnail_sum=NULL", &[])?;
            }
        }
        for row in features {
            self.note(format!(
                "the features of sample {row} were damaged: quarantined, its labels stay in the log"
            ));
            if self.fix {
                let assignments = "thumbnail_sum=NULL, state=CASE WHEN state=?2 THEN ?3 ELSE state END";
                let values = [ValueRef::Integer(KEPT), ValueRef::Integer(QUARANTINED)];
                seal::rewrite(self.connection, &seal::SAMPLES, row, assignments, &values)?;
                delete_content(self.connection, row)?;
            }
        }
        Ok(())
    }

    /// Samples whose features, and whose thumbnails, do not match their checksums.
    fn damaged_content(&self) -> Outcome<(Vec<i64>, Vec<i64>)> {
        let mut statement = self.connection.prepare(
            "SELECT id, state, features, features_sum, thumbnail, thumbnail_sum
             FROM samples LEFT JOIN contents ON sample_id=id",
        )?;
        let mut rows = statement.query([])?;
        let (mut features, mut thumbnails) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let sound = match row.get_ref(1)? {
                ValueRef::Integer(KEPT) => {
                    intact_features(row.get_ref(2)?, row.get_ref(3)?, self.width).is_some()
                }
                _ => matches!(row.get_ref(2)?, ValueRef::Null),
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
        }
        Ok((features, thumbnails))
    }

    fn views(&mut self, rows: &[i64]) -> Outcome<()> {
        for &row in rows {
            self.note(format!("row {row} of the views was damaged: the views of its sample are dropped"));
            if self.fix {
                self.connection.execute(
                    "DELETE FROM views
                     WHERE rowid=?1 OR sample_id=(SELECT sample_id FROM views WHERE rowid=?1)",
                    [row],
                )?;
            }
        }
        Ok(())
    }

    fn labels(&mut self, rows: &[i64]) -> Outcome<()> {
        for &row in rows {
            self.note(format!(
                "row {row} of the label log was damaged: taken out, the rows before it count again"
            ));
            if self.fix {
                self.remove_label(row)?;
            }
        }
        Ok(())
    }

    fn remove_label(&self, row: i64) -> Outcome<()> {
        self.connection
            .execute("UPDATE samples SET label_id=NULL, class_id=NULL WHERE label_id=?1", [row])?;
        self.connection.execute("DELETE FROM labels WHERE label_id=?1 OR undone=?1", [row])?;
        Ok(())
    }

    fn versions(&mut self, rows: &[i64]) -> Outcome<()> {
        let before = self.serving()?;
        for &row in rows {
            self.note(format!("the description of version {row} was damaged: it does not serve any more"));
            if self.fix {
                let kind = self.text(&seal::VERSIONS, "head_kind", row)?;
                let digest = self.text(&seal::VERSIONS, "sha256", row)?;
                let assignments = "status='rolled_back', head_kind=?2, sha256=?3, figures='null',
                    parent=CAST(parent AS INTEGER), created_millis=CAST(created_millis AS INTEGER)";
                let values = [ValueRef::Text(kind.as_bytes()), ValueRef::Text(digest.as_bytes())];
                seal::rewrite(self.connection, &seal::VERSIONS, row, assignments, &values)?;
            }
        }
        for row in self.damaged_heads()? {
            self.note(format!("the heads of version {row} were damaged: dropped"));
            if self.fix {
                let assignments = "status='rolled_back', heads=NULL";
                seal::rewrite(self.connection, &seal::VERSIONS, row, assignments, &[])?;
            }
        }
        self.lost_heads()?;
        self.lost_versions()?;
        let after = self.serving()?;
        if before != after {
            let now = after
                .map_or("no version serves: learn again".to_owned(), |id| format!("version {id} serves"));
            self.note(format!("the published version was damaged: {now}"));
        }
        Ok(())
    }

    /// Published versions newer than the one that serves: their heads are gone.
    fn lost_heads(&mut self) -> Outcome<()> {
        for row in without_heads(self.connection, self.serving()?)? {
            self.note(format!("the heads of version {row} were lost: it does not serve any more"));
            if self.fix {
                seal::rewrite(self.connection, &seal::VERSIONS, row, "status='rolled_back'", &[])?;
            }
        }
        Ok(())
    }

    /// Versions that were once recorded and are not there: each gets a row that says so.
    fn lost_versions(&mut self) -> Outcome<()> {
        let (last, given) = ends(self.connection)?;
        if last == given {
            return Ok(());
        }
        self.note(format!("the newest version is {last}, and {given} was recorded: recorded anew as lost"));
        if !self.fix {
            return Ok(());
        }
        // Further apart than that, it is the count that was damaged.
        if given > last && given - last <= MOST_LOST {
            for id in last + 1..=given {
                let texts = ["rolled_back", "lost", &hex(&seal::sha256(&[])), "null"].map(str::to_owned);
                let [status, kind, digest, figures] =
                    texts.each_ref().map(|text| ValueRef::Text(text.as_bytes()));
                let (null, zero) = (ValueRef::Null, ValueRef::Integer(0));
                let row = [ValueRef::Integer(id), null, status, kind, digest, figures, zero];
                seal::insert(self.connection, &seal::VERSIONS, &row, &[null])?;
            }
        } else {
            self.connection.execute("DELETE FROM sqlite_sequence WHERE name='versions'", [])?;
            self.connection
                .execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('versions', ?1)", [last])?;
        }
        Ok(())
    }

    fn serving(&self) -> Outcome<Option<i64>> {
        Ok(self.connection.query_row(SERVING, [], |row| row.get(0)).optional()?)
    }

    fn damaged_heads(&self) -> Outcome<Vec<i64>> {
        let mut statement = self.connection.prepare("SELECT id, heads, sha256 FROM versions")?;
        let mut rows = statement.query([])?;
        let mut damaged = Vec::new();
        while let Some(row) = rows.next()? {
            let sound = match (row.get_ref(1)?, row.get_ref(2)?) {
                (ValueRef::Null, _) => true,
                (ValueRef::Blob(heads), ValueRef::Text(digest)) => {
                    hex(&seal::sha256(heads)).as_bytes() == digest
                }
                _ => false,
            };
            if !sound {
                damaged.push(row.get(0)?);
            }
        }
        Ok(damaged)
    }

    fn training(&mut self, rows: &[i64]) -> Outcome<()> {
        for &row in rows {
            self.note("the state of the training was damaged: dropped, the optimiser starts anew".to_owned());
            if self.fix {
                self.connection.execute("DELETE FROM training WHERE rowid=?1", [row])?;
            }
        }
        Ok(())
    }

    /// Rows that refer to rows which are not there.
    fn references(&mut self) -> Outcome<()> {
        let orphans: Vec<(String, i64)> = self
            .connection
            .prepare("PRAGMA foreign_key_check")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (table, row) in orphans {
            self.note(format!(
                "row {row} of `{table}` refers to a row that is not there: the reference is dropped"
            ));
            if !self.fix {
                continue;
            }
            match table.as_str() {
                "labels" => self.remove_label(row)?,
                "views" => {
                    self.connection.execute("DELETE FROM views WHERE rowid=?1", [row])?;
                }
                "contents" => {
                    self.connection.execute("DELETE FROM contents WHERE sample_id=?1", [row])?;
                }
                "versions" => seal::rewrite(self.connection, &seal::VERSIONS, row, "parent=NULL", &[])?,
                _ => {
                    self.connection
                        .execute("UPDATE samples SET label_id=NULL, class_id=NULL WHERE id=?1", [row])?;
                }
            }
        }
        Ok(())
    }

    /// Labels in `samples` against the log, and enough training rows in every class.
    fn derived(&mut self) -> Outcome<()> {
        let mut wrong = Vec::new();
        {
            let mut statement = self.connection.prepare("SELECT id, label_id, class_id FROM samples")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                let (label, class) = live(self.connection, id)?.unzip();
                let same = |column: usize, value: Option<i64>| -> rusqlite::Result<bool> {
                    Ok(row.get_ref(column)? == seal::optional(value))
                };
                if !same(1, label)? || !same(2, class)? {
                    wrong.push(id);
                }
            }
        }
        for id in wrong {
            self.note(format!("the label of sample {id} was not what the log says: derived again"));
            if self.fix {
                self.connection
                    .execute("UPDATE samples SET label_id=NULL, class_id=NULL WHERE id=?1", [id])?;
                settle(self.connection, id)?;
            }
        }
        if self.fix {
            let classes: Vec<i64> = self
                .connection
                .prepare("SELECT id FROM classes")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for class in classes {
                settle_split(self.connection, class)?;
            }
        }
        Ok(())
    }
}
