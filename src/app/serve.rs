//! `kaizen serve`: watches a source, answers, and lets people teach it from a browser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::http::{self, Access, Channels, Facts, Token, Web};
use super::images::RawSize;
use super::options::CommonOptions;
use super::outcome::Outcome;
use super::{log, output};
use crate::memory::Memory;
use crate::session::Power;
use crate::session::live::{Live, LiveEvent, LiveOptions, LiveParts};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What is watched: a folder, recording://DIR, clip.avi, - for raw RGB frames, or with the
    /// feature `gstreamer` also /dev/video0, csi://0, rtsp://…, gst://…
    #[arg(long)]
    source: String,
    /// State file, made if it is not there
    #[arg(long)]
    state: PathBuf,
    /// Address to listen on; any but a loopback address needs --token-file
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// File with a secret that every client must show
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Name under which browsers may call this machine, besides localhost and its addresses; may be
    /// repeated
    #[arg(long)]
    allow_host: Vec<String>,
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
    pub(super) options: CommonOptions,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a number of at least 1".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let token = arguments.token_file.as_deref().map(Token::read).transpose()?;
    let is_open = !arguments.listen.ip().is_loopback();
    let access = Access::new(arguments.listen, token, arguments.allow_host.clone())?;
    let listener = http::listen(arguments.listen)?;
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
    let web = Arc::new(Web::new(live, reader, channels, facts, access));
    if is_open {
        tracing::warn!(
            event = "open_address",
            address = %address,
            "warning: others can reach this address, and without TLS the token and the pictures can be read on the \
             way: put a TLS proxy in front, or use an SSH tunnel"
        );
    }
    output::line(&format!("http://{address}/"))?;
    http::serve(listener, &web)?;
    let left = web.stop();
    let message = match left.len() {
        0 => "stopped: nothing was pending".to_owned(),
        _ => format!("stopped: not done: {}", left.join(", ")),
    };
    log::entry("stopped", &message, &json!({ "not_done": left }));
    Ok(Outcome::Done)
}
