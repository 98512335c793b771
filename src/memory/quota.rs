//! The quota: state file, write-ahead log and its index together never take more bytes than allowed. Each
//! change says beforehand what it costs; room is made by dropping old heads, then unlabelled samples, then
//! the most redundant samples of the largest class.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::Memory;
use super::fault::{Fault, Outcome};
use super::features::{cosine, features_from_bytes};
use super::labels::settle_split;
use super::lock::beside;
use super::samples::{EVICTED, KEPT, remove_content};
use super::seal::to_sql;
use crate::error::{Error, Result};

/// The smallest quota: tables, indices and log of an empty state, and a few samples.
pub const MIN_QUOTA_BYTES: u64 = 1 << 20;
/// Content that surely fits a page, less than its 4096 bytes.
const PAGE_CONTENT: usize = 3900;
/// A page with its header in the write-ahead log.
const LOG_PAGE: u64 = 4096 + 24;
/// Pages that any small change may touch besides its content: leaves and inner nodes of tables and indices.
const TOUCHED_PAGES: u64 = 28;
/// No class is evicted below this many samples.
const MIN_PER_CLASS: i64 = 4;
/// At most so many samples are compared with one another to find the redundant ones.
const POOL: usize = 256;

/// What a change adds, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// To the content of the file.
    pub(super) growth: usize,
    /// To the write-ahead log.
    pub(super) log: usize,
}

impl Cost {
    /// A change that adds `bytes` of content.
    pub(super) fn of(bytes: usize) -> Self {
        Self { growth: bytes, log: bytes }
    }
}

/// What was turned away or dropped since the state was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples that repeated a recent one and were not stored again.
    pub duplicates: u64,
    /// Unlabelled samples dropped to hold the quota.
    pub evicted_unlabelled: u64,
    /// Labelled samples whose features were dropped to hold the quota.
    pub evicted_labelled: u64,
    /// Old versions whose heads were dropped to hold the quota.
    pub heads_dropped: u64,
}

/// Whether enough pages are free.
type Fits<'a> = dyn Fn(&Connection) -> Outcome<bool> + 'a;

/// Limits that follow from the bytes allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    bytes: u64,
    max_pages: i64,
    log_bytes: u64,
}

impl Quota {
    fn new(bytes: u64, in_file: bool) -> Self {
        let (log_bytes, index_bytes) = if in_file { (bytes / 4, (64 << 10) + bytes / 256) } else { (0, 0) };
        let pages = bytes.saturating_sub(log_bytes + index_bytes) / 4096;
        Self { bytes, max_pages: i64::try_from(pages).unwrap_or(i64::MAX).min(4_294_967_294), log_bytes }
    }

    /// Evicts until `cost` fits; `attempt` grows the allowance after an estimate that was too small.
    pub(super) fn make_room(
        &self,
        connection: &Connection,
        cost: Cost,
        attempt: i64,
        tally: &mut Tally,
    ) -> Outcome<()> {
        let needed =
            i64::try_from(cost.growth.div_ceil(PAGE_CONTENT)).unwrap_or(i64::MAX / 2) + 6 + 16 * attempt;
        let fits = |connection: &Connection| Ok(used_pages(connection)? + needed <= self.max_pages);
        while !fits(connection)? {
            if !evict(connection, &fits, tally)? {
                return Err(Fault::Refused(format!(
                    "the quota of {} bytes is full and nothing more can be dropped: raise the quota, or \
                    forget a class",
                    self.bytes
                )));
            }
        }
        Ok(())
    }
}

