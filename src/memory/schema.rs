//! The tables of the state file, their versions, and the steps from one version to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::{Fault, Outcome};
use super::query;

/// `samples.state`: the features are there.
pub(super) const KEPT: i64 = 0;
/// `samples.state`: the quota took the features; the label log still names the sample.
pub(super) const EVICTED: i64 = 1;
/// `samples.state`: the sample was erased with its class.
pub(super) const FORGOTTEN: i64 = 2;
/// `samples.state`: the features were damaged.
pub(super) const QUARANTINED: i64 = 3;

/// `PRAGMA application_id` of a state file: "KZEN".
const APPLICATION_ID: i32 = 0x4b5a_454e;

/// Step n takes a file from `user_version` n to n + 1. Steps are added, never changed.
pub(super) const MIGRATIONS: &[Step] =
    &[Step::of_tables(FIRST), Step::of_tables(LATENTS), Step::of_tables(REMOVALS)];

/// The step from one version of the schema to the next.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// New tables. A reader of an older file gets them empty, as its connection's own.
    pub(super) tables: &'static str,
    /// What becomes of the rows that are there, by the columns and seals that they have until then;
    /// `None` if they stay as they are. A reader cannot do this, so it needs a writer first.
    pub(super) rows: Option<fn(&Connection) -> Outcome<()>>,
}

impl Step {
    /// Returns a step that adds tables.
    pub(super) const fn of_tables(tables: &'static str) -> Self {
        Self { tables, rows: None }
    }

    fn run(self, connection: &Connection) -> Outcome<()> {
        connection.execute_batch(self.tables)?;
        self.rows.map_or(Ok(()), |rows| rows(connection))
    }
}

const FIRST: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE classes (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_millis INTEGER NOT NULL, checksum
        INTEGER NOT NULL);
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL, timestamp_millis INTEGER NOT NULL,
    held_out INTEGER NOT NULL CHECK (held_out IN (0, 1)),
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    features_sum INTEGER NOT NULL, thumbnail_sum INTEGER, created_millis INTEGER NOT NULL,
    class_id INTEGER REFERENCES classes (id), label_id INTEGER REFERENCES labels (label_id),
    checksum INTEGER NOT NULL);
CREATE TABLE contents (
    sample_id INTEGER PRIMARY KEY REFERENCES samples (id) ON DELETE CASCADE,
    features BLOB NOT NULL, thumbnail BLOB);
CREATE INDEX samples_by_class ON samples (class_id, state);
CREATE INDEX samples_by_features ON samples (features_sum);
CREATE INDEX samples_by_label ON samples (label_id);
CREATE TABLE views (
    sample_id INTEGER NOT NULL REFERENCES samples (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    features BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (sample_id, number));
CREATE TABLE labels (
    label_id INTEGER PRIMARY KEY AUTOINCREMENT,
    sample_id INTEGER REFERENCES samples (id), class_id INTEGER NOT NULL REFERENCES classes (id),
    kind TEXT NOT NULL CHECK (kind IN ('teach', 'undo', 'forget')),
    undone INTEGER REFERENCES labels (label_id) CHECK ((kind = 'undo') = (undone IS NOT NULL)),
    created_millis INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE INDEX labels_by_sample ON labels (sample_id);
CREATE INDEX labels_by_class ON labels (class_id);
CREATE INDEX labels_by_undone ON labels (undone);
CREATE TRIGGER labels_append_only BEFORE UPDATE ON labels
    BEGIN SELECT RAISE(ABORT, 'the label log is append-only'); END;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER REFERENCES versions (id),
    status TEXT NOT NULL CHECK (status IN ('published', 'rolled_back')), head_kind TEXT NOT NULL,
    sha256 TEXT NOT NULL, figures TEXT NOT NULL, created_millis INTEGER NOT NULL, checksum INTEGER NOT NULL,
    heads BLOB);
CREATE INDEX versions_by_parent ON versions (parent);
CREATE TABLE training (
    id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL, checksum INTEGER NOT NULL);
";

/// Latents of samples, and the checkpoint of a training that is not done.
const LATENTS: &str = "
CREATE TABLE latents (
    sample_id INTEGER PRIMARY KEY REFERENCES samples (id) ON DELETE CASCADE,
    positions INTEGER NOT NULL, channels INTEGER NOT NULL, codes BLOB NOT NULL, scales BLOB NOT NULL,
    checksum INTEGER NOT NULL);
CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL, checksum INTEGER NOT NULL);
";

