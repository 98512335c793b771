//! Samples: features `[D]` as f16, cached views, thumbnail, and on which side of the split a sample is.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::features::{bytes_from_features, cosine, features_from_bytes};
use super::labels::{LabelId, class_from_row, class_row, teach};
use super::quota::{Cost, Tally};
use super::{Memory, now_millis, seal};
use crate::error::{Error, Result};
use crate::ids::{ClassId, SampleId};

/// `samples.state`: features are there.
pub(super) const KEPT: i64 = 0;
/// `samples.state`: features went to hold the quota; the label log still names the sample.
pub(super) const EVICTED: i64 = 1;
/// `samples.state`: erased with its class.
pub(super) const FORGOTTEN: i64 = 2;
/// `samples.state`: features were damaged.
pub(super) const QUARANTINED: i64 = 3;

/// Cosine above which a new sample repeats a recent one.
const NEAR_DUPLICATE: f32 = 0.999;
/// How many recent samples of the class, and as many unlabelled ones, a new one is compared with.
const RECENT: i64 = 8;
/// One sample in so many is held out.
const HELD_OUT_ONE_IN: u64 = 6;

/// What is remembered of a frame. Features are stored in half precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Features of the frame itself, `[D]`.
    pub features: Vec<f32>,
    /// Features of augmented views, each `[D]`.
    pub views: Vec<Vec<f32>>,
    /// A small JPEG to show.
    pub thumbnail: Option<Vec<u8>>,
    /// File name of the frame or its position in the source.
    pub name: String,
    /// When the frame was taken, milliseconds since the Unix epoch or the start of a recording.
    pub timestamp_millis: i64,
    /// Name of its class, if known.
    pub label: Option<String>,
}

/// What became of a [`Sample`] that was added; durable when returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The sample's row, or the row of the one it repeats.
    pub sample: SampleId,
    /// The row of the label log, if it came with a label.
    pub label: Option<LabelId>,
    /// Held out from training, to judge new heads. For a sample without label: so unless its class, once
    /// known, needs it for training.
    pub held_out: bool,
    /// It repeats a recent sample; only its label was kept.
    pub duplicate: bool,
}

/// Which samples to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Labelled and for training.
    Training,
    /// Labelled and held out.
    HeldOut,
    /// Without a label.
    Unlabelled,
}

/// A stored sample with its features.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSample {
    /// Row of the state file.
    pub id: SampleId,
    /// Features `[D]`, as rounded to f16; copies of the sample share them.
    pub features: Arc<[f32]>,
    /// The class by the live label.
    pub class: Option<ClassId>,
    /// See [`Stored::held_out`].
    pub held_out: bool,
}

/// Where a sample came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// File name or URI.
    pub name: String,
    /// When the frame was taken, milliseconds since the Unix epoch or the start of a recording.
    pub timestamp_millis: i64,
}

/// A checked sample in the form in which it is written.
struct Encoded<'a> {
    new: &'a Sample,
    bytes: Vec<u8>,
    rounded: Vec<f32>,
    views: Vec<Vec<u8>>,
}

impl Memory {
    /// Stores one sample, see [`Memory::add_samples`].
    ///
    /// # Errors
    /// As [`Memory::add_samples`].
    pub fn add_sample(&mut self, new: &Sample) -> Result<Stored> {
        let stored = self.add_samples(std::slice::from_ref(new))?;
        stored.first().copied().ok_or_else(|| Error::shape("stored samples", 1, stored.len()))
    }

    /// Stores samples in one transaction: all are durable when it returns, or none is kept. One that repeats
    /// a recent sample is not stored again, but its label is logged to that sample.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Frame`] for features of another width or not finite in f16;
    /// [`Error::Config`] for a class name that cannot be used; [`Error::State`] if the quota or the disk is
    /// full.
    pub fn add_samples(&mut self, new: &[Sample]) -> Result<Vec<Stored>> {
        let encoded = new.iter().map(|sample| self.encode(sample)).collect::<Result<Vec<Encoded<'_>>>>()?;
        let bytes = encoded.iter().map(Encoded::cost).sum();
        self.write(Cost::of(bytes), |connection, tally| {
            encoded.iter().map(|sample| add(connection, sample, tally)).collect()
        })
    }

