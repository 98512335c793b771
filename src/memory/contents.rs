//! The features and thumbnail of a sample. Features are stored as f16, little-endian, `[D]`.

use half::f16;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::fault::Outcome;
use super::{query, seal};

/// Returns `values` `[D]` rounded to f16, as bytes.
pub(super) fn bytes_from_features(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
}

/// Returns the features `[D]` that `bytes` hold.
pub(super) fn features_from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
}

/// Returns the features of a row if blob, checksum and width agree.
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

/// Returns the cosine of two feature vectors `[D]`; 0 if one of them is zero.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (mut dot, mut aa, mut bb) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (x, y) in a.iter().zip(b) {
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    dot / (aa.sqrt() * bb.sqrt()).max(f32::MIN_POSITIVE)
}

/// Takes features, latents, views and thumbnail of a sample away and records why in its `state`.
pub(super) fn remove(connection: &Connection, sample: i64, state: i64) -> Outcome<()> {
    seal::amend(connection, &seal::SAMPLES, sample, "state=?2, thumbnail_sum=NULL", &[&state])?;
    delete(connection, sample)
}

/// Deletes features, latents, views and thumbnail of a sample. Only a deleted row gives its pages
/// back, a shortened one does not.
pub(super) fn delete(connection: &Connection, sample: i64) -> Outcome<()> {
    query::execute(connection, "DELETE FROM contents WHERE sample_id=?1", [sample])?;
    query::execute(connection, "DELETE FROM latents WHERE sample_id=?1", [sample])?;
    query::execute(connection, "DELETE FROM views WHERE sample_id=?1", [sample])
}
