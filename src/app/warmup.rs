//! `kaizen warmup`: does now what the first start would wait for, above all TensorRT's engine.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::doctor::inference;
use super::options::BackboneArguments;
use super::outcome::Outcome;
use super::output;
use crate::backbone::{BackboneOptions, Provider};
use crate::session::Network;

/// The time between two signs of life.
const BEAT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backbone: BackboneArguments,
    /// The result as one JSON line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let options = BackboneOptions { builds_engine: true, ..arguments.backbone.options() };
    let start = Instant::now();
    if matches!(options.provider, Provider::Auto | Provider::TensorRt) && cfg!(feature = "tensorrt") {
        tracing::info!(
            "where TensorRT is here, building its engine takes minutes the first time; it is kept for later starts"
        );
    }
    let (sender, loaded) = sync_channel(1);
    std::thread::Builder::new().name("kaizen-warmup".to_owned()).spawn(move || {
        // The receiver lives as long as this thread may send.
        let _ = sender.send(Network::load(&options, false));
    })?;
    let mut network = loop {
        match loaded.recv_timeout(BEAT) {
            Ok(network) => break network?,
            Err(RecvTimeoutError::Timeout) => {
                tracing::info!("still at it, {:.0} s", start.elapsed().as_secs_f64());
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("loading the backbone panicked"),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let (_, millis) = inference(&mut network)?;
    let (name, report) = (&network.spec().name, network.backbone().provider());
    let value = json!({
        "provider": report.got.name(), "runtime": report.runtime, "model": name,
        "attempts": report.attempts, "seconds": seconds, "millis": millis,
    });
    output::result(arguments.json, &value, || {
        let provider = report.line();
        format!("{name} is ready after {seconds:.1} s, {provider}; one picture takes {millis:.1} ms")
    })?;
    Ok(Outcome::Done)
}