    fn encode<'a>(&self, new: &'a Sample) -> Result<Encoded<'a>> {
        let width = self.identity.feature_width;
        for (number, values) in [&new.features].into_iter().chain(&new.views).enumerate() {
            if values.len() != width {
                let what = format!("features of {}, view {number} (0: the frame itself)", new.name);
                return Err(Error::shape(what, [width], [values.len()]));
            }
            if values.iter().any(|value| !half::f16::from_f32(*value).is_finite()) {
                let reason = format!("features of view {number} are not finite in half precision");
                return Err(Error::Frame { name: new.name.clone(), reason });
            }
        }
        let bytes = bytes_from_features(&new.features);
        let rounded = features_from_bytes(&bytes);
        let views = new.views.iter().map(|view| bytes_from_features(view)).collect();
        Ok(Encoded { new, bytes, rounded, views })
    }

    /// Kept samples of one kind, by id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or the features of a sample are damaged.
    pub fn samples(&self, rows: Rows) -> Result<Vec<StoredSample>> {
        let mut samples = Vec::new();
        self.for_each_sample(rows, |sample| samples.push(sample))?;
        Ok(samples)
    }

    /// Calls `visit` with each kept sample of one kind, by id, without holding them all.
    ///
    /// # Errors
    /// As [`Memory::samples`].
    pub fn for_each_sample(&self, rows: Rows, mut visit: impl FnMut(StoredSample)) -> Result<()> {
        let condition = match rows {
            Rows::Training => "class_id IS NOT NULL AND held_out=0",
            Rows::HeldOut => "class_id IS NOT NULL AND held_out=1",
            Rows::Unlabelled => "class_id IS NULL",
        };
        let width = self.identity.feature_width;
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT id, features, features_sum, class_id, held_out
                 FROM samples LEFT JOIN contents ON sample_id=id
                 WHERE state={KEPT} AND {condition} ORDER BY id"
            ))?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let id: i64 = row.get(0)?;
                let features = intact_features(row.get_ref(1)?, row.get_ref(2)?, width)
                    .ok_or_else(|| Fault::damaged("samples", id))?;
                let class = row.get::<_, Option<i64>>(3)?.map(class_from_row).transpose()?;
                visit(StoredSample {
                    id: SampleId(id),
                    features: features.into(),
                    class,
                    held_out: row.get(4)?,
                });
            }
            Ok(())
        })
    }

    /// Cached views of a sample, each `[D]`, in the order in which they were stored; empty if there are none.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or a view is damaged.
    pub fn views(&self, sample: SampleId) -> Result<Vec<Vec<f32>>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&seal::select_where(&seal::VIEWS, "sample_id=?1"))?;
            let mut rows = statement.query([sample.0])?;
            let mut views = Vec::new();
            while let Some(row) = rows.next()? {
                if !seal::intact(&seal::VIEWS, row)? {
                    return Err(Fault::damaged("views", row.get(0)?));
                }
                views.push(features_from_bytes(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?));
            }
            Ok(views)
        })
    }

    /// Where a sample came from; none for an id that no sample has.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or the row is damaged.
    pub fn describe(&self, sample: SampleId) -> Result<Option<Description>> {
        self.read(|connection| {
            let sql = seal::select_where(&seal::SAMPLES, "id=?1");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([sample.0])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            if !seal::intact(&seal::SAMPLES, row)? {
                return Err(Fault::damaged("samples", sample.0));
            }
            Ok(Some(Description { name: row.get("name")?, timestamp_millis: row.get("timestamp_millis")? }))
        })
    }

    /// The thumbnail of a sample as JPEG, if it has one.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or the thumbnail is damaged.
    pub fn thumbnail(&self, sample: SampleId) -> Result<Option<Vec<u8>>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT thumbnail, thumbnail_sum FROM samples LEFT JOIN contents ON sample_id=id
                 WHERE id=?1",
            )?;
            let found: Option<(Option<Vec<u8>>, Option<i64>)> =
                statement.query_row([sample.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            match found {
                Some((Some(bytes), Some(sum))) if seal::sum(&bytes) == sum => Ok(Some(bytes)),
                Some((None, None)) | None => Ok(None),
                Some(_) => Err(Fault::damaged("samples", sample.0)),
            }
        })
    }
}

impl Encoded<'_> {
    fn cost(&self) -> usize {
        let views: usize = self.views.iter().map(|view| view.len() + 128).sum();
        self.bytes.len() + views + self.new.thumbnail.as_ref().map_or(0, Vec::len) + self.new.name.len() + 512
    }
}

/// Features of a row if blob, checksum and width agree.
pub(super) fn intact_features(blob: ValueRef<'_>, sum: ValueRef<'_>, width: usize) -> Option<Vec<f32>> {
    match (blob, sum) {
        (ValueRef::Blob(bytes), ValueRef::Integer(stored))
            if bytes.len() == 2 * width && seal::sum(bytes) == stored =>
        {
            Some(features_from_bytes(bytes))
        }
        _ => None,
    }
}

