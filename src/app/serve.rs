//! `kaizen serve`: watches a source, answers, and lets people teach it from a browser.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde_json::json;

use super::http::{self, Access, Channels, Facts, Log, LogFormat, Token, Web};
use super::options::CommonOptions;
use crate::backbone::{self, Backbone, BackboneOptions, Provider};
use crate::memory::{FeatureIdentity, Memory};
use crate::session::live::{FrameBudget, Live, LiveParts, PendingBackbones, Watcher};
use crate::session::{Embedder, Learner, Options, Power, identity, second_backbone};
use crate::vision::{self, SourceOptions};
use crate::{Error, Result};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What is watched: a folder, recording://DIR, clip.avi, - for raw RGB frames, or with the feature `gstreamer` also
    /// /dev/video0, csi://0, rtsp://…, gst://…
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
    /// Name under which browsers may call this machine, besides localhost and its addresses; may be repeated
    #[arg(long)]
    allow_host: Vec<String>,
    /// Play a recording again and again
    #[arg(long = "loop")]
    repeats: bool,
    /// How much of the machine learning takes: full, balanced (half of the time) or low (a fifth)
    #[arg(long, default_value = "balanced")]
    power: Power,
    /// MiB that the state may take on disk; `--quota-bytes` says the same in bytes
    #[arg(long, conflicts_with = "quota_bytes")]
    quota_mib: Option<u64>,
    /// Training steps of a consolidation; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
    /// Log on standard error: text or json
    #[arg(long, default_value = "text")]
    log_format: LogFormat,
    /// Columns and rows of raw frames, and of frames asked of a camera
    #[arg(long, num_args = 2, value_names = ["WIDTH", "HEIGHT"], default_values_t = [640, 480])]
    raw_size: Vec<u32>,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

#[expect(clippy::print_stdout, reason = "the address is what a caller waits for")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let log = Log::new(arguments.log_format, arguments.options.quiet());
    let token = arguments.token_file.as_deref().map(Token::read).transpose()?;
    let is_open = !arguments.listen.ip().is_loopback();
    let access = Access::new(arguments.listen, token, arguments.allow_host.clone())?;
    let listener = http::listen(arguments.listen)?;
    let address = listener.local_addr()?;
    let channels = Channels::new();
    let sender = channels.sender();
    let watcher = Arc::new(move |event| {
        log.tell(&event);
        sender(event);
    });
    let (parts, facts) = arguments.parts(&log, watcher)?;
    let live = Live::start(parts)?;
    let reader = Memory::open_read_only(&arguments.state)?;
    let web = Arc::new(Web::new(live, reader, channels, facts, access));
    if is_open {
        let warning = "warning: others can reach this address, and without TLS the token and the pictures can be read \
                       on the way: put a TLS proxy in front, or use an SSH tunnel";
        log.say("open_address", warning, &json!({ "address": address.to_string() }));
    }
    println!("http://{address}/");
    std::io::stdout().flush()?;
    http::serve(listener, &web, &log)?;
    let left = web.stop();
    let message = match left.len() {
        0 => "stopped: nothing was pending".to_owned(),
        _ => format!("stopped: not done: {}", left.join(", ")),
    };
    log.say("stopped", &message, &json!({ "not_done": left }));
    Ok(ExitCode::SUCCESS)
}

/// What answers, what the learner uses, and the features that the state holds.
struct Backbones {
    inference: Box<dyn Backbone>,
    /// The learner's; none while it is still to be loaded.
    learning: Option<Box<dyn Backbone>>,
    identity: FeatureIdentity,
}

impl Arguments {
    /// What the learner is opened with.
    fn learner_options(&self) -> Options {
        let mut options = self.options.training_on(&self.state, self.steps);
        options.quota_bytes = self.quota_bytes();
        options
    }

    fn quota_bytes(&self) -> Option<u64> {
        self.quota_mib.map(|mib| mib << 20).or(self.options.quota_bytes())
    }

