//! What a change costs, and how room for it is made: old heads go first, then unlabelled samples,
//! then the most redundant samples of the largest class.

use rusqlite::Connection;

use super::contents::{self, cosine, features_from_bytes};
use super::fault::Outcome;
use super::label_log::settle_split;
use super::query;
use super::schema::{EVICTED, KEPT};
use crate::error::Error;

/// The smallest quota: tables, indices and log of an empty state, and a few samples.
pub(crate) const MIN_QUOTA_BYTES: u64 = 1 << 20;
/// The bytes of a page.
pub(super) const PAGE: u64 = 4096;
/// The bytes of content that surely fit a page.
const PAGE_CONTENT: usize = 3900;
/// The bytes of a page with its header in the write-ahead log.
const LOG_PAGE: u64 = PAGE + 24;
/// The pages that any small change may touch besides its content: leaves and inner nodes of tables
/// and indices.
const TOUCHED_PAGES: u64 = 28;
/// No class is evicted below this many samples.
const MIN_PER_CLASS: i64 = 4;
/// At most this many samples are compared with one another to find the redundant ones.
const POOL: usize = 256;

/// The bytes that a change adds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Bytes added to the content of the file.
    pub(super) growth: usize,
    /// Bytes added to the write-ahead log.
    pub(super) log: usize,
}

impl Cost {
    /// Returns the cost of a change that adds `bytes` of content.
    pub(super) fn of(bytes: usize) -> Self {
        Self { growth: bytes, log: bytes }
    }

    /// Returns the most bytes that the change takes in the write-ahead log.
    pub(super) fn log_bytes(self) -> u64 {
        (2 * self.log.div_ceil(PAGE_CONTENT) as u64 + TOUCHED_PAGES) * LOG_PAGE
    }
}

/// Tells whether enough pages are free.
type Fits<'a> = dyn Fn(&Connection) -> Outcome<bool> + 'a;

/// The limits that follow from the bytes allowed. State file, write-ahead log and its index
/// together never take more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) bytes: u64,
    pub(super) max_pages: i64,
    pub(super) log_bytes: u64,
}

impl Quota {
    /// Returns the limits for `bytes`. A quarter is set aside for the log of a state in a file.
    pub(super) fn new(bytes: u64, in_file: bool) -> Self {
        let (log_bytes, index_bytes) = if in_file { (bytes / 4, (64 << 10) + bytes / 256) } else { (0, 0) };
        let pages = bytes.saturating_sub(log_bytes + index_bytes) / PAGE;
        Self { bytes, max_pages: i64::try_from(pages).unwrap_or(i64::MAX).min(4_294_967_294), log_bytes }
    }

    /// Returns whether the used pages and `needed` more are within the limit.
    pub(super) fn fits(&self, connection: &Connection, needed: i64) -> Outcome<bool> {
        let used = pragma(connection, "page_count")? - pragma(connection, "freelist_count")?;
        Ok(used + needed <= self.max_pages)
    }

    /// Evicts until `cost` fits; `attempt` grows the allowance after an estimate that was too
    /// small.
    pub(super) fn make_room(&self, connection: &Connection, cost: Cost, attempt: i64) -> Outcome<()> {
        let needed =
            i64::try_from(cost.growth.div_ceil(PAGE_CONTENT)).unwrap_or(i64::MAX / 2) + 6 + 16 * attempt;
        let fits = |connection: &Connection| self.fits(connection, needed);
        while !fits(connection)? {
            if !evict(connection, &fits)? {
                return Err(self.full("no room is left and nothing more can be dropped").into());
            }
        }
        Ok(())
    }

    /// Returns the error for a quota that leaves no room.
    pub(super) fn full(&self, reason: &str) -> Error {
        let reason = format!("{reason} within its {} bytes", self.bytes);
        Error::full("the quota", reason, "raise the quota, or forget a class")
    }
}

/// Returns a number that SQLite keeps of the file.
pub(super) fn pragma(connection: &Connection, name: &str) -> Outcome<i64> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

/// Drops some of the least valuable rows, until the rest `fits`. Returns false if nothing may go.
pub(super) fn evict(connection: &Connection, fits: &Fits<'_>) -> Outcome<bool> {
    Ok(drop_old_heads(connection)?
        || evict_unlabelled(connection, fits)?
        || evict_labelled(connection, fits)?)
}

