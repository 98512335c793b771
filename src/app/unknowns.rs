//! `kaizen unknowns` and `kaizen name`: samples unlike everything learned, in clusters that are
//! named at once.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::on_state::ReadState;
use super::outcome::Outcome;
use super::output;
use super::table::Table;
use crate::Error;
use crate::file::write_atomic;
use crate::ids::SampleId;
use crate::memory::Memory;
use crate::session::{self, Learner, Options};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    on: ReadState,
    /// Folder for a small picture of each cluster's representative, CLUSTER.jpg
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct NameArguments {
    /// Cluster, as `unknowns` lists it: the id of its representative or of any other sample of it
    cluster: i64,
    /// Name of the class
    name: String,
    /// State file
    #[arg(long)]
    state: PathBuf,
    /// Only one JSON line an image, nothing for people
    #[arg(long, visible_alias = "quiet")]
    json: bool,
}

/// A cluster as it is listed.
#[derive(Serialize)]
struct Listed {
    cluster: SampleId,
    size: usize,
    cohesion: f32,
    name: String,
    thumbnail: Option<PathBuf>,
    samples: Vec<SampleId>,
}

pub(super) fn list(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let memory = session::open_to_read(&arguments.on.state)?;
    let head = session::restore(&memory, &Options::new())?;
    let found = session::unknowns(&memory, &head)?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut clusters = Vec::with_capacity(found.clusters.len());
    for cluster in found.clusters {
        let sample = cluster.representative;
        let described = memory.describe(sample)?;
        clusters.push(Listed {
            cluster: sample,
            size: cluster.samples.len(),
            cohesion: cluster.cohesion,
            name: described.map(|described| described.name).unwrap_or_default(),
            thumbnail: arguments.out.as_deref().map(|out| show(&memory, sample, out)).transpose()?.flatten(),
            samples: cluster.samples,
        });
    }
    let value = json!({ "unlabelled": found.unlabelled, "unknown": found.unknown, "clusters": clusters });
    output::result(arguments.on.json, &value, || text(found.unlabelled, found.unknown, &clusters))?;
    Ok(Outcome::Done)
}

pub(super) fn name(arguments: &NameArguments) -> anyhow::Result<Outcome> {
    let NameArguments { cluster, name, state, json } = arguments;
    let mut learner = Learner::open(Options::new().state(state))?;
    let (mut written, mut count) = (Ok(()), 0);
    learner.restored()?.name_cluster(SampleId(*cluster), name, |labels| {
        count += labels.len();
        for (sample, label) in labels {
            if written.is_ok() {
                written = output::json(&json!({ "label_id": label, "sample": sample, "class": name }));
            }
        }
    })?;
    written?;
    if !json {
        tracing::info!("{count} images are `{name}` now: `kaizen learn` learns it");
    }
    Ok(Outcome::Done)
}

/// Writes the thumbnail of a sample, if it has one.
fn show(memory: &Memory, sample: SampleId, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(jpeg) = memory.thumbnail(sample)? else {
        return Ok(None);
    };
    let path = folder.join(format!("{sample}.jpg"));
    write_atomic(&path, &jpeg)?;
    Ok(Some(path))
}

fn text(unlabelled: usize, unknown: usize, clusters: &[Listed]) -> String {
    let head = format!("{unknown} of {unlabelled} unlabelled images are unknown");
    let Some(first) = clusters.first() else {
        return head;
    };
    let mut table = Table::new(["cluster", "images", "cohesion", "representative"]);
    for Listed { cluster, size, cohesion, name, .. } in clusters {
        table.row([cluster.to_string(), size.to_string(), format!("{cohesion:.3}"), name.clone()]);
    }
    format!("{head}\n{table}`kaizen name {} NAME --state FILE` names the first", first.cluster)
}
