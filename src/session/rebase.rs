//! Moves samples to another backbone: stored thumbnails are embedded anew into a new state.

use serde::Serialize;

use super::embedder::{BATCH, Embedder, VIEWS};
use crate::Result;
use crate::error::Error;
use crate::ids::SampleId;
use crate::memory::{Description, Memory, Rows, Sample};
use crate::vision::{DEFAULT_MAX_PIXELS, decode};

/// What a change of the backbone keeps and loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Losses {
    /// Samples that are kept because they have a thumbnail. Their features will be those of the
    /// thumbnail, which has fewer pixels than the frame had.
    pub kept: usize,
    /// Samples that are lost because they have no thumbnail.
    pub without_thumbnail: usize,
    /// Features of augmented views that are lost until new frames bring new ones.
    pub views: usize,
    /// Versions of the heads that are lost; the newest is learned anew.
    pub versions: usize,
    /// Rows of the label log; only the labels that count are kept, as new rows.
    pub log_rows: usize,
}

/// The new state in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rebased {
    /// Samples of the new state.
    pub samples: usize,
    /// Labels of the new state.
    pub labels: usize,
    /// Samples that repeat another one under the new backbone and were merged with it.
    pub duplicates: usize,
    /// Samples without a usable thumbnail.
    pub lost: usize,
}

/// What [`rebase`] would keep and lose.
///
/// # Errors
/// [`Error::State`] if the memory cannot be read.
pub(crate) fn losses(memory: &Memory) -> Result<Losses> {
    let counts = memory.counts()?;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut losses =
        Losses { versions: count(counts.versions), log_rows: count(counts.labels), ..Losses::default() };
    for (sample, _) in kept(memory)? {
        losses.views += memory.views(sample)?.len();
        if memory.thumbnail(sample)?.is_some() { losses.kept += 1 } else { losses.without_thumbnail += 1 }
    }
    Ok(losses)
}

/// Embeds the thumbnails of `from` by `embedder` and adds them, with names, times and the labels
/// that count, to the empty state `to`. Calls `progress` after each batch with the number of
/// samples seen. Held-out samples are drawn anew. A consolidation has to follow.
///
/// # Errors
/// [`Error::State`] from either state, [`Error::Shape`] and others from the backbone.
pub(crate) fn rebase(
    from: &Memory,
    to: &mut Memory,
    embedder: &mut Embedder,
    mut progress: impl FnMut(usize),
) -> Result<Rebased> {
    let (mut outcome, mut seen) = (Rebased::default(), 0);
    for batch in kept(from)?.chunks(BATCH) {
        let (mut frames, mut samples) = (Vec::new(), Vec::new());
        for (id, label) in batch {
            let described = from.describe(*id)?;
            let (Some(thumbnail), Some(Description { name, timestamp_millis })) =
                (from.thumbnail(*id)?, described)
            else {
                outcome.lost += 1;
                continue;
            };
            match decode(&thumbnail, &name, DEFAULT_MAX_PIXELS) {
                Ok(frame) => frames.push(frame),
                Err(Error::Frame { .. }) => {
                    outcome.lost += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let (thumbnail, label) = (Some(thumbnail), label.clone());
            samples.push(Sample { thumbnail, name, timestamp_millis, label, ..Sample::default() });
        }
        // The tail of a cut backbone learns from views.
        let views = if embedder.tail().is_some() { VIEWS } else { 0 };
        let embedded = embedder.samples_with(views, frames, seen as u64 + 1)?;
        for (sample, embedded) in samples.into_iter().zip(embedded) {
            let Sample { features, latents, .. } = match embedded {
                Ok(embedded) => embedded,
                Err(Error::Frame { .. }) => {
                    outcome.lost += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let stored = to.add_sample(&Sample { features, latents, ..sample })?;
            outcome.samples += usize::from(!stored.duplicate);
            outcome.duplicates += usize::from(stored.duplicate);
            outcome.labels += usize::from(stored.label.is_some());
        }
        seen += batch.len();
        progress(seen);
    }
    Ok(outcome)
}

/// Samples whose features are kept, by id, with the names of their classes.
fn kept(memory: &Memory) -> Result<Vec<(SampleId, Option<String>)>> {
    let names: std::collections::BTreeMap<_, _> = memory.classes()?.into_iter().collect();
    let mut samples = Vec::new();
    for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
        memory.for_each_sample(rows, |sample| {
            samples.push((sample.id, sample.class.and_then(|class| names.get(&class).cloned())));
        })?;
    }
    samples.sort_unstable_by_key(|(sample, _)| *sample);
    Ok(samples)
}