/// Marks of removals that are under way. `label_id` is the row of the label log that says what was
/// removed; NULL while samples of a class are still to be erased. Once nothing answers by it any
/// more, `is_applied` is 1, until the bytes are overwritten in the file.
const REMOVALS: &str = "
CREATE TABLE removals (
    id INTEGER PRIMARY KEY, class_id INTEGER NOT NULL REFERENCES classes (id),
    label_id INTEGER REFERENCES labels (label_id),
    is_applied INTEGER NOT NULL CHECK (is_applied IN (0, 1)), checksum INTEGER NOT NULL);
";

/// Returns the milliseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub(super) fn now_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Sets up a connection that may write, so that a crash takes nothing that was acknowledged.
pub(super) fn make_durable(connection: &Connection, in_file: bool) -> Outcome<()> {
    if in_file {
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Fault::Unusable(format!(
                "the file system cannot hold a write-ahead log (journal mode `{mode}`): use a local disk"
            )));
        }
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Bytes of a dropped row are overwritten, also those of a row that only moved.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(())
}

/// Sets up any connection, so that foreign keys hold and a damaged file gives errors.
pub(super) fn make_careful(connection: &Connection) -> Outcome<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// Turns an empty database into a state file of the newest version.
pub(super) fn create(connection: &mut Connection) -> Outcome<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(connection, MIGRATIONS)
}

/// Gives a reader of an older file empty tables in place of those that the file lacks. They are the
/// connection's own.
///
/// # Errors
/// [`Fault::Unusable`] if rows would have to be changed.
pub(super) fn supplement(connection: &Connection, steps: &[Step]) -> Outcome<()> {
    if steps.iter().any(|step| step.rows.is_some()) {
        let reason = "an earlier version of this program wrote it, and reading it would change its rows: \
                      `kaizen check FILE` brings it up to date and keeps a copy beside it";
        return Err(Fault::Unusable(reason.to_owned()));
    }
    steps.iter().try_for_each(|step| {
        Ok(connection.execute_batch(&step.tables.replace("CREATE TABLE", "CREATE TEMP TABLE"))?)
    })
}

/// Runs the steps that the file has not seen, each in one transaction.
pub(super) fn migrate(connection: &mut Connection, steps: &[Step]) -> Outcome<()> {
    for (number, step) in steps.iter().enumerate().skip(version(connection, steps.len())?) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.run(&transaction)?;
        transaction.pragma_update(None, "user_version", i64::try_from(number + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

/// Returns the schema version of the file.
///
/// # Errors
/// [`Fault::Unusable`] for a version above `known`.
fn version(connection: &Connection, known: usize) -> Outcome<usize> {
    let stored: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(stored).ok().filter(|version| *version <= known).ok_or_else(|| {
        Fault::Unusable(format!(
            "it has schema version {stored}, and this program knows versions up to {known}: use a newer kaizen"
        ))
    })
}

/// Returns whether a database is a state file, of whatever version.
pub(super) fn is_state(connection: &Connection) -> Outcome<bool> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(id == APPLICATION_ID)
}

/// Returns the schema version of an opened file, after checking that it is a state file.
///
/// # Errors
/// [`Fault::Unusable`] if it is none, or of a newer version than this program knows.
pub(super) fn recognised(connection: &Connection) -> Outcome<usize> {
    let refuse = |reason: &str| Err(Fault::Unusable(reason.to_owned()));
    if !is_state(connection)? {
        return refuse("the SQLite file was not made by kaizen: name another file");
    }
    match version(connection, MIGRATIONS.len())? {
        0 => refuse("the file is damaged (no schema version): put back a copy"),
        version => Ok(version),
    }
}

/// Checks that an opened file of this `version` has the tables of a state file. A writer brings it
/// to the newest version.
pub(super) fn adopt(connection: &mut Connection, version: usize, writable: bool) -> Outcome<()> {
    let refuse = |reason: &str| Err(Fault::Unusable(reason.to_owned()));
    let mut fresh = Connection::open_in_memory()?;
    if writable {
        migrate(connection, MIGRATIONS)?;
        migrate(&mut fresh, MIGRATIONS)?;
    } else {
        let (seen, missing) = MIGRATIONS.split_at(version);
        migrate(&mut fresh, seen)?;
        supplement(connection, missing)?;
    }
    if shape(connection)? != shape(&fresh)? {
        return refuse("its tables are not those of a state file: put back a copy");
    }
    Ok(())
}

/// Returns every table, index and trigger with its definition.
fn shape(connection: &Connection) -> Outcome<Vec<[Option<String>; 4]>> {
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name, type";
    query::all(connection, sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
}