/// Drops the heads of the oldest version that is neither published nor the one to fall back to.
fn drop_old_heads(connection: &Connection) -> Outcome<bool> {
    let sql = "UPDATE versions SET heads=NULL WHERE id=(
                   SELECT min(id) FROM versions WHERE heads IS NOT NULL AND id NOT IN (
                       SELECT id FROM versions WHERE status='published' AND heads IS NOT NULL
                       ORDER BY id DESC LIMIT 2))";
    query::execute(connection, sql, [])?;
    Ok(connection.changes() > 0)
}

fn evict_unlabelled(connection: &Connection, fits: &Fits<'_>) -> Outcome<bool> {
    let sql = format!("SELECT id FROM samples WHERE class_id IS NULL AND state={KEPT} ORDER BY id LIMIT 64");
    let ids = query::values(connection, &sql, [])?;
    for sample in redundant(connection, &ids, (ids.len() / 8).max(1))? {
        let sql = "SELECT EXISTS (SELECT 1 FROM labels WHERE sample_id=?1)";
        if query::value(connection, sql, [sample])? {
            contents::remove(connection, sample, EVICTED)?;
        } else {
            query::execute(connection, "DELETE FROM samples WHERE id=?1", [sample])?;
        }
        if fits(connection)? {
            break;
        }
    }
    Ok(!ids.is_empty())
}

fn evict_labelled(connection: &Connection, fits: &Fits<'_>) -> Outcome<bool> {
    let sql = format!(
        "SELECT class_id, count(*), sum(held_out) FROM samples WHERE class_id IS NOT NULL AND state={KEPT}
         GROUP BY class_id ORDER BY 2 DESC, 1 LIMIT 2"
    );
    let classes: Vec<(i64, i64, i64)> =
        query::all(connection, &sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Some(&(class, count, held_out)) = classes.first().filter(|largest| largest.1 > MIN_PER_CLASS) else {
        return Ok(false);
    };
    let second = classes.get(1).map_or(0, |&(_, count, _)| count).max(MIN_PER_CLASS);
    let sql =
        format!("SELECT id FROM samples WHERE class_id=?1 AND held_out=?2 AND state={KEPT} ORDER BY id");
    let all: Vec<i64> = query::values(connection, &sql, (class, held_out * 6 > count))?;
    let pool: Vec<i64> = all.iter().copied().step_by(all.len().div_ceil(POOL).max(1)).collect();
    let share = (pool.len() / 16).max(1);
    let number = usize::try_from(count - second).unwrap_or(0).clamp(1, share);
    for sample in redundant(connection, &pool, number)? {
        contents::remove(connection, sample, EVICTED)?;
        if fits(connection)? {
            break;
        }
    }
    settle_split(connection, class)?;
    Ok(true)
}

/// Returns the `number` samples of a pool that are nearest to another one of it, one after the
/// other; of two alike the older.
fn redundant(connection: &Connection, pool: &[i64], number: usize) -> Outcome<Vec<i64>> {
    let sql = "SELECT features FROM contents WHERE sample_id=?1";
    let features = pool
        .iter()
        .map(|id| {
            let bytes: Option<Vec<u8>> = query::value(connection, sql, [id])?;
            Ok(features_from_bytes(&bytes.unwrap_or_default()))
        })
        .collect::<Outcome<Vec<_>>>()?;
    let row = |a: usize| (0..a).map(|b| cosine(&features[a], &features[b])).collect();
    let alike: Vec<Vec<f32>> = (0..pool.len()).map(row).collect();
    let mut left: Vec<usize> = (0..pool.len()).collect();
    let mut victims = Vec::new();
    while victims.len() < number && !left.is_empty() {
        let mut best = (0, f32::NEG_INFINITY);
        for (position, &a) in left.iter().enumerate() {
            let others = left.iter().filter(|&&b| b != a);
            let nearest = others.map(|&b| alike[a.max(b)][a.min(b)]).fold(f32::NEG_INFINITY, f32::max);
            if nearest > best.1 {
                best = (position, nearest);
            }
        }
        victims.push(pool[left.remove(best.0)]);
    }
    Ok(victims)
}
