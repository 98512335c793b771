//! `kaizen export`: what was learned as one ordinary ONNX file, checked before it is written.

use std::path::PathBuf;

use serde_json::json;

use super::on_state::OnState;
use super::outcome::Outcome;
use crate::file::write_atomic;
use crate::session::export::{Comparison, Exported, export, export_tail};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// File to write
    out: PathBuf,
    /// Only the tail and the head behind it, from the value at the cut of the backbone, to stand
    /// behind a trunk that runs already
    #[arg(long)]
    tail: bool,
    /// The file takes frames of any size, uint8 [N, H, W, 3] in RGB, and resizes and scales them
    /// itself
    #[arg(long, conflicts_with = "tail")]
    with_preprocessing: bool,
    #[command(flatten)]
    pub(super) on: OnState,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let Arguments { out, tail, with_preprocessing, on } = arguments;
    let (memory, mut embedder, head) = on.reader()?;
    let options = on.options.on(&on.state, None);
    let (network, library) = (embedder.network_mut(), options.library());
    let Exported { file, compared } = if *tail {
        export_tail(&memory, &head, network, library)?
    } else {
        export(&memory, &head, network, library, *with_preprocessing)?
    };
    for Comparison { runtime, what, rows, difference } in &compared {
        tracing::info!("{runtime}: {rows} {what}, probabilities within {difference:.1e} of the live model");
    }
    write_atomic(out, &file)?;
    let worst = compared.iter().map(|c| c.difference).fold(0.0, f32::max);
    let value = json!({
        "file": out, "bytes": file.len(), "head": head.kind(), "difference": worst, "compared": compared,
    });
    let text = || format!("{}: {} bytes, within {worst:.1e} of the live model", out.display(), file.len());
    on.result(&value, text)?;
    Ok(Outcome::Done)
}
