//! `kaizen serve`: watches a source, answers, and lets people teach it from a browser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::http::{self, Channels, Copies, Facts, Web};
use super::images::RawSize;
use super::options::CommonOptions;
use super::outcome::Outcome;
use super::server_options::ServerOptions;
use super::{log, output};
use crate::memory::Memory;
use crate::session::Power;
use crate::session::live::{Live, LiveEvent, LiveOptions, LiveParts};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What is watched: a folder, recording://DIR, clip.avi, - for raw RGB frames, or with the
    /// feature `gstreamer` also /dev/video0, csi://0, rtsp://…, gst://…; all who list processes see
    /// a password in it, but not in the environment
    #[arg(long, env = "KAIZEN_SOURCE", hide_env_values = true)]
    source: String,
    /// State file, made if it is not there
    #[arg(long)]
    state: PathBuf,
    /// Play a recording again and again
    #[arg(long = "loop")]
    repeats: bool,
    /// The share of the machine that learning takes
    #[arg(long, default_value = "balanced")]
    power: Power,
    /// Errors of the engine or the provider in a row after which the program ends, to be started
    /// again
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    most_failures: usize,
    /// Training steps of a consolidation; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
    #[command(flatten)]
    raw_size: RawSize,
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a number of at least 1".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let _log = log::Background::start()?;
    let server = arguments.options.server().with_credentials();
    let (access, certificate) = (server.access()?, server.certificate()?);
    let is_open = !server.address().ip().is_loopback() && certificate.is_none();
    let copies = server.backup_folder().map(|folder| Copies::into_folder(folder, &arguments.state));
    let listener = http::listen(server.address())?;
    let address = listener.local_addr()?;
    let channels = Channels::new();
    let sender = channels.sender();
    let learner = arguments.options.on(&arguments.state, arguments.steps);
    let (quota_bytes, memory_limit_megabytes) = (learner.quota_bytes, learner.memory_limit_megabytes);
    let (parts, engine) = LiveParts::open(LiveOptions {
        uri: arguments.source.clone(),
        source: arguments.raw_size.options(),
        repeats: arguments.repeats,
        state: arguments.state.clone(),
        learner,
        power: arguments.power,
        most_failures: arguments.most_failures,
        watcher: Arc::new(move |event| {
            http::log::tell(&event);
            if matches!(event, LiveEvent::Broken(_)) {
                // Whatever is acknowledged is on disk, and a stuck thread cannot be joined.
                log::flush();
                std::process::exit(1);
            }
            sender(event);
        }),
    })?;
    let provider = parts.inference_backbone.backbone().provider().line();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        engine: engine.trim_start_matches("engine: ").to_owned(),
        provider: provider.trim_start_matches("provider: ").to_owned(),
        model: parts.inference_backbone.spec().name.clone(),
        power: arguments.power.name(),
        state: arguments.state.display().to_string(),
        quota_bytes,
        memory_limit_megabytes,
    };
    let started = format!("model {}; {provider}; {engine}; power {}", facts.model, facts.power);
    log::entry("started", &started, &facts);
    let live = Live::start(parts)?;
    let reader = Memory::open_read_only(&arguments.state)?;
    let web = Arc::new(Web::new(live, reader, channels, facts, access, copies));
    if is_open {
        warn_of_open_address(address);
    }
    let scheme = if certificate.is_some() { "https" } else { "http" };
    output::line(&format!("{scheme}://{address}/"))?;
    http::serve(listener, certificate.as_ref(), &web)?;
    let left = web.stop();
    let message = match left.len() {
        0 => "stopped: nothing was pending".to_owned(),
        _ => format!("stopped: not done: {}", left.join(", ")),
    };
    log::entry("stopped", &message, &json!({ "not_done": left }));
    Ok(Outcome::Done)
}

fn warn_of_open_address(address: SocketAddr) {
    tracing::warn!(
        event = "open_address",
        address = %address,
        "warning: others can reach this address, and without TLS the token and the pictures can be read on the way: \
         give --tls-cert and --tls-key, put a TLS proxy in front, or use an SSH tunnel"
    );
}
