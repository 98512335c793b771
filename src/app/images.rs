//! Images of the command line through the backbone, one after the other.

use super::options::Options;
use crate::backbone::Backbone;
use crate::session::{Embedded, FrameReader};
use crate::vision::FrameSource;
use crate::{Error, Result};

/// Frames embedded together.
const BATCH: usize = 8;
/// Seed of the augmented views.
const SEED: u64 = 1;

/// Gives every usable frame of `sources` to `take`, each with so many augmented views; returns how many could not be
/// used. Those are named on standard error.
pub(super) fn each(
    sources: Vec<Box<dyn FrameSource>>,
    backbone: &mut dyn Backbone,
    views: usize,
    options: &Options,
    mut take: impl FnMut(Embedded) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let spec = backbone.spec().clone();
    let mut left_out = 0;
    let bar = options.progress(sources.iter().filter_map(|source| source.frames_hint()).sum());
    for source in sources {
        let mut reader = FrameReader::start(source, &spec, views, SEED)?;
        loop {
            let batch: Vec<Result<Embedded>> = reader.next_batch(backbone, BATCH)?;
            if batch.is_empty() {
                break;
            }
            for frame in batch {
                bar.inc(1);
                match frame {
                    Ok(frame) => take(frame)?,
                    Err(error @ Error::Frame { .. }) => {
                        bar.suspend(|| eprintln!("left out: {error}"));
                        left_out += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(left_out)
}

/// What the sources themselves left out (files that are no pictures).
pub(super) fn warn(sources: &[Box<dyn FrameSource>], options: &Options) {
    for warning in sources.iter().filter_map(|source| source.warning()) {
        options.say(&warning);
    }
}
