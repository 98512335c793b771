//! `kaizen export`: what was learned as one ordinary ONNX file, checked before it is written.

use std::path::PathBuf;
use std::process::ExitCode;

use super::options::CommonOptions;
use crate::file::write_atomic;
use crate::session;
use crate::session::export::{Comparison, Exported, export};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// File to write
    out: PathBuf,
    /// State file; it is only read
    #[arg(long)]
    state: PathBuf,
    /// The figures as one JSON line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

#[expect(clippy::print_stdout, reason = "the figures are the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let on_state = options.on(&arguments.state);
    let (memory, mut embedder) = session::open_reader(&on_state)?;
    options.say_backbone(embedder.backbone());
    let head = session::restore(&memory, &on_state)?;
    let Exported { file, compared } = export(&memory, &head, embedder.backbone_mut(), on_state.library())?;
    for Comparison { runtime, what, rows, difference } in &compared {
        let by = format!("{difference:.1e}");
        options.say(&format!("{runtime}: {rows} {what}, probabilities within {by} of the live model"));
    }
    write_atomic(&arguments.out, &file)?;
    let worst = compared.iter().map(|c| c.difference).fold(0.0, f32::max);
    if arguments.json {
        let value = serde_json::json!({
            "file": arguments.out, "bytes": file.len(), "head": head.kind(), "difference": worst,
            "compared": compared,
        });
        println!("{value}");
    } else {
        println!("{}: {} bytes, within {worst:.1e} of the live model", arguments.out.display(), file.len());
    }
    Ok(ExitCode::SUCCESS)
}