fn add(connection: &Connection, encoded: &Encoded<'_>, tally: &mut Tally) -> Outcome<Stored> {
    let class = encoded.new.label.as_deref().map(|name| class_row(connection, name)).transpose()?;
    let twin = twin(connection, encoded, class)?;
    let sample = match twin {
        Some(twin) => {
            tally.duplicates += 1;
            twin
        }
        None => insert(connection, encoded)?,
    };
    let label = class.map(|class| teach(connection, sample, class)).transpose()?;
    let held_out = connection
        .prepare_cached("SELECT held_out FROM samples WHERE id=?1")?
        .query_row([sample], |row| row.get(0))?;
    Ok(Stored { sample: SampleId(sample), label, held_out, duplicate: twin.is_some() })
}

fn insert(connection: &Connection, encoded: &Encoded<'_>) -> Outcome<i64> {
    let id = seal::next_id(connection, "samples", "id")?;
    let sum = seal::sum(&encoded.bytes);
    let held_out = u64::from_be_bytes(sum.to_be_bytes()).is_multiple_of(HELD_OUT_ONE_IN);
    let sealed = [
        ValueRef::Integer(id),
        ValueRef::Text(encoded.new.name.as_bytes()),
        ValueRef::Integer(encoded.new.timestamp_millis),
        ValueRef::Integer(i64::from(held_out)),
        ValueRef::Integer(KEPT),
        ValueRef::Integer(sum),
        seal::optional(encoded.new.thumbnail.as_deref().map(seal::sum)),
        ValueRef::Integer(now_millis()),
    ];
    seal::insert(connection, &seal::SAMPLES, &sealed, &[])?;
    connection
        .prepare_cached("INSERT INTO contents (sample_id, features, thumbnail) VALUES (?1, ?2, ?3)")?
        .execute((id, &encoded.bytes, encoded.new.thumbnail.as_deref()))?;
    for (number, view) in (0..).zip(&encoded.views) {
        let row = [ValueRef::Integer(id), ValueRef::Integer(number), ValueRef::Blob(view)];
        seal::insert(connection, &seal::VIEWS, &row, &[])?;
    }
    Ok(id)
}

/// The kept sample that a new one repeats: one with the same features, or a recent one that is nearly the
/// same, of the same class or unlabelled.
fn twin(connection: &Connection, encoded: &Encoded<'_>, class: Option<i64>) -> Outcome<Option<i64>> {
    let sum = seal::sum(&encoded.bytes);
    let same = connection
        .prepare_cached(
            "SELECT id FROM samples INDEXED BY samples_by_features JOIN contents ON sample_id=id
             WHERE features_sum=?1 AND state=0 AND features=?2 AND (class_id IS NULL OR class_id=?3)",
        )?
        .query_row((sum, &encoded.bytes, class), |row| row.get(0))
        .optional()?;
    if same.is_some() {
        return Ok(same);
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, features FROM samples JOIN contents ON sample_id=id
         WHERE class_id IS ?1 AND state=0 ORDER BY id DESC LIMIT ?2",
    )?;
    let groups = if class.is_some() { vec![class, None] } else { vec![None] };
    for group in groups {
        let mut rows = statement.query((group, RECENT))?;
        while let Some(row) = rows.next()? {
            let ValueRef::Blob(bytes) = row.get_ref(1)? else {
                continue;
            };
            if cosine(&features_from_bytes(bytes), &encoded.rounded) > NEAR_DUPLICATE {
                return Ok(Some(row.get(0)?));
            }
        }
    }
    Ok(None)
}

/// Takes features, views and thumbnail of a sample away and says why in its `state`. Rows are deleted, not
/// shortened: only that gives pages back.
pub(super) fn remove_content(connection: &Connection, sample: i64, state: i64) -> Outcome<()> {
    let assignments = "state=?2, thumbnail_sum=NULL";
    seal::amend(connection, &seal::SAMPLES, sample, assignments, &[ValueRef::Integer(state)])?;
    delete_content(connection, sample)
}

/// Deletes features, views and thumbnail of a sample.
pub(super) fn delete_content(connection: &Connection, sample: i64) -> Outcome<()> {
    connection.prepare_cached("DELETE FROM contents WHERE sample_id=?1")?.execute([sample])?;
    connection.prepare_cached("DELETE FROM views WHERE sample_id=?1")?.execute([sample])?;
    Ok(())
}
