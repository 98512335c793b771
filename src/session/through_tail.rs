//! Stored samples as a trained tail sees them.

use std::collections::HashMap;
use std::sync::Arc;

use super::published_head::PublishedHead;
use crate::Result;
use crate::heads::Tail;
use crate::ids::SampleId;
use crate::learn::inference;
use crate::memory::{Memory, StoredSample};

/// Latents that run through a tail at once.
const BATCH: usize = 32;

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

/// Features of stored samples by one trained tail, so that each is computed once.
#[derive(Debug)]
pub(super) struct TailFeatures {
    tail: Arc<Tail>,
    rows: HashMap<SampleId, Arc<[f32]>>,
    /// Whether computed features are kept; under a memory limit they are computed each time.
    is_kept: bool,
}

impl TailFeatures {
    /// No features yet.
    pub(super) fn new(tail: &Arc<Tail>, is_kept: bool) -> Self {
        Self { tail: tail.clone(), rows: HashMap::new(), is_kept }
    }

    /// Whether the features are those of `tail`.
    pub(super) fn is_of(&self, tail: &Arc<Tail>) -> bool {
        Arc::ptr_eq(&self.tail, tail)
    }

    /// The samples with the features of the tail. A sample without latents is left out.
    ///
    /// # Errors
    /// As [`through_tail`].
    pub(super) fn through(&mut self, memory: &Memory, samples: &[StoredSample]) -> Result<Vec<StoredSample>> {
        if !self.is_kept {
            return through_tail(memory, &self.tail, samples);
        }
        let is_fresh = |sample: &&StoredSample| !self.rows.contains_key(&sample.id);
        let fresh: Vec<_> = samples.iter().filter(is_fresh).cloned().collect();
        for sample in through_tail(memory, &self.tail, &fresh)? {
            self.rows.insert(sample.id, sample.features);
        }
        let with = |sample: &StoredSample| {
            let features = self.rows.get(&sample.id)?.clone();
            Some(StoredSample { features, ..sample.clone() })
        };
        Ok(samples.iter().filter_map(with).collect())
    }
}
