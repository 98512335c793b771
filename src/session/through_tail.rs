//! Stored samples as a trained tail sees them.

use super::published_head::PublishedHead;
use crate::Result;
use crate::heads::Tail;
use crate::learn::inference;
use crate::memory::{Memory, StoredSample};

/// Latents that run through a tail at once.
const BATCH: usize = 128;

/// The samples with the features that `tail` makes of their stored latents. A sample without
/// latents is left out.
pub(super) fn through_tail(
    memory: &Memory,
    tail: &Tail,
    samples: &[StoredSample],
) -> Result<Vec<StoredSample>> {
    let width = tail.extractor.features();
    let mut seen = Vec::with_capacity(samples.len());
    for batch in samples.chunks(BATCH) {
        let (mut latents, mut rows) = (Vec::new(), Vec::new());
        for sample in batch {
            if let Some(own) = memory.latents(sample.id)? {
                own.append_to(0, &mut latents);
                rows.push(sample);
            }
        }
        let features = inference::extract(&tail.extractor, &tail.parameters, &latents)?;
        let with = |(sample, features): (&StoredSample, &[f32])| StoredSample {
            features: features.into(),
            ..sample.clone()
        };
        seen.extend(rows.into_iter().zip(features.chunks_exact(width.max(1))).map(with));
    }
    Ok(seen)
}

/// The samples with the features that `head` names them by.
pub(super) fn as_seen_by(
    memory: &Memory,
    head: &PublishedHead,
    samples: Vec<StoredSample>,
) -> Result<Vec<StoredSample>> {
    match head.tail() {
        Some(tail) => through_tail(memory, tail, &samples),
        None => Ok(samples),
    }
}
