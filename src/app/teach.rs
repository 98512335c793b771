//! `kaizen teach` and `kaizen observe`: images into the state.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::images;
use super::options::{IN_PART, Options, sources};
use crate::ids::SampleId;
use crate::memory::{LabelId, Memory, NewSample};
use crate::session;
use crate::vision::{FrameSource, Split};

/// Augmented views stored with each image, for self-supervision.
const VIEWS: usize = 2;

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
    /// State file, made if it is not there
    #[arg(long)]
    state: PathBuf,
    /// No account for people, only one JSON line an image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: Options,
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
    let ObserveArguments { paths, state, json, options } = &arguments.images;
    let store = Store { state, options: &options.quieter(*json), class: Class::Is(&arguments.name) };
    store.run(sources(paths)?)
}

pub(super) fn observe(arguments: &ObserveArguments) -> anyhow::Result<ExitCode> {
    let ObserveArguments { paths, state, json, options } = arguments;
    let store = Store { state, options: &options.quieter(*json), class: Class::Unknown };
    store.run(sources(paths)?)
}

/// Which class the images are of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class<'a> {
    /// All of this one.
    Is(&'a str),
    /// It is not known.
    Unknown,
    /// The source says; images to test on are left out.
    AsLabelled,
}

/// Images into a state.
pub(super) struct Store<'a> {
    pub(super) state: &'a Path,
    pub(super) options: &'a Options,
    pub(super) class: Class<'a>,
}

impl Store<'_> {
    /// Embeds every image and acknowledges each once it is durable.
    pub(super) fn run(&self, sources: Vec<Box<dyn FrameSource>>) -> anyhow::Result<ExitCode> {
        let options = self.options;
        images::warn(&sources, options);
        let mut backbone = options.backbone(self.state)?;
        let mut memory = Memory::open(Some(self.state), &session::identity(backbone.as_ref()))?;
        options.limit(&mut memory)?;
        let (mut stored, mut duplicates, mut tests) = (0_usize, 0_usize, 0_usize);
        let left_out = images::each(sources, backbone.as_mut(), VIEWS, options, |image| {
            let class = match self.class {
                Class::Is(name) => Some(name),
                Class::Unknown => None,
                Class::AsLabelled if image.frame.split == Split::Test => {
                    tests += 1;
                    return Ok(());
                }
                Class::AsLabelled => image.frame.label.as_deref(),
            };
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
        options
            .say(&format!("{stored} images stored, {duplicates} of them known before; {left_out} left out"));
        if tests > 0 {
            options.say(&format!("{tests} images of the test split were not stored"));
        }
        Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::from(IN_PART) })
    }
}