    /// Both backbones. While TensorRT has yet to build its engine, CUDA answers from what was learned before.
    fn backbones(asked: &BackboneOptions) -> Result<Backbones> {
        if asked.feature_class.is_some() && backbone::awaits_engine(asked)? {
            let at_once = BackboneOptions { provider: Provider::Cuda, ..asked.clone() };
            if let Ok(inference) = backbone::load(&at_once) {
                let feature_class = backbone::feature_class(inference.spec().precision, Provider::TensorRt);
                let identity = FeatureIdentity { feature_class, ..identity(inference.as_ref()) };
                return Ok(Backbones { inference, learning: None, identity });
            }
        }
        let inference = backbone::load(asked)?;
        let learning = Some(second_backbone(inference.as_ref(), asked)?);
        let identity = identity(inference.as_ref());
        Ok(Backbones { inference, learning, identity })
    }

    /// Everything that the live loop needs, opened, and what is said about it.
    fn parts(&self, log: &Log, watcher: Watcher) -> anyhow::Result<(LiveParts, Facts)> {
        let source_options = SourceOptions {
            raw_width: self.raw_size[0],
            raw_height: self.raw_size[1],
            ..SourceOptions::default()
        };
        let uri = self.source.clone();
        // Opened once before anything is loaded, so that a wrong source costs nothing.
        let mut first = Some(vision::open(&uri, &source_options)?);
        let open = move || first.take().map_or_else(|| vision::open(&uri, &source_options), Ok);
        let options = self.learner_options();
        let asked = options.backbone_for_state()?;
        let Backbones { inference, learning, identity } = Self::backbones(&asked)?;
        let frame_budget =
            options.memory_limit_megabytes.map_or_else(FrameBudget::default, FrameBudget::of_limit);
        let memory = Memory::open(Some(&self.state), &identity)?;
        let is_pending = learning.is_none();
        let embedder = learning.map(|backbone| Embedder::new(backbone, options.settings.seed)).transpose()?;
        // As many again as wait are on their way.
        let frame_bytes = (frame_budget.recent + 2 * frame_budget.waiting) as u64;
        let mut learner = Learner::on(memory, embedder, Options { frame_bytes, ..options })?;
        let slot = learner.core_mut().engine();
        slot.get()?;
        let engine = slot.take_line().unwrap_or_default();
        let pending_backbones = is_pending.then(|| in_background(asked)).transpose()?;
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            engine: engine.trim_start_matches("engine: ").to_owned(),
            provider: inference.provider().line().trim_start_matches("provider: ").to_owned(),
            model: inference.spec().name.clone(),
            power: self.power.name(),
            state: self.state.display().to_string(),
            quota_bytes: self.quota_bytes(),
        };
        let provider = inference.provider().line();
        let start = format!("model {}; {provider}; {engine}; power {}", facts.model, facts.power);
        log.say("started", &start, &serde_json::to_value(&facts)?);
        let parts = LiveParts {
            source: Box::new(open),
            uri: self.source.clone(),
            repeats: self.repeats,
            inference_backbone: inference,
            pending_backbones,
            learner,
            power: self.power,
            frame_budget,
            watcher,
        };
        Ok((parts, facts))
    }
}

/// Loads both backbones on a thread of their own.
fn in_background(options: BackboneOptions) -> Result<PendingBackbones> {
    let (sender, made) = sync_channel(1);
    let load = move || -> Result<[Box<dyn Backbone>; 2]> {
        let inference = backbone::load(&options)?;
        let learning = second_backbone(inference.as_ref(), &options)?;
        Ok([inference, learning])
    };
    // Nobody waits any more if the program stops.
    let thread =
        std::thread::Builder::new().name("kaizen-engine".to_owned()).spawn(move || drop(sender.send(load())));
    thread.map_err(Error::io("kaizen-engine"))?;
    Ok(made)
}
