//! Learns on a backbone of your own: an ONNX file beside a `manifest.toml` that describes it.
//!
//!     cargo run --release --example own_backbone -- MODEL.onnx CLASS_FOLDERS
//!
//! `CLASS_FOLDERS` has one folder of pictures per class. `models/README.md` says what a backbone
//! has to be, and `models/export/export_timm.py` writes one from PyTorch together with its entry
//! for the manifest.

#![allow(clippy::print_stdout, reason = "the answers are the example's output")]

use std::path::PathBuf;

use anyhow::Context as _;
use kaizen_edge::{Learner, Options, frames};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().context("name the ONNX file of the backbone")?);
    let classes = PathBuf::from(arguments.next().context("name a folder with one folder per class")?);
    let models_dir = model.parent().context("the model has no folder")?;

    let mut learner =
        Learner::open(Options::new().models_dir(models_dir).model(model.display().to_string()))?;
    for entry in std::fs::read_dir(&classes)? {
        let folder = entry?.path();
        let name = folder.file_name().context("a class folder has a name")?.to_string_lossy().into_owned();
        let labels = learner.teach(&name, frames(&folder.display().to_string())?)?;
        println!("{name}: {} pictures", labels.len());
    }
    let outcome = learner.learn()?;
    println!("published: {}, head: {:?}", outcome.published, outcome.head);
    Ok(())
}
