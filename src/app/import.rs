//! `kaizen import`: data sets into the state, each image with the label that it comes with.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::options::{CommonOptions, sources};
use super::teach::Store;
use crate::Result;
use crate::session::Labelling;
use crate::vision::{FrameSource, SourceOptions, open_coco};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folders of class folders, folders with labels.csv, or COCO files (.json), of which each box is an image
    #[arg(required = true)]
    paths: Vec<String>,
    /// State file, made if it is not there
    #[arg(long)]
    state: PathBuf,
    /// Folder with the pictures of the COCO files [default: the folder of each file]
    #[arg(long)]
    images: Option<PathBuf>,
    /// No progress for people, only one JSON line an image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let mut opened = Vec::new();
    for path in &arguments.paths {
        let file = Path::new(path);
        if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            opened.push(coco(file, arguments.images.as_deref())?);
        } else {
            opened.extend(sources(std::slice::from_ref(path))?);
        }
    }
    Store { state: &arguments.state, options: &options, labelling: Labelling::BySource }.run(opened)
}

fn coco(file: &Path, images: Option<&Path>) -> Result<Box<dyn FrameSource>> {
    let beside = file.parent().unwrap_or(Path::new("."));
    open_coco(file, images.unwrap_or(beside), &SourceOptions::default())
}
