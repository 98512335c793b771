//! Sealed rows. Each row carries a checksum over its columns, so that a flipped bit is found where
//! SQLite, which checks structure and not content, would return a wrong value.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql};
use sha2::{Digest as _, Sha256};

use super::fault::{Fault, Outcome};
use super::query;

/// A table whose rows are sealed.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The columns under the checksum.
    pub(super) sealed: &'static [&'static str],
    /// Blobs whose digest is among the sealed columns.
    loose: &'static [&'static str],
}

/// Returns a table whose rows are sealed whole.
pub(super) const fn table(name: &'static str, sealed: &'static [&'static str]) -> Table {
    Table { name, sealed, loose: &[] }
}

pub(super) const META: Table = table("meta", &["key", "value"]);
pub(super) const CLASSES: Table = table("classes", &["id", "name", "created_millis"]);
#[rustfmt::skip]
pub(super) const SAMPLES: Table = table("samples", &[
    "id", "name", "timestamp_millis", "held_out", "state", "features_sum", "thumbnail_sum", "created_millis",
]);
pub(super) const VIEWS: Table = table("views", &["sample_id", "number", "features"]);
pub(super) const LATENTS: Table =
    table("latents", &["sample_id", "positions", "channels", "codes", "scales"]);
pub(super) const LABELS: Table =
    table("labels", &["label_id", "sample_id", "class_id", "kind", "undone", "created_millis"]);
pub(super) const VERSIONS: Table = Table {
    name: "versions",
    sealed: &["id", "parent", "status", "head_kind", "sha256", "figures", "created_millis"],
    loose: &["heads"],
};
pub(super) const TRAINING: Table = table("training", &["id", "state"]);
pub(super) const CHECKPOINTS: Table = table("checkpoints", &["id", "state"]);
pub(super) const REMOVALS: Table = table("removals", &["id", "class_id", "label_id", "is_applied"]);

/// Returns the first eight bytes of the SHA-256 of `bytes`, as SQLite stores integers.
pub(super) fn sum(bytes: &[u8]) -> i64 {
    head(Sha256::digest(bytes).as_slice())
}

fn head(digest: &[u8]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Returns the checksum of a row: the table's name, then type, length and bytes of each column.
fn seal<'a>(table: &Table, values: impl IntoIterator<Item = ValueRef<'a>>) -> i64 {
    let mut hash = Sha256::new();
    hash.update(table.name.as_bytes());
    for value in values {
        let number;
        let (tag, bytes): (u8, &[u8]) = match value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(integer) => {
                number = integer.to_le_bytes();
                (1, &number)
            }
            ValueRef::Real(real) => {
                number = real.to_le_bytes();
                (2, &number)
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    head(hash.finalize().as_slice())
}

/// Inserts a row; `sealed` and `loose` are in the order of the table's columns.
pub(super) fn insert(
    connection: &Connection,
    table: &Table,
    sealed: &[&dyn ToSql],
    loose: &[&dyn ToSql],
) -> Outcome<()> {
    let columns = [table.sealed, table.loose, &["checksum"]].concat();
    let marks = vec!["?"; columns.len()].join(",");
    let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", table.name, columns.join(","));
    let values = sealed.iter().map(|value| value.to_sql()).collect::<rusqlite::Result<Vec<_>>>()?;
    let values = values.iter().map(borrowed).collect::<rusqlite::Result<Vec<_>>>()?;
    let checksum = seal(table, values);
    query::execute(connection, &sql, &*[sealed, loose, &[&checksum]].concat())
}

fn borrowed<'a>(value: &'a ToSqlOutput<'_>) -> rusqlite::Result<ValueRef<'a>> {
    match value {
        ToSqlOutput::Borrowed(value) => Ok(*value),
        ToSqlOutput::Owned(value) => Ok(value.into()),
        // No other kind is built in.
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}

/// Returns the query for the row id, the sealed columns and the checksum of the rows that meet
/// `condition`, by row id.
pub(super) fn select_where(table: &Table, condition: &str) -> String {
    let columns = table.sealed.join(",");
    format!("SELECT rowid,{columns},checksum FROM {} WHERE {condition} ORDER BY rowid", table.name)
}

/// Returns the checksum that a row of [`select_where`] should have.
fn checksum(table: &Table, row: &Row<'_>) -> rusqlite::Result<i64> {
    let values = (1..=table.sealed.len()).map(|column| row.get_ref(column));
    Ok(seal(table, values.collect::<rusqlite::Result<Vec<_>>>()?))
}

/// Returns whether a row of [`select_where`] has the checksum it should have.
pub(super) fn intact(table: &Table, row: &Row<'_>) -> rusqlite::Result<bool> {
    Ok(row.get_ref(table.sealed.len() + 1)? == ValueRef::Integer(checksum(table, row)?))
}

/// Returns the number of rows, and the ids of those that do not have their checksum.
pub(super) fn damaged(connection: &Connection, table: &Table) -> Outcome<(u64, Vec<i64>)> {
    let sql = select_where(table, "1");
    let rows = query::all(connection, &sql, [], |row| Ok((row.get::<_, i64>(0)?, intact(table, row)?)))?;
    let bad = rows.iter().filter(|(_, intact)| !intact).map(|(row, _)| *row);
    Ok((rows.len() as u64, bad.collect()))
}

/// Changes columns of an intact row and seals it again. `assignments` uses `?2..` for `values`.
///
/// # Errors
/// [`Fault::Corrupt`] for a damaged row: sealing it would pass the damage off as content.
pub(super) fn amend(
    connection: &Connection,
    table: &Table,
    row: i64,
    assignments: &str,
    values: &[&dyn ToSql],
) -> Outcome<()> {
    let sql = select_where(table, "rowid=?1");
    let intact = query::first(connection, &sql, [row], |found| Ok(intact(table, found)?))?.unwrap_or(false);
    if !intact {
        return Err(Fault::damaged(table.name, row));
    }
    rewrite(connection, table, row, assignments, values)
}

/// Changes columns of a row and seals whatever it then holds, for repairs. See [`amend`] for the
/// rest.
pub(super) fn rewrite(
    connection: &Connection,
    table: &Table,
    row: i64,
    assignments: &str,
    values: &[&dyn ToSql],
) -> Outcome<()> {
    let sql = format!("UPDATE {} SET {assignments} WHERE rowid=?1", table.name);
    query::execute(connection, &sql, &*[&[&row as &dyn ToSql], values].concat())?;
    let sql = select_where(table, "rowid=?1");
    let checksum = query::first(connection, &sql, [row], |found| Ok(checksum(table, found)?))?;
    let sql = format!("UPDATE {} SET checksum=?2 WHERE rowid=?1", table.name);
    query::execute(connection, &sql, (row, checksum))
}

/// Returns the next row id of a table that never uses one twice.
pub(super) fn next_id(connection: &Connection, table: &str, column: &str) -> Outcome<i64> {
    let sql = format!(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name='{table}'),0),
                    coalesce((SELECT max({column}) FROM {table}),0))"
    );
    let last: i64 = query::value(connection, &sql, [])?;
    last.checked_add(1).ok_or_else(|| Fault::corrupt(format!("`{table}`"), "it has no id left"))
}
