//! Sealed rows: each row of each table carries a checksum over its columns, so that a flipped bit is found
//! where SQLite itself (which checks structure, not content) would hand out a wrong value.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};
use sha2::{Digest as _, Sha256};

use super::fault::{Fault, Outcome};

/// A table whose rows are sealed.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Columns under the checksum.
    pub(super) sealed: &'static [&'static str],
    /// Blobs with a digest of their own among the sealed columns.
    pub(super) loose: &'static [&'static str],
}

pub(super) const META: Table = Table { name: "meta", sealed: &["key", "value"], loose: &[] };
pub(super) const CLASSES: Table =
    Table { name: "classes", sealed: &["id", "name", "created_millis"], loose: &[] };
pub(super) const SAMPLES: Table = Table {
    name: "samples",
    sealed: &[
        "id",
        "name",
        "timestamp_millis",
        "held_out",
        "state",
        "features_sum",
        "thumbnail_sum",
        "created_millis",
    ],
    loose: &[],
};
pub(super) const VIEWS: Table =
    Table { name: "views", sealed: &["sample_id", "number", "features"], loose: &[] };
pub(super) const LABELS: Table = Table {
    name: "labels",
    sealed: &["label_id", "sample_id", "class_id", "kind", "undone", "created_millis"],
    loose: &[],
};
pub(super) const VERSIONS: Table = Table {
    name: "versions",
    sealed: &["id", "parent", "status", "head_kind", "sha256", "figures", "created_millis"],
    loose: &["heads"],
};
pub(super) const TRAINING: Table = Table { name: "training", sealed: &["id", "state"], loose: &[] };

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The first eight bytes of the SHA-256 of `bytes`, as SQLite stores integers.
pub(super) fn sum(bytes: &[u8]) -> i64 {
    head(Sha256::digest(bytes).as_slice())
}

fn head(digest: &[u8]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Checksum of a row: table name, then type, length and bytes of each sealed column.
fn seal(table: &Table, values: &[ValueRef<'_>]) -> i64 {
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

/// Inserts a row: `sealed` and `loose` in the order of the table's columns.
pub(super) fn insert(
    connection: &Connection,
    table: &Table,
    sealed: &[ValueRef<'_>],
    loose: &[ValueRef<'_>],
) -> Outcome<()> {
    let columns = [table.sealed, table.loose, &["checksum"]].concat();
    let marks = vec!["?"; columns.len()].join(",");
    let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", table.name, columns.join(","));
    let checksum = ValueRef::Integer(seal(table, sealed));
    let values = sealed.iter().chain(loose).chain([&checksum]).map(|value| to_sql(*value));
    connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// A borrowed value as a statement parameter.
pub(super) fn to_sql(value: ValueRef<'_>) -> rusqlite::types::ToSqlOutput<'_> {
    rusqlite::types::ToSqlOutput::Borrowed(value)
}

/// Integer or NULL.
pub(super) fn optional(value: Option<i64>) -> ValueRef<'static> {
    value.map_or(ValueRef::Null, ValueRef::Integer)
}

fn select(table: &Table) -> String {
    format!("SELECT rowid,{},checksum FROM {}", table.sealed.join(","), table.name)
}

fn matches(table: &Table, row: &rusqlite::Row<'_>) -> rusqlite::Result<(bool, i64)> {
    let mut values = Vec::with_capacity(table.sealed.len());
    for column in 0..table.sealed.len() {
        values.push(row.get_ref(column + 1)?);
    }
    let checksum = seal(table, &values);
    let intact =
        matches!(row.get_ref(table.sealed.len() + 1)?, ValueRef::Integer(stored) if stored == checksum);
    Ok((intact, checksum))
}

/// Statement that yields row id, sealed columns and checksum of the rows that meet `condition`, by row id.
pub(super) fn select_where(table: &Table, condition: &str) -> String {
    format!("{} WHERE {condition} ORDER BY rowid", select(table))
}

/// Whether a row of [`select_where`] has the checksum it should have.
pub(super) fn intact(table: &Table, row: &rusqlite::Row<'_>) -> rusqlite::Result<bool> {
    Ok(matches(table, row)?.0)
}

/// Number of rows, and the row ids whose checksum does not match.
pub(super) fn damaged(connection: &Connection, table: &Table) -> Outcome<(u64, Vec<i64>)> {
    let mut statement = connection.prepare(&select(table))?;
    let mut rows = statement.query([])?;
    let (mut count, mut bad) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        count += 1;
        if !matches(table, row)?.0 {
            bad.push(row.get(0)?);
        }
    }
    Ok((count, bad))
}

/// Changes columns of an intact row and seals it again; a damaged row is refused, not sealed over.
/// `assignments` uses `?2..` for `values`.
pub(super) fn amend(
    connection: &Connection,
    table: &Table,
    row: i64,
    assignments: &str,
    values: &[ValueRef<'_>],
) -> Outcome<()> {
    let sql = format!("{} WHERE rowid=?1", select(table));
    let (intact, _) = connection.prepare_cached(&sql)?.query_row([row], |found| matches(table, found))?;
    if !intact {
        return Err(Fault::damaged(table.name, row));
    }
    rewrite(connection, table, row, assignments, values)
}

/// Like [`amend`], for repairs: seals whatever the row then holds.
pub(super) fn rewrite(
    connection: &Connection,
    table: &Table,
    row: i64,
    assignments: &str,
    values: &[ValueRef<'_>],
) -> Outcome<()> {
    let sql = format!("UPDATE {} SET {assignments} WHERE rowid=?1", table.name);
    let key = ValueRef::Integer(row);
    let all = [&key].into_iter().chain(values).map(|value| to_sql(*value));
    connection.prepare_cached(&sql)?.execute(params_from_iter(all))?;
    let sql = format!("{} WHERE rowid=?1", select(table));
    let (_, checksum) = connection.prepare_cached(&sql)?.query_row([row], |found| matches(table, found))?;
    let sql = format!("UPDATE {} SET checksum=?2 WHERE rowid=?1", table.name);
    connection.prepare_cached(&sql)?.execute([row, checksum])?;
    Ok(())
}

/// The next row id of a table that never uses one twice.
pub(super) fn next_id(connection: &Connection, table: &str, column: &str) -> Outcome<i64> {
    let sql = format!(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name='{table}'),0),
                    coalesce((SELECT max({column}) FROM {table}),0))"
    );
    let last: i64 = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
    last.checked_add(1).ok_or_else(|| Fault::Refused(format!("`{table}` has no id left: run `kaizen check`")))
}
