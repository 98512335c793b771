//! `kaizen serve`: watches a source, answers, and lets people teach it from a browser.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde_json::json;

use super::http::{self, Access, Channels, Facts, Log, LogFormat, Token, Web};
use super::options::Options;
use crate::backbone::{self, Backbone, BackboneOptions, Provider};
use crate::memory::{FeatureIdentity, Memory};
use crate::session;
use crate::session::live::{AwaitedBackbones, Live, LiveParts, Power, TutorBackbone};
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
    /// MiB that the state may take on disk
    #[arg(long)]
    quota_mib: Option<u64>,
    /// Training steps of a consolidation; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
    /// Account on standard error: text or json
    #[arg(long, default_value = "text")]
    log_format: LogFormat,
    /// Columns and rows of raw frames, and of frames asked of a camera
    #[arg(long, num_args = 2, value_names = ["WIDTH", "HEIGHT"], default_values_t = [640, 480])]
    raw_size: Vec<u32>,
    #[command(flatten)]
    options: Options,
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

/// What answers and what learns, and the features that the state holds.
struct Backbones {
    eyes: Box<dyn Backbone>,
    tutor: Second,
    identity: FeatureIdentity,
}

/// The second backbone.
enum Second {
    Ready(Box<dyn Backbone>),
    /// This is to be loaded in the background, in place of the first one too.
    Later(BackboneOptions),
}

impl Arguments {
    /// Both backbones. While TensorRT has yet to build its engine, CUDA answers from what was learned before.
    fn backbones(&self, options: &Options) -> Result<Backbones> {
        let asked = options.backbone_options(&self.state)?;
        if asked.feature_class.is_some() && backbone::awaits_engine(&asked)? {
            let at_once = BackboneOptions { provider: Provider::Cuda, ..asked.clone() };
            if let Ok(eyes) = backbone::load(&at_once) {
                let class = backbone::feature_class(eyes.spec().precision, Provider::TensorRt);
                let identity = FeatureIdentity { feature_class: class, ..session::identity(eyes.as_ref()) };
                return Ok(Backbones { eyes, tutor: Second::Later(asked), identity });
            }
        }
        let eyes = backbone::load(&asked)?;
        let tutor = second(eyes.as_ref(), &asked)?;
        let identity = session::identity(eyes.as_ref());
        Ok(Backbones { eyes, tutor: Second::Ready(tutor), identity })
    }

    /// Everything that the live loop needs, opened, and what is said about it.
    fn parts(&self, log: &Log, watcher: crate::session::live::Watcher) -> anyhow::Result<(LiveParts, Facts)> {
        let options = self.options.quieter(true);
        let source_options = SourceOptions {
            raw_width: self.raw_size[0],
            raw_height: self.raw_size[1],
            ..SourceOptions::default()
        };
        let uri = self.source.clone();
        // Opened once before anything is loaded, so that a wrong source costs nothing.
        let mut first = Some(vision::open(&uri, &source_options)?);
        let open = move || first.take().map_or_else(|| vision::open(&uri, &source_options), Ok);
        let Backbones { eyes, tutor, identity } = self.backbones(&options)?;
        let room = options.frame_room()?;
        let (mut learner, engine) = options.new_learner(&self.state, &identity, self.steps, room)?;
        let tutor = match tutor {
            Second::Ready(backbone) => TutorBackbone::Ready(backbone),
            Second::Later(asked) => TutorBackbone::Awaited(in_background(asked)?),
        };
        if let Some(mib) = self.quota_mib {
            learner.set_quota_bytes(mib << 20)?;
        }
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            engine: engine.trim_start_matches("engine: ").to_owned(),
            provider: eyes.provider().line().trim_start_matches("provider: ").to_owned(),
            model: eyes.spec().name.clone(),
            power: self.power.name(),
            state: self.state.display().to_string(),
            quota_bytes: self.quota_mib.map(|mib| mib << 20),
        };
        let start =
            format!("model {}; {}; {engine}; power {}", facts.model, eyes.provider().line(), facts.power);
        log.say("started", &start, &serde_json::to_value(&facts)?);
        let parts = LiveParts {
            source: Box::new(open),
            uri: self.source.clone(),
            repeats: self.repeats,
            eyes,
            tutor,
            learner,
            power: self.power,
            room,
            watcher,
        };
        Ok((parts, facts))
    }
}

/// Another backbone like `eyes`, on one thread.
fn second(eyes: &dyn Backbone, options: &BackboneOptions) -> Result<Box<dyn Backbone>> {
    match eyes.share(1)? {
        Some(shared) => Ok(shared),
        None => {
            let provider = eyes.provider().got;
            backbone::load(&BackboneOptions { provider, threads: 1, ..options.clone() })
        }
    }
}

/// Loads both backbones on a thread of their own.
fn in_background(options: BackboneOptions) -> Result<AwaitedBackbones> {
    let (sender, made) = sync_channel(1);
    let load = move || -> Result<[Box<dyn Backbone>; 2]> {
        let eyes = backbone::load(&options)?;
        let tutor = second(eyes.as_ref(), &options)?;
        Ok([eyes, tutor])
    };
    // Nobody waits any more if the program stops.
    let thread =
        std::thread::Builder::new().name("kaizen-engine".to_owned()).spawn(move || drop(sender.send(load())));
    thread.map_err(Error::io("kaizen-engine"))?;
    Ok(made)
}