impl Memory {
    /// Bounds the bytes on disk: state file, write-ahead log and its index. A quarter is set aside for the
    /// log, so one change (a batch, a version's heads) may take up to an eighth. A state that is larger is
    /// shrunk at once.
    ///
    /// # Errors
    /// [`Error::Config`] for less than [`MIN_QUOTA_BYTES`]; [`Error::State`] if the state cannot be made so
    /// small.
    pub fn set_quota_bytes(&mut self, bytes: u64) -> Result<()> {
        if bytes < MIN_QUOTA_BYTES {
            return Err(Error::config("quota_bytes", bytes, format!("{MIN_QUOTA_BYTES} or more")));
        }
        let quota = Quota::new(bytes, self.lock.is_some());
        let fits = |connection: &Connection| Ok(used_pages(connection)? <= quota.max_pages);
        self.checkpoint()?;
        while self.read(|connection| pragma(connection, "page_count"))? > quota.max_pages {
            if !self.read(fits)? {
                let evicted = self
                    .write(Cost { growth: 0, log: 0 }, |connection, tally| evict(connection, &fits, tally))?;
                if !evicted {
                    let reason =
                        format!("it cannot be shrunk to {bytes} bytes: raise the quota, or forget a class");
                    return Err(Error::State { path: self.path.clone(), reason });
                }
            }
            self.read(|connection| Ok(connection.pragma(None, "incremental_vacuum", 32, |_| Ok(()))?))?;
            self.checkpoint()?;
        }
        self.read(|connection| {
            let set: i64 =
                connection
                    .pragma_update_and_check(None, "max_page_count", quota.max_pages, |row| row.get(0))?;
            if set == quota.max_pages {
                return Ok(());
            }
            Err(Fault::Refused(format!("the page limit is {set}, not {}: raise the quota", quota.max_pages)))
        })?;
        self.quota = Some(quota);
        Ok(())
    }

    /// Bytes on disk: state file, write-ahead log and its index; for a state in memory, bytes of its pages.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be examined.
    pub fn bytes(&self) -> Result<u64> {
        if self.path.as_os_str() == super::IN_MEMORY {
            let pages = self.read(|connection| pragma(connection, "page_count"))?;
            return Ok(u64::try_from(pages).unwrap_or(0) * 4096);
        }
        ["", "-wal", "-shm"].iter().map(|suffix| size(&beside(&self.path, suffix))).sum()
    }

    /// Empties the write-ahead log if the change would make it outgrow its share.
    pub(super) fn make_room_in_log(&self, cost: Cost) -> Result<()> {
        let (Some(quota), Some(_)) = (self.quota, &self.lock) else {
            return Ok(());
        };
        let pages = 2 * cost.log.div_ceil(PAGE_CONTENT) as u64 + TOUCHED_PAGES;
        let refuse = |reason: String| Err(Error::State { path: self.path.clone(), reason });
        if pages * LOG_PAGE > quota.log_bytes {
            return refuse(format!(
                "one change of {} bytes is more than an eighth of the quota of {} bytes: make smaller \
                 changes, or raise the quota",
                cost.log, quota.bytes
            ));
        }
        let log = beside(&self.path, "-wal");
        if size(&log)? + pages * LOG_PAGE > quota.log_bytes {
            self.checkpoint()?;
            if size(&log)? + pages * LOG_PAGE > quota.log_bytes {
                return refuse("a reader keeps the write-ahead log from being emptied: end it".to_owned());
            }
        }
        Ok(())
    }

    /// Moves the write-ahead log into the file and empties it, as far as readers allow.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.read(|connection| Ok(connection.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?))
    }
}

fn size(path: &std::path::Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn pragma(connection: &Connection, name: &str) -> Outcome<i64> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

fn used_pages(connection: &Connection) -> Outcome<i64> {
    Ok(pragma(connection, "page_count")? - pragma(connection, "freelist_count")?)
}

/// Drops a little of what is missed least, until it `fits`; false if nothing may go.
fn evict(connection: &Connection, fits: &Fits<'_>, tally: &mut Tally) -> Outcome<bool> {
    Ok(drop_old_heads(connection, tally)?
        || evict_unlabelled(connection, fits, tally)?
        || evict_labelled(connection, fits, tally)?)
}

/// Heads of the oldest version that is neither published nor the one to fall back to.
fn drop_old_heads(connection: &Connection, tally: &mut Tally) -> Outcome<bool> {
    let dropped = connection
        .prepare_cached(
            "UPDATE versions SET heads=NULL WHERE id=(
                SELECT min(id) FROM versions WHERE heads IS NOT NULL AND id NOT IN (
                    SELECT id FROM versions WHERE status='published' AND heads IS NOT NULL
                    ORDER BY id DESC LIMIT 2))",
        )?
        .execute([])?;
    tally.heads_dropped += dropped as u64;
    Ok(dropped > 0)
}

