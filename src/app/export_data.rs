//! `kaizen export-data`: stored thumbnails as a data set that other programs, and `kaizen import`, read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::options::IN_PART;
use crate::Error;
use crate::file::write_atomic;
use crate::ids::SampleId;
use crate::memory::{Memory, Rows};

/// How the data set is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    /// CLASS/ID.jpg; samples without label are left out
    Folders,
    /// ID.jpg beside labels.csv (frame, `timestamp_millis`, label, split); an empty label where there is none
    Csv,
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder to write, new or empty
    dir: PathBuf,
    /// State file; it is only read
    #[arg(long)]
    state: PathBuf,
    /// Class folders or labels.csv
    #[arg(long = "as", value_enum, default_value = "folders")]
    layout: Layout,
    /// The figures as one JSON line
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the figures are the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let memory = Memory::open_read_only(&arguments.state)?;
    let dir = &arguments.dir;
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    if std::fs::read_dir(dir).map_err(Error::io(dir))?.next().is_some() {
        return Err(Error::config("dir", dir.display(), "a folder that is new or empty").into());
    }
    let names: std::collections::BTreeMap<_, _> = memory.classes()?.into_iter().collect();
    let mut samples = Vec::new();
    for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
        memory.for_each_sample(rows, |sample| {
            samples.push((sample.id, sample.class.and_then(|class| names.get(&class))));
        })?;
    }
    samples.sort_unstable_by_key(|(sample, _)| *sample);
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["frame", "timestamp_millis", "label", "split"])?;
    let (mut written, mut left_out) = (0_usize, 0_usize);
    for (sample, class) in samples {
        let class = class.map(String::as_str);
        let (Some(jpeg), Some(described)) = (memory.thumbnail(sample)?, memory.describe(sample)?) else {
            left_out += 1;
            continue;
        };
        let Some(path) = place(dir, arguments.layout, class, sample)? else {
            left_out += 1;
            continue;
        };
        write_atomic(&path, &jpeg)?;
        let time = described.timestamp_millis.max(0).to_string();
        table.write_record([&format!("{sample}.jpg"), &time, class.unwrap_or_default(), "train"])?;
        written += 1;
    }
    if arguments.layout == Layout::Csv {
        write_atomic(dir.join("labels.csv"), &table.into_inner()?)?;
    }
    if arguments.json {
        println!("{}", json!({ "written": written, "left_out": left_out, "dir": dir }));
    } else {
        println!("{written} images written to {}; {left_out} left out", dir.display());
    }
    Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::from(IN_PART) })
}

/// Where a sample's picture goes; nowhere for a sample without class in class folders.
fn place(
    dir: &Path,
    layout: Layout,
    class: Option<&str>,
    sample: SampleId,
) -> anyhow::Result<Option<PathBuf>> {
    let file = format!("{sample}.jpg");
    let class = match (layout, class) {
        (Layout::Csv, _) => return Ok(Some(dir.join(file))),
        (Layout::Folders, None) => return Ok(None),
        (Layout::Folders, Some(class)) => class,
    };
    if class.contains(['/', '\\', ':']) || class.starts_with('.') {
        return Err(Error::config("class", class, "a name that can be a folder's: use `--as csv`").into());
    }
    let folder = dir.join(class);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    Ok(Some(folder.join(file)))
}
