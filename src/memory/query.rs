//! SQL statements, each compiled once per connection.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row};

use super::fault::Outcome;

/// Runs a statement.
pub(super) fn execute(connection: &Connection, sql: &str, params: impl Params) -> Outcome<()> {
    connection.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

/// Returns every row of a query, as `read` reads it.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    connection.prepare_cached(sql)?.query_and_then(params, read)?.collect()
}

/// Returns the first row of a query, as `read` reads it, or `None` without a row.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Outcome<T>,
) -> Outcome<Option<T>> {
    connection.prepare_cached(sql)?.query(params)?.next()?.map(read).transpose()
}

/// Returns the first column of the only row.
pub(super) fn value<T: FromSql>(connection: &Connection, sql: &str, params: impl Params) -> Outcome<T> {
    Ok(connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?)
}

/// Returns the first column of every row.
pub(super) fn values<T: FromSql>(connection: &Connection, sql: &str, params: impl Params) -> Outcome<Vec<T>> {
    all(connection, sql, params, |row| Ok(row.get(0)?))
}