fn evict_unlabelled(connection: &Connection, fits: &Fits<'_>, tally: &mut Tally) -> Outcome<bool> {
    let ids = ids(connection, "class_id IS NULL", None, 64)?;
    if ids.is_empty() {
        return Ok(false);
    }
    for sample in redundant(connection, &ids, (ids.len() / 8).max(1))? {
        let logged: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM labels WHERE sample_id=?1)")?
            .query_row([sample], |row| row.get(0))?;
        if logged {
            remove_content(connection, sample, EVICTED)?;
        } else {
            connection.prepare_cached("DELETE FROM samples WHERE id=?1")?.execute([sample])?;
        }
        tally.evicted_unlabelled += 1;
        if fits(connection)? {
            break;
        }
    }
    Ok(true)
}

fn evict_labelled(connection: &Connection, fits: &Fits<'_>, tally: &mut Tally) -> Outcome<bool> {
    let classes: Vec<(i64, i64, i64)> = connection
        .prepare_cached(&format!(
            "SELECT class_id, count(*), sum(held_out) FROM samples WHERE class_id IS NOT NULL AND state={KEPT}
             GROUP BY class_id ORDER BY 2 DESC, 1 LIMIT 2"
        ))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let Some(&(class, count, held_out)) = classes.first() else {
        return Ok(false);
    };
    if count <= MIN_PER_CLASS {
        return Ok(false);
    }
    let second = classes.get(1).map_or(0, |&(_, count, _)| count).max(MIN_PER_CLASS);
    let side = if held_out * 6 > count { "class_id=?1 AND held_out=1" } else { "class_id=?1 AND held_out=0" };
    let all = ids(connection, side, Some(class), i64::MAX)?;
    let pool: Vec<i64> = all.iter().copied().step_by(all.len().div_ceil(POOL).max(1)).collect();
    let share = (pool.len() / 16).max(1);
    let number = usize::try_from(count - second).unwrap_or(0).clamp(1, share);
    for sample in redundant(connection, &pool, number)? {
        remove_content(connection, sample, EVICTED)?;
        tally.evicted_labelled += 1;
        if fits(connection)? {
            break;
        }
    }
    settle_split(connection, class)?;
    Ok(true)
}

fn ids(connection: &Connection, condition: &str, class: Option<i64>, limit: i64) -> Outcome<Vec<i64>> {
    let sql = format!("SELECT id FROM samples WHERE {condition} AND state={KEPT} ORDER BY id LIMIT {limit}");
    let values = class.map(|class| to_sql(ValueRef::Integer(class)));
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The `number` samples of a pool that are nearest to another one of it, one after the other; of two alike
/// the older.
fn redundant(connection: &Connection, pool: &[i64], number: usize) -> Outcome<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT features FROM contents WHERE sample_id=?1")?;
    let features = pool
        .iter()
        .map(|id| {
            let bytes: Option<Vec<u8>> = statement.query_row([id], |row| row.get(0))?;
            Ok(features_from_bytes(&bytes.unwrap_or_default()))
        })
        .collect::<Outcome<Vec<_>>>()?;
    let count = pool.len();
    let mut alike = vec![f32::NEG_INFINITY; count * count];
    for a in 0..count {
        for b in 0..a {
            let value = cosine(&features[a], &features[b]);
            alike[a * count + b] = value;
            alike[b * count + a] = value;
        }
    }
    let mut left: Vec<usize> = (0..count).collect();
    let mut victims = Vec::new();
    while victims.len() < number && !left.is_empty() {
        let nearest = |a: usize| left.iter().map(|&b| alike[a * count + b]).fold(f32::NEG_INFINITY, f32::max);
        let mut best = (0, f32::NEG_INFINITY);
        for (position, &a) in left.iter().enumerate() {
            let value = nearest(a);
            if value > best.1 {
                best = (position, value);
            }
        }
        victims.push(pool[left.remove(best.0)]);
    }
    Ok(victims)
}
