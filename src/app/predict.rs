//! `kaizen predict`: what the published head says of images.

use serde::Serialize;

use super::images::{Images, sources};
use super::on_state::OnState;
use super::outcome::Outcome;
use super::table::percent;
use crate::Error;
use crate::session::{Embedded, PublishedHead};

/// The answer for an image unlike everything learned.
const UNKNOWN: &str = "unknown";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Images, folders, clips, recording://DIR, or - for raw RGB frames
    #[arg(required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    pub(super) on: OnState,
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    /// The class, or `unknown`.
    class: &'a str,
    /// Whether the image is unlike everything learned.
    unknown: bool,
    /// The best class, also of an unknown image.
    nearest: &'a str,
    /// The calibrated probability of `nearest`.
    probability: f32,
    /// Above 1 the image is unknown.
    novelty: f32,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let Arguments { paths, on } = arguments;
    let sources = sources(paths)?;
    let (_, mut embedder, head) = on.reader()?;
    let mut images = Images::of(&sources, on);
    for source in sources {
        embedder.embed_source(source, 0, |embedded| {
            images.done();
            match embedded {
                Ok(image) => answer(&image, &head, on),
                Err(error @ Error::Frame { .. }) => {
                    images.leave_out(&error);
                    Ok(())
                }
                Err(error) => Err(error.into()),
            }
        })?;
    }
    Ok(images.finish().1)
}

fn answer(image: &Embedded, head: &PublishedHead, on: &OnState) -> anyhow::Result<()> {
    for prediction in head.predict(&image.features_for(head)?)? {
        let answer = Answer {
            name: &image.sample.name,
            class: prediction.class().unwrap_or(UNKNOWN),
            unknown: prediction.is_unknown(),
            nearest: &prediction.nearest,
            probability: prediction.probability,
            novelty: prediction.novelty,
        };
        on.result(&answer, || text(&answer))?;
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
