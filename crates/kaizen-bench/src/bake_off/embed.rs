//! Pictures to features.

use indicatif::ProgressBar;
use ndarray::Array4;
use rayon::prelude::*;

use crate::dataset::Dataset;
use kaizen_edge::low_level::backbone::Backbone;
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::vision::{Augmentation, Preprocess, Split};
use kaizen_edge::{Error, Result};

/// Pictures (with their views) of one call of the backbone.
const BATCH: usize = 32;

/// Features `[N, V, D]` of one side: the plain picture, then gently augmented views.
pub(super) fn side(
    backbone: &mut dyn Backbone,
    dataset: &Dataset,
    split: Split,
    views: usize,
    bar: &ProgressBar,
) -> Result<Vec<f32>> {
    let spec = backbone.spec().clone();
    let side = spec.input_size;
    let size = u32::try_from(side).map_err(|_| Error::config("input_size", side, "below 2^32"))?;
    let count = if split == Split::Train { dataset.train.len() } else { dataset.test.len() };

    let pixels = 3 * side * side;
    let prepared = |from: usize| {
        let rows = BATCH.min(count - from);
        let mut images = vec![0.0_f32; rows * views * pixels];
        images.par_chunks_exact_mut(views * pixels).enumerate().try_for_each(|(at, of_picture)| {
            let frame = dataset.frame(split, from + at)?;
            let mut preprocess = Preprocess::new(size, spec.mean, spec.std)?;
            let mut rng = Rng::named(0, &format!("views {} {}", split.name(), from + at));
            for (view, out) in of_picture.chunks_exact_mut(pixels).enumerate() {
                if view == 0 {
                    preprocess.run(&frame, out)?;
                } else {
                    preprocess.run(&Augmentation::gentle().view(&frame, size, &mut rng)?, out)?;
                }
            }
            Ok::<(), Error>(())
        })?;
        Array4::from_shape_vec((rows * views, 3, side, side), images)
            .map_err(|e| Error::shape(format!("images ({e})"), rows * views, rows))
    };
    let mut features = Vec::with_capacity(count * views * spec.feature_width);
    let mut next = if count > 0 { Some(prepared(0)?) } else { None };
    while let Some(images) = next.take() {
        // The pictures after these are made ready where the runtime leaves a core idle.
        let from = features.len() / (views * spec.feature_width) + images.dim().0 / views;
        let (embedded, more) = rayon::join(
            || backbone.embed(images.view()),
            || if from < count { prepared(from).map(Some) } else { Ok(None) },
        );
        features.extend(embedded?);
        next = more?;
        bar.inc(images.dim().0 as u64);
    }
    Ok(features)
}
