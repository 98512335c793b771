//! Which unlabelled samples a person should look at first.

use serde::Serialize;

use super::clustering::dot;
use super::published_head::{PublishedHead, join};
use super::through_tail::as_seen_by;
use crate::Result;
use crate::ids::SampleId;
use crate::memory::{Memory, Rows, StoredSample};

/// Most unlabelled samples that are considered: the newest ones.
const MOST_SAMPLES: usize = 2_000;
/// Samples that are predicted together.
const BATCH: usize = 256;
/// A sample whose cosine with one suggested before is above this adds nothing.
const ALIKE: f32 = 0.97;

/// An unlabelled sample whose label would help most.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Suggestion {
    /// Id of the sample.
    #[schema(value_type = i64)]
    pub sample: SampleId,
    /// The best class.
    pub nearest: String,
    /// Its probability, 0..1.
    pub probability: f32,
    /// The second best class, if there is one.
    pub second: Option<String>,
    /// Difference of the two probabilities, 0..1.
    pub margin: f32,
    /// Novelty of the sample; above 1 it is unlike everything learned.
    pub novelty: f32,
}

/// At most `most` unlabelled samples, ordered by how unsure the head is about them: by `1 - margin`
/// (margin sampling, Scheffer et al. 2001), or by how far novelty is above 1 if that is more. Of
/// samples that are alike only the first is suggested.
///
/// # Errors
/// [`crate::Error::State`] if the memory cannot be read, [`crate::Error::Shape`] for a head of
/// other features.
pub(crate) fn suggestions(memory: &Memory, head: &PublishedHead, most: usize) -> Result<Vec<Suggestion>> {
    let mut unlabelled = memory.samples(Rows::Unlabelled)?;
    unlabelled.drain(..unlabelled.len().saturating_sub(MOST_SAMPLES));
    let newest = as_seen_by(memory, head, unlabelled)?;
    let mut scored: Vec<(f32, &StoredSample, Suggestion)> = Vec::new();
    for batch in newest.chunks(BATCH) {
        scored.extend(score(head, batch)?);
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.id.cmp(&a.1.id)));
    let mut chosen: Vec<(&StoredSample, Suggestion)> = Vec::new();
    for (_, sample, suggestion) in scored {
        if chosen.len() == most {
            break;
        }
        if chosen.iter().all(|(other, _)| cosine(&other.features, &sample.features) <= ALIKE) {
            chosen.push((sample, suggestion));
        }
    }
    Ok(chosen.into_iter().map(|(_, suggestion)| suggestion).collect())
}

fn score<'a>(
    head: &PublishedHead,
    batch: &'a [StoredSample],
) -> Result<Vec<(f32, &'a StoredSample, Suggestion)>> {
    let answers = head.predict(&join(batch))?;
    let scored = batch.iter().zip(answers).map(|(sample, answer)| {
        let second = answer.ranking.get(1);
        let margin = answer.probability - second.map_or(0.0, |(_, probability)| *probability);
        let suggestion = Suggestion {
            sample: sample.id,
            nearest: answer.nearest.clone(),
            probability: answer.probability,
            second: second.map(|(name, _)| name.clone()),
            margin,
            novelty: answer.novelty,
        };
        ((1.0 - margin).max(answer.novelty - 1.0), sample, suggestion)
    });
    Ok(scored.collect())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
}
