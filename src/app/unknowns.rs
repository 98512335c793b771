//! `kaizen unknowns` and `kaizen name`: what is unlike everything learned, sorted by itself and named at once.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::table::Table;
use crate::Error;
use crate::file::write_atomic;
use crate::ids::SampleId;
use crate::memory::Memory;
use crate::session::{self, Learner, Options};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// State file; it is only read, also beside a process that writes it
    #[arg(long)]
    state: PathBuf,
    /// As one JSON line
    #[arg(long)]
    json: bool,
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
    /// No progress for people, only one JSON line an image
    #[arg(long, visible_alias = "quiet")]
    json: bool,
}

/// One cluster as it is listed.
#[derive(Serialize)]
struct Listed {
    cluster: SampleId,
    size: usize,
    cohesion: f32,
    name: String,
    thumbnail: Option<PathBuf>,
    samples: Vec<SampleId>,
}

#[expect(clippy::print_stdout, reason = "the list is the command's output")]
pub(super) fn list(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let memory = Memory::open_read_only(&arguments.state)?;
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
    if arguments.json {
        let value = json!({ "unlabelled": found.unlabelled, "unknown": found.unknown, "clusters": clusters });
        println!("{value}");
    } else {
        println!("{}", text(found.unlabelled, found.unknown, &clusters));
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the acknowledgements are the command's output")]
pub(super) fn name(arguments: &NameArguments) -> anyhow::Result<ExitCode> {
    let mut learner = Learner::open(Options::new().state(&arguments.state))?;
    let (mut broken, mut count) = (None, 0);
    let cluster = SampleId(arguments.cluster);
    learner.core_mut().name_cluster(cluster, &arguments.name, |labels| {
        count += labels.len();
        for (sample, label) in labels {
            println!("{}", json!({ "label_id": label, "sample": sample, "class": arguments.name }));
        }
        if let Err(error) = std::io::stdout().flush() {
            broken.get_or_insert(error);
        }
    })?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    if !arguments.json {
        eprintln!("{count} images are `{}` now: `kaizen learn` learns it", arguments.name);
    }
    Ok(ExitCode::SUCCESS)
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
