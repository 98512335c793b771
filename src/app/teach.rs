//! `kaizen teach` and `kaizen observe`: images into the state.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::images::Images;
use super::options::{CommonOptions, IN_PART, sources};
use crate::ids::SampleId;
use crate::memory::{LabelId, Sample, Stored};
use crate::session::{Labelling, Learner, Taken};
use crate::vision::FrameSource;

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
    /// No progress for people, only one JSON line an image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: CommonOptions,
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
    let store = Store { state, options: &options.quieter(*json), labelling: Labelling::As(&arguments.name) };
    store.run(sources(paths)?)
}

pub(super) fn observe(arguments: &ObserveArguments) -> anyhow::Result<ExitCode> {
    let ObserveArguments { paths, state, json, options } = arguments;
    let store = Store { state, options: &options.quieter(*json), labelling: Labelling::Unlabelled };
    store.run(sources(paths)?)
}

/// Images into a state.
pub(super) struct Store<'a> {
    pub(super) state: &'a Path,
    pub(super) options: &'a CommonOptions,
    pub(super) labelling: Labelling<'a>,
}

impl Store<'_> {
    /// Embeds every image and acknowledges each once it is durable.
    pub(super) fn run(&self, sources: Vec<Box<dyn FrameSource>>) -> anyhow::Result<ExitCode> {
        let options = self.options;
        let mut learner = Learner::open(options.on(self.state))?;
        options.say_backbone(learner.embedder()?.backbone());
        let mut images = Images::of(&sources, options);
        let (mut stored, mut duplicates, mut tests) = (0_usize, 0_usize, 0_usize);
        for source in sources {
            learner.add_source(source, self.labelling, |taken| {
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
        images.finish();
        let left_out = images.left_out;
        options
            .say(&format!("{stored} images stored, {duplicates} of them known before; {left_out} left out"));
        if tests > 0 {
            options.say(&format!("{tests} images of the test split were not stored"));
        }
        Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::from(IN_PART) })
    }
}

fn acknowledge(sample: &Sample, stored: Stored) -> anyhow::Result<()> {
    let line = serde_json::to_string(&Acknowledgement {
        label_id: stored.label,
        sample: stored.sample,
        class: sample.label.as_deref(),
        name: &sample.name,
        duplicate: stored.duplicate,
    })?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
