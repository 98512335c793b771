//! A camera (here: a recording, a folder, or raw frames piped in) that learns new classes as they
//! come and keeps the old ones.
//!
//! ```text
//! cargo run --release --example camera_stream
//! ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 -s 640x480 - | camera_stream --source -
//! ```

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use kaizen_bench::report::say;
use kaizen_bench::stream::{StreamSettings, run_stream};
use kaizen_edge::low_level::backbone::BackboneOptions;
use kaizen_edge::low_level::event::EventSink;
use kaizen_edge::low_level::learn::open_engine;
use kaizen_edge::low_level::memory::Memory;
use kaizen_edge::low_level::session::{Embedder, FeatureLearner, Network};
use kaizen_edge::low_level::shown::redacted;
use kaizen_edge::low_level::vision::{self, SourceOptions};
use kaizen_edge::{EngineChoice, Provider};

#[path = "camera_stream/page.rs"]
mod page;
#[path = "camera_stream/screen.rs"]
mod screen;
#[path = "camera_stream/summary.rs"]
mod summary;
#[path = "camera_stream/task_curves.rs"]
mod task_curves;

#[derive(Parser)]
#[command(about = "Learns from a camera stream on the device, beside a naive fine-tune of the same frames")]
struct Arguments {
    /// recording://DIR, a folder of images, file://clip.avi, or - for raw RGB frames [default: a
    /// recording of garments]
    #[arg(long)]
    source: Option<String>,
    /// Name in models/manifest.toml, or an ONNX file listed in a manifest beside it
    #[arg(long)]
    model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    models_dir: Option<PathBuf>,
    /// auto, tensorrt, cuda, cpu (ONNX Runtime) or tract
    #[arg(long, default_value = "auto")]
    provider: Provider,
    /// ONNX Runtime's shared library
    #[arg(long)]
    ort_lib: Option<PathBuf>,
    /// auto, gpu or cpu
    #[arg(long, default_value = "auto")]
    engine: EngineChoice,
    /// State file to go on from and to keep what is learned in; in memory without
    #[arg(long)]
    state: Option<PathBuf>,
    /// Folder for an HTML report
    #[arg(long)]
    report: Option<PathBuf>,
    /// File for the figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Width and height of raw frames on standard input
    #[arg(long, num_args = 2, value_names = ["WIDTH", "HEIGHT"], default_values_t = [640, 480])]
    raw_size: Vec<u32>,
    /// Seed of everything drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads for inference, 0 for all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// No line per frame, no progress bars
    #[arg(long)]
    quiet: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    summary::check_outputs(arguments.report.as_deref(), arguments.json.as_deref())?;
    let options = SourceOptions {
        raw_width: arguments.raw_size[0],
        raw_height: arguments.raw_size[1],
        ..SourceOptions::default()
    };
    let uri = arguments.source.clone().unwrap_or_else(default_recording);
    let source = vision::open(&uri, &options)?;
    // A state goes on with the features that it holds.
    let state = arguments.state.as_deref().filter(|state| state.exists());
    let own = state.map(Memory::open_read_only).transpose()?;
    let own = own.as_ref().map(Memory::identity);
    let options = BackboneOptions {
        feature_class: own.map(|own| own.feature_class.clone()),
        model: arguments.model.clone(),
        models_dir: arguments.models_dir.clone(),
        provider: arguments.provider,
        ort_lib: arguments.ort_lib.clone(),
        threads: arguments.threads,
        ..BackboneOptions::default()
    };
    let network = Network::load(&options, own.is_some_and(|own| !own.may_be_cut()))?;
    let (engine, engine_line) = open_engine(arguments.engine)?;
    let mut screen = screen::Screen::new(arguments.quiet, source.frames_hint());
    // A camera's password is not for the terminal, the JSON and the report.
    let uri = redacted(&uri);
    screen.line(&format!("source: {uri}"));
    screen.line(&format!("model: {} ({} features)", network.spec().name, network.spec().feature_width));
    screen.line(&network.backbone().provider().line());
    screen.line(&engine_line);

    let mut settings = StreamSettings::default();
    settings.learner.seed = arguments.seed;
    let facts = summary::Facts {
        engine: engine.name(),
        adapter: engine.device(),
        provider: network.backbone().provider().got.to_string(),
        runtime: network.backbone().provider().runtime.clone(),
        model: network.spec().name.clone(),
        source: uri,
    };
    let mut embedder = Embedder::new(network, arguments.seed)?;
    let memory = Memory::open(arguments.state.as_deref(), &embedder.identity())?;
    let learner =
        FeatureLearner::new(settings.learner.clone(), memory, engine)?.with_tail(embedder.tail().cloned())?;
    let events: &mut dyn EventSink = &mut screen;
    let outcome = run_stream(source, &mut embedder, learner, &settings, events)?;
    screen.finish();

    say(&summary::text(&outcome));
    if let Some(file) = &arguments.json {
        summary::write_json(file, &facts, &outcome)?;
    }
    if let Some(folder) = &arguments.report {
        let page = page::write_report(folder, &facts, &outcome, screen.curves())?;
        say(&format!("report: {}", page.display()));
    }
    summary::rejected(&outcome, screen.first_rejected())
}

/// The recording that comes with the repository.
fn default_recording() -> String {
    let beside = Path::new("tests/data/recording-fashion");
    let path =
        if beside.is_dir() { beside.to_owned() } else { Path::new(env!("CARGO_MANIFEST_DIR")).join(beside) };
    format!("recording://{}", path.display())
}
