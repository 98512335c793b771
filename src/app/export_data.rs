//! `kaizen export-data`: stored thumbnails as a data set that other programs, and `kaizen import`,
//! read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::on_state::ReadState;
use super::outcome::Outcome;
use super::output;
use crate::file::write_atomic;
use crate::ids::SampleId;
use crate::memory::Rows;
use crate::{Error, Result, session};

/// The layout of the data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    /// CLASS/ID.jpg; samples without label are left out
    Folders,
    /// ID.jpg beside labels.csv (frame, `timestamp_millis`, label, split); an empty label where
    /// there is none
    Csv,
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder to write, new or empty
    dir: PathBuf,
    #[command(flatten)]
    on: ReadState,
    /// Class folders or labels.csv
    #[arg(long = "as", value_enum, default_value = "folders")]
    layout: Layout,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let Arguments { dir, on, layout } = arguments;
    let memory = session::open_to_read(&on.state)?;
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    if std::fs::read_dir(dir).map_err(Error::io(dir))?.next().is_some() {
        let what = format!("writing to {}", dir.display());
        return Err(
            Error::refused(what, "there are files in it", "name a folder that is new or empty").into()
        );
    }
    let names: BTreeMap<_, _> = memory.classes()?.into_iter().collect();
    let mut samples = Vec::new();
    for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
        memory.for_each_sample(rows, |sample| {
            samples.push((sample.id, sample.class.and_then(|class| names.get(&class))));
        })?;
    }
    samples.sort_unstable_by_key(|(sample, _)| *sample);
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["frame", "timestamp_millis", "label", "split"])?;
    let (all, mut written) = (samples.len(), 0_usize);
    for (sample, class) in samples {
        let class = class.map(String::as_str);
        let (Some(jpeg), Some(described)) = (memory.thumbnail(sample)?, memory.describe(sample)?) else {
            continue;
        };
        let Some(path) = place(dir, *layout, class, sample)? else { continue };
        write_atomic(&path, &jpeg)?;
        let time = described.timestamp_millis.max(0).to_string();
        table.write_record([&format!("{sample}.jpg"), &time, class.unwrap_or_default(), "train"])?;
        written += 1;
    }
    if *layout == Layout::Csv {
        write_atomic(dir.join("labels.csv"), &table.into_inner()?)?;
    }
    let left_out = all - written;
    output::result(on.json, &json!({ "written": written, "left_out": left_out, "dir": dir }), || {
        format!("{written} images written to {}; {left_out} left out", dir.display())
    })?;
    Ok(Outcome::of(left_out == 0))
}

/// The file of a sample's picture; none for a sample without class in class folders.
fn place(dir: &Path, layout: Layout, class: Option<&str>, sample: SampleId) -> Result<Option<PathBuf>> {
    let file = format!("{sample}.jpg");
    let class = match (layout, class) {
        (Layout::Csv, _) => return Ok(Some(dir.join(file))),
        (Layout::Folders, None) => return Ok(None),
        (Layout::Folders, Some(class)) => class,
    };
    if class.contains(['/', '\\', ':']) || class.starts_with('.') {
        let reason = "its name cannot be a folder's";
        return Err(Error::refused(format!("a folder for `{class}`"), reason, "use `--as csv`"));
    }
    let folder = dir.join(class);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    Ok(Some(folder.join(file)))
}
