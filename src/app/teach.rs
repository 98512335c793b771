//! `kaizen teach` and `kaizen observe`: images into the state.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::images;
use super::options::{IN_PART, Options, sources};
use crate::ids::SampleId;
use crate::memory::{LabelId, Memory, NewSample};
use crate::session;

/// Augmented views stored with each image, for self-supervision.
const VIEWS: usize = 2;

#[derive(clap::Args)]
pub(super) struct TeachArguments {
    /// Name of the class
    name: String,
    #[command(flatten)]
    images: ObserveArguments,
}

#[derive(clap::Args)]
pub(super) struct ObserveArguments {
    /// Images, folders, clips, recording://DIR, or - for raw RGB frames
    #[arg(required = true)]
    paths: Vec<String>,
    /// State file, made if it is not there
    #[arg(long)]
    state: PathBuf,
    /// No account for people, only one JSON line an image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

/// One stored image; printed once it is durable.
#[derive(Serialize)]
struct Acknowledgement<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label_id: Option<LabelId>,
    sample: SampleId,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    name: &'a str,
    /// It repeats a stored image, to which the label went.
    duplicate: bool,
}

pub(super) fn teach(arguments: &TeachArguments) -> anyhow::Result<ExitCode> {
    store(&arguments.images, Some(&arguments.name))
}

pub(super) fn observe(arguments: &ObserveArguments) -> anyhow::Result<ExitCode> {
    store(arguments, None)
}

fn store(arguments: &ObserveArguments, class: Option<&str>) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let sources = sources(&arguments.paths)?;
    images::warn(&sources, &options);
    let mut backbone = options.backbone(&arguments.state)?;
    let mut memory = Memory::open(Some(&arguments.state), &session::identity(backbone.as_ref()))?;
    let (mut stored, mut duplicates) = (0_usize, 0_usize);
    let left_out = images::each(sources, backbone.as_mut(), VIEWS, |image| {
        let outcome = memory.add_sample(NewSample {
            features: &image.features,
            views: &image.views,
            thumbnail: image.frame.thumbnail.as_deref(),
            name: &image.frame.name,
            timestamp_millis: i64::try_from(image.frame.timestamp_millis).unwrap_or(i64::MAX),
            label: class,
        })?;
        stored += 1;
        duplicates += usize::from(outcome.duplicate);
        let line = serde_json::to_string(&Acknowledgement {
            label_id: outcome.label,
            sample: outcome.sample,
            class,
            name: &image.frame.name,
            duplicate: outcome.duplicate,
        })?;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{line}")?;
        output.flush()?;
        Ok(())
    })?;
    options.say(&format!("{stored} images stored, {duplicates} of them known before; {left_out} left out"));
    Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::from(IN_PART) })
}
