//! `kaizen predict`: what the published head says of images.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::console::percent;
use super::images::Images;
use super::options::{CommonOptions, IN_PART, sources};
use crate::Error;
use crate::memory::Sample;
use crate::session::{self, PublishedHead};

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
    pub(super) options: CommonOptions,
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let sources = sources(&arguments.paths)?;
    let on_state = options.on(&arguments.state);
    let (memory, mut embedder) = session::open_reader(&on_state)?;
    options.say_backbone(embedder.backbone());
    let head = session::restore(&memory, &on_state)?;
    let mut images = Images::of(&sources, &options);
    for source in sources {
        embedder.embed_source(source, 0, |embedded| {
            images.done();
            match embedded {
                Ok(image) => answer(&image.sample, &head, arguments.json),
                Err(error @ Error::Frame { .. }) => {
                    images.leave_out(&error);
                    Ok(())
                }
                Err(error) => Err(error.into()),
            }
        })?;
    }
    images.finish();
    Ok(if images.left_out == 0 { ExitCode::SUCCESS } else { ExitCode::from(IN_PART) })
}

#[expect(clippy::print_stdout, reason = "the answers are the command's output")]
fn answer(image: &Sample, head: &PublishedHead, json: bool) -> anyhow::Result<()> {
    for prediction in head.predict(&image.features)? {
        let answer = Answer {
            name: &image.name,
            class: prediction.class().unwrap_or(UNKNOWN),
            unknown: prediction.is_unknown(),
            nearest: &prediction.nearest,
            probability: prediction.probability,
            novelty: prediction.novelty,
        };
        println!("{}", if json { serde_json::to_string(&answer)? } else { text(&answer) });
    }
    Ok(())
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
