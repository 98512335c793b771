//! Samples: features `[D]` as f16, cached views, thumbnail, and the side of the split they are on.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::contents::{bytes_from_features, cosine, features_from_bytes, intact_features};
use super::fault::{Fault, Outcome};
use super::label_log::{LabelId, class_row, teach};
use super::quota::Cost;
use super::schema::{KEPT, now_millis};
use super::state::Memory;
use super::{latents, query, seal};
use crate::error::{Error, Result};
use crate::ids::{ClassId, SampleId};
use crate::latent::LatentTable;

/// Above this cosine a new sample repeats a recent one.
const NEAR_DUPLICATE: f32 = 0.999;
/// A new sample is compared with this many recent ones of its class, and as many unlabelled ones.
const RECENT: i64 = 8;
/// One sample in this many is held out.
const HELD_OUT_ONE_IN: u64 = 6;

/// The part of a frame that is remembered. Features are stored in half precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Features of the frame itself, `[D]`.
    pub features: Vec<f32>,
    /// Features of augmented views, each `[D]`; none where there are latents.
    pub views: Vec<Vec<f32>>,
    /// Latents of the frame itself and of its augmented views, if the backbone is cut.
    pub latents: Option<LatentTable>,
    /// A small JPEG to show.
    pub thumbnail: Option<Vec<u8>>,
    /// File name of the frame or its position in the source.
    pub name: String,
    /// When the frame was taken, milliseconds since the Unix epoch or the start of a recording.
    pub timestamp_millis: i64,
    /// Name of its class, if known.
    pub label: Option<String>,
}

/// The fate of a [`Sample`] that was added; it is durable when this is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The sample's row, or the row of the one it repeats.
    pub sample: SampleId,
    /// The row of the label log, for a sample that was added with a label.
    pub label: Option<LabelId>,
    /// Whether the sample is held out from training, to judge new heads. A sample without a label
    /// moves to training if its class, once known, needs it there.
    pub held_out: bool,
    /// Whether the sample repeats a recent one; then only its label was kept.
    pub duplicate: bool,
}

