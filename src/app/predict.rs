//! `kaizen predict`: what the published head says of images.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::images;
use super::options::{IN_PART, Options, sources};
use crate::Error;
use crate::report::percent;
use crate::session::{LearnerSettings, Predictor};

/// The answer for an image unlike everything learned.
const UNKNOWN: &str = "unknown";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Images, folders, clips, recording://DIR, or - for raw RGB frames
    #[arg(required = true)]
    paths: Vec<String>,
    /// State file; it is only read, also beside a process that writes it
    #[arg(long)]
    state: PathBuf,
    /// One JSON line an image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    /// The class, or `unknown`.
    class: &'a str,
    /// Whether `class` says that the image is unlike everything learned.
    unknown: bool,
    /// The best class, also of an unknown image.
    nearest: &'a str,
    /// Calibrated probability of `nearest`.
    probability: f32,
    /// Above 1 an image is unknown.
    novelty: f32,
}

#[expect(clippy::print_stdout, reason = "the answers are the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let sources = sources(&arguments.paths)?;
    images::warn(&sources, &options);
    if !arguments.state.exists() {
        let reason = "there is no such file: `kaizen teach NAME PATH… --state FILE` makes one".to_owned();
        return Err(Error::State { path: arguments.state.clone(), reason }.into());
    }
    let mut backbone = options.backbone(&arguments.state)?;
    let memory = Options::reader(&arguments.state, backbone.as_ref())?;
    let Some(predictor) = Predictor::restore(&memory, &LearnerSettings::default())? else {
        let reason = "nothing was learned: `kaizen teach` a class, then `kaizen learn`".to_owned();
        return Err(Error::State { path: arguments.state.clone(), reason }.into());
    };
    let left_out = images::each(sources, backbone.as_mut(), 0, &options, |image| {
        for prediction in predictor.predict(&image.features)? {
            let unknown = prediction.is_unknown();
            let answer = Answer {
                name: &image.frame.name,
                class: if unknown { UNKNOWN } else { &prediction.name },
                unknown,
                nearest: &prediction.name,
                probability: prediction.probability,
                novelty: prediction.novelty,
            };
            if arguments.json {
                println!("{}", serde_json::to_string(&answer)?);
            } else {
                println!("{}", text(&answer));
            }
        }
        Ok(())
    })?;
    Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::from(IN_PART) })
}

fn text(answer: &Answer<'_>) -> String {
    let probability = percent(f64::from(answer.probability));
    let Answer { name, class, nearest, novelty, .. } = answer;
    if answer.unknown {
        format!("{name}: unknown (nearest {nearest} {probability}, novelty {novelty:.2})")
    } else {
        format!("{name}: {class} {probability} (novelty {novelty:.2})")
    }
}
