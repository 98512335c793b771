//! Tests of the state file, by what they try to break.

mod corruption;
mod durability;
mod labels;
mod latents;
mod quota;
mod removals;
mod samples;
mod versions;

use std::path::{Path, PathBuf};

use super::{FeatureIdentity, Memory, Rows, Sample, Stored, VersionFigures};
use crate::latent::LatentTable;
use crate::rng::Rng;

pub(super) const WIDTH: usize = 16;

pub(super) fn identity() -> FeatureIdentity {
    FeatureIdentity {
        backbone_name: "tiny".to_owned(),
        backbone_sha256: "ab".repeat(32),
        feature_width: WIDTH,
        feature_class: "fp32".to_owned(),
        preprocessing: "224 bilinear".to_owned(),
        cut: None,
    }
}

pub(super) fn features(rng: &mut Rng, width: usize) -> Vec<f32> {
    (0..width).map(|_| rng.normal()).collect()
}

/// Latents of a frame and two views.
pub(super) fn latents(rng: &mut Rng) -> LatentTable {
    let mut table = LatentTable::new(4, 3);
    (0..3).for_each(|_| table.push(&features(rng, 12)).unwrap());
    table
}

pub(super) fn sample(features: &[f32], label: Option<&str>) -> Sample {
    Sample {
        features: features.to_vec(),
        name: "frame".to_owned(),
        timestamp_millis: 7,
        label: label.map(str::to_owned),
        ..Sample::default()
    }
}

/// Figures that tell one version from another.
pub(super) fn figures(reason: &str) -> VersionFigures {
    VersionFigures { reason: reason.to_owned(), ..VersionFigures::default() }
}

pub(super) fn add(memory: &mut Memory, rng: &mut Rng, label: Option<&str>) -> Stored {
    let width = memory.identity().feature_width;
    memory.add_sample(&sample(&features(rng, width), label)).unwrap()
}

/// A state with every kind of row in it.
pub(super) fn fill(memory: &mut Memory) {
    let mut rng = Rng::new(3, 0);
    let mut first = None;
    for round in 0..30_u8 {
        let label = ["cup", "key", "none"][usize::from(round % 3)];
        let views = vec![features(&mut rng, WIDTH), features(&mut rng, WIDTH)];
        let new = Sample {
            features: features(&mut rng, WIDTH),
            views,
            thumbnail: Some(vec![round; 600]),
            name: format!("image-{round}"),
            timestamp_millis: i64::from(round),
            label: (label != "none").then(|| label.to_owned()),
            latents: (round % 2 == 0).then(|| latents(&mut rng)),
        };
        first = first.or(Some(memory.add_sample(&new).unwrap()));
    }
    let first = first.unwrap();
    let wrong = memory.label(first.sample, "key").unwrap();
    memory.undo(wrong).unwrap();
    let gone = add(memory, &mut rng, Some("gone"));
    memory.label(gone.sample, "gone").unwrap();
    memory.forget("gone").unwrap();
    for heads in [[1_u8; 900], [2; 900]] {
        let figures = figures("best of the candidates");
        let new = super::NewVersion { heads: &heads, head_kind: "trained", figures: &figures };
        memory.publish(new).unwrap();
    }
    memory.save_training(&[9; 700]).unwrap();
    memory.save_checkpoint(&[8; 600]).unwrap();
}

/// Everything a caller can read, as text; an error if any of it cannot be read.
pub(super) fn dump(memory: &Memory) -> crate::Result<String> {
    let mut text = format!("{:?}{:?}", memory.identity(), memory.classes()?);
    for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
        for stored in memory.samples(rows)? {
            text += &format!(
                "{rows:?}{stored:?}{:?}{:?}{:?}",
                memory.views(stored.id)?,
                memory.latents(stored.id)?,
                memory.thumbnail(stored.id)?
            );
        }
    }
    text += &format!("{:?}{:?}{:?}", memory.history()?, memory.published()?, memory.load_training()?);
    text += &format!("{:?}", memory.load_checkpoint()?);
    Ok(text)
}

/// A filled state in `folder`, closed.
pub(super) fn filled(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("state.db");
    let mut memory = Memory::open(Some(&path), &identity()).unwrap();
    fill(&mut memory);
    let text = dump(&memory).unwrap();
    (path, text)
}

pub(super) fn reason(result: crate::Result<Memory>) -> String {
    match result {
        Err(crate::Error::State { reason, .. }) => reason,
        other => panic!("expected a refusal of the state, got {other:?}"),
    }
}
