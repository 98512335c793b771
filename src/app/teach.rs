//! `kaizen teach`, `kaizen observe` and `kaizen import`: images into the state.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::images::{Images, sources};
use super::on_state::OnState;
use super::options::announce;
use super::outcome::Outcome;
use super::output;
use crate::ids::SampleId;
use crate::memory::{LabelId, Sample, Stored};
use crate::session::{Labelling, Taken};
use crate::vision::{FrameSource, SourceOptions, open_coco};

#[derive(clap::Args)]
pub(super) struct TeachArguments {
    /// Name of the class
    name: String,
    #[command(flatten)]
    pub(super) images: ObserveArguments,
}

#[derive(clap::Args)]
pub(super) struct ObserveArguments {
    /// Images, folders, clips, recording://DIR, or - for raw RGB frames
    #[arg(required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    pub(super) on: OnState,
}

#[derive(clap::Args)]
pub(super) struct ImportArguments {
    /// Folders of class folders, folders with labels.csv, or COCO files (.json), of which each box
    /// is an image
    #[arg(required = true)]
    paths: Vec<String>,
    /// Folder with the pictures of the COCO files [default: the folder of each file]
    #[arg(long)]
    images: Option<PathBuf>,
    #[command(flatten)]
    pub(super) on: OnState,
}

/// A stored image, told once it is durable.
#[derive(Serialize)]
struct Acknowledgement<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label_id: Option<LabelId>,
    sample: SampleId,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    name: &'a str,
    /// Whether the image repeats a stored one, to which the label went.
    duplicate: bool,
}

pub(super) fn teach(arguments: &TeachArguments) -> anyhow::Result<Outcome> {
    let ObserveArguments { paths, on } = &arguments.images;
    store(on, sources(paths)?, Labelling::As(&arguments.name))
}

pub(super) fn observe(arguments: &ObserveArguments) -> anyhow::Result<Outcome> {
    store(&arguments.on, sources(&arguments.paths)?, Labelling::Unlabelled)
}

pub(super) fn import(arguments: &ImportArguments) -> anyhow::Result<Outcome> {
    let ImportArguments { paths, images, on } = arguments;
    let mut opened: Vec<Box<dyn FrameSource>> = Vec::new();
    for path in paths {
        let file = Path::new(path);
        if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            let beside = file.parent().unwrap_or(Path::new("."));
            let images = images.as_deref().unwrap_or(beside);
            opened.push(open_coco(file, images, &SourceOptions::default())?);
        } else {
            opened.extend(sources(std::slice::from_ref(path))?);
        }
    }
    store(on, opened, Labelling::BySource)
}

/// Stores every image and acknowledges each once it is durable.
fn store(
    on: &OnState,
    sources: Vec<Box<dyn FrameSource>>,
    labelling: Labelling<'_>,
) -> anyhow::Result<Outcome> {
    let mut learner = on.learner(None)?;
    announce(learner.embedder()?);
    let mut images = Images::of(&sources, on);
    let (mut stored, mut duplicates, mut tests) = (0_usize, 0_usize, 0_usize);
    for source in sources {
        learner.add_source(source, labelling, |taken| {
            images.done();
            match taken {
                Taken::Stored(sample, outcome) => {
                    stored += 1;
                    duplicates += usize::from(outcome.duplicate);
                    acknowledge(sample, outcome)?;
                }
                Taken::ForTesting => tests += 1,
                Taken::Unusable(error) => images.leave_out(&error),
            }
            anyhow::Ok(())
        })?;
    }
    let (left_out, outcome) = images.finish();
    tracing::info!("{stored} images stored, {duplicates} of them known before; {left_out} left out");
    if tests > 0 {
        tracing::info!("{tests} images of the test split were not stored");
    }
    Ok(outcome)
}

fn acknowledge(sample: &Sample, stored: Stored) -> anyhow::Result<()> {
    output::json(&Acknowledgement {
        label_id: stored.label,
        sample: stored.sample,
        class: sample.label.as_deref(),
        name: &sample.name,
        duplicate: stored.duplicate,
    })
}