/// Which samples to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Samples with a label, for training.
    Training,
    /// Samples with a label, held out.
    HeldOut,
    /// Samples without a label.
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
    /// Whether the sample is held out, see [`Stored::held_out`].
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

    /// Stores samples in one transaction: all are durable when it returns, or none is kept. A
    /// sample that repeats a recent one is not stored again, but its label is logged to that one.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Frame`] for features of another width or not finite in f16;
    /// [`Error::Config`] for a class name that cannot be used; [`Error::Full`] if the quota or the
    /// disk is full; [`Error::State`] if the file cannot be written.
    pub fn add_samples(&mut self, new: &[Sample]) -> Result<Vec<Stored>> {
        let encoded = new.iter().map(|sample| self.encode(sample)).collect::<Result<Vec<Encoded<'_>>>>()?;
        let bytes = encoded.iter().map(Encoded::cost).sum();
        self.write(Cost::of(bytes), |connection| {
            encoded.iter().map(|sample| add(connection, sample)).collect()
        })
    }

    fn encode<'a>(&self, new: &'a Sample) -> Result<Encoded<'a>> {
        let width = self.identity().feature_width;
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

    /// Returns the kept samples of one kind, by id.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] for damaged features.
    pub fn samples(&self, rows: Rows) -> Result<Vec<StoredSample>> {
        let mut samples = Vec::new();
        self.for_each_sample(rows, |sample| samples.push(sample))?;
        Ok(samples)
    }

    /// Calls `visit` with each kept sample of one kind, by id, without holding them all.
    ///
    /// # Errors
    /// As [`Memory::samples`].
    pub fn for_each_sample(&self, rows: Rows, visit: impl FnMut(StoredSample)) -> Result<()> {
        let condition = match rows {
            Rows::Training => "class_id IS NOT NULL AND held_out=0",
            Rows::HeldOut => "class_id IS NOT NULL AND held_out=1",
            Rows::Unlabelled => "class_id IS NULL",
        };
        self.visit(&format!("{condition} ORDER BY id"), [], visit)
    }

    /// Returns the kept samples without a label above `after`, by id, at most `most`.
    ///
    /// # Errors
    /// As [`Memory::samples`].
    pub(crate) fn unlabelled_above(&self, after: i64, most: u32) -> Result<Vec<StoredSample>> {
        let mut samples = Vec::new();
        let rows = "class_id IS NULL AND id>?1 ORDER BY id LIMIT ?2";
        self.visit(rows, (after, most), |sample| samples.push(sample))?;
        Ok(samples)
    }

    /// Returns an id such that the newest `most` kept samples without a label have larger ones.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    pub(crate) fn below_newest_unlabelled(&self, most: u32) -> Result<i64> {
        let sql = format!(
            "SELECT coalesce(min(id), 1) - 1 FROM (
                 SELECT id FROM samples WHERE class_id IS NULL AND state={KEPT} ORDER BY id DESC LIMIT ?1)"
        );
        self.read(|connection| query::value(connection, &sql, [most]))
    }

    /// Calls `visit` with each kept sample of a condition.
    fn visit(
        &self,
        condition: &str,
        parameters: impl rusqlite::Params,
        mut visit: impl FnMut(StoredSample),
    ) -> Result<()> {
        let sql = format!(
            "SELECT id, features, features_sum, class_id, held_out
             FROM samples LEFT JOIN contents ON sample_id=id WHERE state={KEPT} AND {condition}"
        );
        let width = self.identity().feature_width;
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut found = statement.query(parameters)?;
            while let Some(row) = found.next()? {
                let id: i64 = row.get(0)?;
                let features = intact_features(row.get_ref(1)?, row.get_ref(2)?, width)
                    .ok_or_else(|| Fault::damaged("samples", id))?;
                let class = row.get::<_, Option<u32>>(3)?.map(ClassId);
                let held_out = row.get(4)?;
                visit(StoredSample { id: SampleId(id), features: features.into(), class, held_out });
            }
            Ok(())
        })
    }

    /// Returns the cached views of a sample, each `[D]`, in the order in which they were stored;
    /// none for a sample without views.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] for a damaged view.
    pub fn views(&self, sample: SampleId) -> Result<Vec<Vec<f32>>> {
        let sql = seal::select_where(&seal::VIEWS, "sample_id=?1");
        self.read(|connection| {
            query::all(connection, &sql, [sample.0], |row| {
                if !seal::intact(&seal::VIEWS, row)? {
                    return Err(Fault::damaged("views", row.get(0)?));
                }
                Ok(features_from_bytes(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?))
            })
        })
    }

    /// Returns where a sample came from, or `None` for an id that no sample has.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] for a damaged row.
    pub fn describe(&self, sample: SampleId) -> Result<Option<Description>> {
        let sql = seal::select_where(&seal::SAMPLES, "id=?1");
        self.read(|connection| {
            query::first(connection, &sql, [sample.0], |row| {
                if !seal::intact(&seal::SAMPLES, row)? {
                    return Err(Fault::damaged("samples", sample.0));
                }
                Ok(Description { name: row.get("name")?, timestamp_millis: row.get("timestamp_millis")? })
            })
        })
    }

    /// Returns the thumbnail of a sample as JPEG, if it has one.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read, [`Error::Corrupt`] for a damaged thumbnail.
    pub fn thumbnail(&self, sample: SampleId) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT thumbnail, thumbnail_sum FROM samples LEFT JOIN contents ON sample_id=id
                   WHERE id=?1";
        self.read(|connection| {
            let found: Option<(Option<Vec<u8>>, Option<i64>)> =
                query::first(connection, sql, [sample.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
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
        let latents = self.new.latents.as_ref().map_or(0, latents::bytes);
        self.bytes.len()
            + views
            + latents
            + self.new.thumbnail.as_ref().map_or(0, Vec::len)
            + self.new.name.len()
            + 512
    }
}

fn add(connection: &Connection, encoded: &Encoded<'_>) -> Outcome<Stored> {
    let class = encoded.new.label.as_deref().map(|name| class_row(connection, name)).transpose()?;
    let twin = twin(connection, encoded, class)?;
    let sample = twin.map_or_else(|| insert(connection, encoded), Ok)?;
    let label = class.map(|class| teach(connection, sample, class)).transpose()?;
    let held_out = query::value(connection, "SELECT held_out FROM samples WHERE id=?1", [sample])?;
    Ok(Stored { sample: SampleId(sample), label, held_out, duplicate: twin.is_some() })
}

fn insert(connection: &Connection, encoded: &Encoded<'_>) -> Outcome<i64> {
    let Encoded { new, bytes, views, .. } = encoded;
    let id = seal::next_id(connection, "samples", "id")?;
    let sum = seal::sum(bytes);
    let held_out = u64::from_be_bytes(sum.to_be_bytes()).is_multiple_of(HELD_OUT_ONE_IN);
    let thumbnail = new.thumbnail.as_deref();
    let row = params![
        id,
        new.name,
        new.timestamp_millis,
        held_out,
        KEPT,
        sum,
        thumbnail.map(seal::sum),
        now_millis()
    ];
    seal::insert(connection, &seal::SAMPLES, row, &[])?;
    let sql = "INSERT INTO contents (sample_id, features, thumbnail) VALUES (?1, ?2, ?3)";
    query::execute(connection, sql, (id, bytes, thumbnail))?;
    for (number, view) in (0_i64..).zip(views) {
        seal::insert(connection, &seal::VIEWS, params![id, number, view], &[])?;
    }
    if let Some(latents) = &new.latents {
        latents::insert(connection, id, latents)?;
    }
    Ok(id)
}

/// Returns the kept sample that a new one repeats: one with the same features, or a recent one that
/// is nearly the same, of the same class or unlabelled.
fn twin(connection: &Connection, encoded: &Encoded<'_>, class: Option<i64>) -> Outcome<Option<i64>> {
    let sql = "SELECT id FROM samples INDEXED BY samples_by_features JOIN contents ON sample_id=id
               WHERE features_sum=?1 AND state=0 AND features=?2 AND (class_id IS NULL OR class_id=?3)";
    let values = (seal::sum(&encoded.bytes), &encoded.bytes, class);
    let same = query::first(connection, sql, values, |row| Ok(row.get(0)?))?;
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
            if let ValueRef::Blob(bytes) = row.get_ref(1)?
                && cosine(&features_from_bytes(bytes), &encoded.rounded) > NEAR_DUPLICATE
            {
                return Ok(Some(row.get(0)?));
            }
        }
    }
    Ok(None)
}
