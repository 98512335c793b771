//! `kaizen warmup`: does now what the first start would wait for, above all TensorRT's engine.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::doctor::inference;
use super::options::BackboneArguments;
use crate::backbone::{self, BackboneOptions, Provider};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backbone: BackboneArguments,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what a person waits for is said")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = BackboneOptions { builds_engine: true, ..arguments.backbone.options() };
    let start = Instant::now();
    if matches!(options.provider, Provider::Auto | Provider::TensorRt) && cfg!(feature = "tensorrt") {
        eprintln!(
            "where TensorRT is here, building its engine takes minutes the first time; it is kept for later starts"
        );
    }
    let (sender, loaded) = sync_channel(1);
    std::thread::Builder::new().name("kaizen-warmup".to_owned()).spawn(move || {
        // The receiver lives as long as this thread may send.
        let _ = sender.send(backbone::load(&options));
    })?;
    let mut backbone = loop {
        match loaded.recv_timeout(BEAT) {
            Ok(backbone) => break backbone?,
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("still at it, {:.0} s", start.elapsed().as_secs_f64());
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("loading the backbone panicked"),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let (_, millis) = inference(backbone.as_mut())?;
    let report = backbone.provider();
    if arguments.json {
        let figures = json!({
            "provider": report.got.name(), "runtime": report.runtime, "model": backbone.spec().name,
            "attempts": report.attempts, "seconds": seconds, "millis": millis,
        });
        println!("{figures}");
    } else {
        let (name, provider) = (&backbone.spec().name, report.line());
        println!("{name} is ready after {seconds:.1} s, {provider}; one picture takes {millis:.1} ms");
    }
    Ok(ExitCode::SUCCESS)
}
