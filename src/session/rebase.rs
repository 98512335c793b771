//! Another backbone for the same samples: stored thumbnails are embedded anew into a new state.

use ndarray::ArrayView4;
use serde::Serialize;

use crate::Result;
use crate::backbone::Backbone;
use crate::error::Error;
use crate::ids::SampleId;
use crate::memory::{Memory, NewSample, Rows};
use crate::vision::{DEFAULT_MAX_PIXELS, Preprocess, decode};

/// Samples embedded together.
const BATCH: usize = 8;

/// What a change of the backbone costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Samples that go over: those with a thumbnail. Their features will be those of the thumbnail, which has fewer
    /// pixels than the frame had.
    pub kept: usize,
    /// Samples without a thumbnail: they are lost.
    pub without_thumbnail: usize,
    /// Features of augmented views: lost, until new frames bring new ones.
    pub views: usize,
    /// Versions of the heads: lost, and learned anew.
    pub versions: usize,
    /// Rows of the label log: only the labels that count go over, as new rows.
    pub log_rows: usize,
}

/// What became of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebased {
    /// Samples of the new state.
    pub samples: usize,
    /// Labels of the new state.
    pub labels: usize,
    /// Samples that repeat another one under the new backbone and went into it.
    pub duplicates: usize,
    /// Samples without a thumbnail that can be used.
    pub lost: usize,
}

/// What [`rebase`] would keep and lose.
///
/// # Errors
/// [`Error::State`] if the memory cannot be read.
pub fn losses(memory: &Memory) -> Result<Losses> {
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

/// Embeds the thumbnails of `from` by `backbone` and adds them, with names, times and the labels that count, to the
/// empty state `to`. Calls `progress` after each batch with the number of samples seen. Held-out samples are drawn
/// anew. To be followed by a consolidation.
///
/// # Errors
/// [`Error::State`] from either state, [`Error::Shape`] and others from the backbone.
pub fn rebase(
    from: &Memory,
    to: &mut Memory,
    backbone: &mut dyn Backbone,
    mut progress: impl FnMut(usize),
) -> Result<Rebased> {
    let spec = backbone.spec().clone();
    let mut preprocess =
        Preprocess::new(u32::try_from(spec.input_size).unwrap_or(u32::MAX), spec.mean, spec.std)?;
    let shape = |count: usize| (count, 3, spec.input_size, spec.input_size);
    let image_len = 3 * spec.input_size * spec.input_size;
    let (mut outcome, mut seen) = (Rebased::default(), 0);
    for batch in kept(from)?.chunks(BATCH) {
        let (mut images, mut usable) = (Vec::new(), Vec::new());
        for (sample, label) in batch {
            let described = from.describe(*sample)?;
            let (Some(thumbnail), Some(described)) = (from.thumbnail(*sample)?, described) else {
                outcome.lost += 1;
                continue;
            };
            let start = images.len();
            images.resize(start + image_len, 0.0);
            let frame = decode(&thumbnail, &described.name, DEFAULT_MAX_PIXELS);
            match frame.and_then(|frame| preprocess.run(&frame, &mut images[start..])) {
                Ok(()) => usable.push((thumbnail, described, label)),
                Err(Error::Frame { .. }) => {
                    images.truncate(start);
                    outcome.lost += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let view = ArrayView4::from_shape(shape(usable.len()), &images)
            .map_err(|error| Error::shape("thumbnails", shape(usable.len()), error.to_string()))?;
        let features = backbone.embed(view)?;
        for (row, (thumbnail, described, label)) in features.rows().into_iter().zip(&usable) {
            let stored = to.add_sample(NewSample {
                features: &row.to_vec(),
                views: &[],
                thumbnail: Some(thumbnail),
                name: &described.name,
                timestamp_millis: described.timestamp_millis,
                label: label.as_deref(),
            })?;
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
