//! `kaizen doctor`: what will really run on this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum as _;
use serde::Serialize;

use super::board::Board;
use super::options::BackboneArguments;
use super::outcome::Outcome;
use super::output;
use crate::Result;
#[cfg(feature = "tract")]
use crate::backbone::TailSession;
use crate::backbone::{self, BackboneOptions, Manifest, Provider};
use crate::error::sentence;
#[cfg(feature = "tract")]
use crate::export::tail_alone;
use crate::gpu::device::{AdapterDescription, adapters};
#[cfg(feature = "tract")]
use crate::heads::MapShape;
use crate::heads::Tail;
use crate::learn::engine_choice::{self, EngineChoice};
#[cfg(feature = "tract")]
use crate::learn::inference;
use crate::session::Network;

/// The least cosine between a provider's features and tract's; below it the provider computes
/// something else. Int8 and fp16 stay above.
const LEAST_COSINE: f32 = 0.98;
/// Runs of the tail, of which the fastest counts.
#[cfg(feature = "tract")]
const TAIL_RUNS: usize = 10;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Engine that must work
    #[arg(long, default_value = "auto")]
    engine: EngineChoice,
    #[command(flatten)]
    backbone: BackboneArguments,
    /// The findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    version: &'static str,
    adapters: Vec<AdapterDescription>,
    engine: Attempt,
    onnx_runtime: Attempt,
    providers: Vec<Trial>,
    /// The part of the default backbone that learns, if it is cut.
    tail: Option<TailTrial>,
    models: Vec<Model>,
    power_mode: Option<String>,
    board: Board,
    sound: bool,
}

/// An attempt at something that was asked for, and its outcome.
#[derive(Serialize)]
struct Attempt {
    asked: String,
    works: bool,
    got: Option<String>,
    why_not: Option<String>,
}

/// An attempt at a provider, with the figures of what it computed.
#[derive(Serialize)]
struct Trial {
    #[serde(flatten)]
    attempt: Attempt,
    /// The time of one inference, the second one.
    millis: Option<f64>,
    /// The cosine similarity of the provider's features with tract's.
    cosine: Option<f32>,
}

/// The time of the tail on the latent of one picture. ONNX Runtime runs it beside a trunk that runs
/// there, the CPU engine beside tract.
#[derive(Serialize)]
struct TailTrial {
    /// Where the backbone is cut.
    at: String,
    /// Milliseconds on the CPU engine.
    millis: f64,
    /// Milliseconds on ONNX Runtime's CPU provider; none without the library.
    onnx_runtime_millis: Option<f64>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    file: String,
    sha256: String,
    sound: bool,
    why_not: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let asked = arguments.engine.to_possible_value();
    let asked = asked.as_ref().map_or("auto", |value| value.get_name());
    let engine = Attempt::of(asked, engine_choice::open(arguments.engine).map(|(_, line)| line));
    let given = arguments.backbone.options();
    let (models_dir, ort_lib) = (given.models_dir.clone(), given.ort_lib.clone());
    let (providers, tail) = trials(&given);
    let is_asked = |trial: &&Trial| trial.attempt.asked == given.provider.name();
    let asked_works = providers.iter().find(is_asked).is_some_and(|trial| trial.attempt.works);
    let models = models(models_dir.as_deref());
    let sound = engine.works && asked_works && !models.is_empty() && models.iter().all(|model| model.sound);
    let board = Board::read(Path::new("/"));
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        adapters: adapters(),
        engine,
        onnx_runtime: Attempt::of("ONNX Runtime", backbone::find_onnx_runtime(ort_lib.as_deref())),
        providers,
        tail,
        models,
        power_mode: board.power_mode.clone(),
        board,
        sound,
    };
    output::line(&if arguments.json { serde_json::to_string_pretty(&findings)? } else { text(&findings) })?;
    Ok(if sound { Outcome::Done } else { Outcome::Missing })
}

/// Tries every provider on the same picture, and the tail alone, if the backbone is cut.
fn trials(given: &BackboneOptions) -> (Vec<Trial>, Option<TailTrial>) {
    let run = |provider| run_on(&BackboneOptions { provider, ..given.clone() });
    // `auto` comes last: TensorRT's own trial may build the engine that `auto` then takes.
    let mut runs: Vec<_> =
        Provider::ALL.into_iter().rev().map(|provider| (provider, run(provider))).collect();
    runs.reverse();
    let tract = runs.iter().find(|(provider, _)| *provider == Provider::Tract);
    let plain = tract.and_then(|(_, run)| Some(run.as_ref().ok()?.features.clone()));
    let cut = runs.iter().find_map(|(_, run)| run.as_ref().ok()?.cut.as_ref());
    let tail = cut.and_then(|(at, tail)| tail_trial(at, tail, given));
    (runs.into_iter().map(|(provider, run)| Trial::of(provider, run, plain.as_deref())).collect(), tail)
}

/// Runs a tail, cut off at `at`, alone.
#[cfg(feature = "tract")]
fn tail_trial(at: &str, tail: &Tail, given: &BackboneOptions) -> Option<TailTrial> {
    let MapShape { size: [rows, columns], channels } = tail.extractor.input;
    let latent: Vec<f32> = (0..tail.extractor.input_len()).map(|at| (at % 7) as f32 / 7.0).collect();
    let engine = || inference::extract(&tail.extractor, &tail.parameters, &latent);
    let millis = least_millis(engine).ok()?;
    let shape = [1, rows, columns, channels];
    let in_runtime = || {
        let on_cpu = BackboneOptions { provider: Provider::Cpu, ..given.clone() };
        let mut session = TailSession::load(&tail_alone(tail)?, &on_cpu)?;
        least_millis(|| session.run(&shape, &latent))
    };
    Some(TailTrial { at: at.to_owned(), millis, onnx_runtime_millis: in_runtime().ok() })
}

/// The milliseconds of the fastest of several runs.
#[cfg(feature = "tract")]
fn least_millis(mut run: impl FnMut() -> Result<Vec<f32>>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..TAIL_RUNS {
        let start = Instant::now();
        run()?;
        least = least.min(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(least)
}

/// Without a reader of ONNX graphs nothing is cut.
#[cfg(not(feature = "tract"))]
fn tail_trial(_: &str, _: &Tail, _: &BackboneOptions) -> Option<TailTrial> {
    None
}

fn models(folder: Option<&Path>) -> Vec<Model> {
    let Ok(manifest) = backbone::locate(folder).and_then(|folder| Manifest::read(&folder)) else {
        return Vec::new();
    };
    let model = |entry: &backbone::BackboneSpec| {
        let why_not = entry.read().err().map(|error| sentence(&error));
        Model {
            name: entry.name.clone(),
            file: entry.path.display().to_string(),
            sha256: entry.sha256.clone(),
            sound: why_not.is_none(),
            why_not,
        }
    };
    manifest.models.iter().map(model).collect()
}

/// The result of a provider on a fixed picture.
struct Run {
    runtime: String,
    features: Vec<f32>,
    millis: f64,
    /// Where the backbone is cut, and the tail behind it.
    cut: Option<(String, Arc<Tail>)>,
}

fn run_on(options: &BackboneOptions) -> Result<Run> {
    let mut network = Network::load(options, false)?;
    let (features, millis) = inference(&mut network)?;
    let runtime = network.backbone().provider().details().swap_remove(0);
    let cut = network.spec().cut.clone().zip(network.tail().cloned());
    Ok(Run { runtime, features, millis, cut })
}

/// The features of a fixed picture, and the milliseconds of the second inference: the first one may
/// allocate.
pub(super) fn inference(network: &mut Network) -> Result<(Vec<f32>, f64)> {
    let picture = backbone::pattern(1, network.spec().input_size);
    network.features_of_image(&picture.view())?;
    let start = Instant::now();
    let features = network.features_of_image(&picture.view())?;
    Ok((features, 1e3 * start.elapsed().as_secs_f64()))
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

impl Attempt {
    fn of(asked: &str, result: Result<String>) -> Self {
        let (got, why_not) = match result {
            Ok(got) => (Some(got), None),
            Err(error) => (None, Some(sentence(&error))),
        };
        Self { asked: asked.to_owned(), works: why_not.is_none(), got, why_not }
    }

    fn line(&self) -> String {
        match (&self.got, &self.why_not) {
            (Some(got), None) => format!("  ok   {:10} {got}", self.asked),
            (_, why) => format!("  no   {:10} {}", self.asked, why.as_deref().unwrap_or_default()),
        }
    }
}

impl Trial {
    fn of(provider: Provider, run: Result<Run>, plain: Option<&[f32]>) -> Self {
        let computed = run.as_ref().ok();
        let cosine = plain.zip(computed).map(|(plain, run)| cosine(plain, &run.features));
        let millis = computed.map(|run| run.millis);
        let mut attempt = Attempt::of(provider.name(), run.map(|run| run.runtime));
        if let Some(wrong) = cosine.filter(|cosine| cosine.is_nan() || *cosine < LEAST_COSINE) {
            attempt.works = false;
            attempt.why_not = Some(format!(
                "computes other features than tract (cosine {wrong:.3}, at least {LEAST_COSINE}): take another \
                 ONNX Runtime, or another provider by --provider"
            ));
        }
        Self { attempt, millis, cosine }
    }

    fn line(&self) -> String {
        let millis = self.millis.map(|millis| format!("{millis:.1} ms"));
        let cosine = self.cosine.map(|cosine| format!("cosine with tract {cosine:.4}"));
        let figures: Vec<_> = millis.into_iter().chain(cosine).collect();
        let line = self.attempt.line();
        if figures.is_empty() { line } else { format!("{line} ({})", figures.join(", ")) }
    }
}

impl TailTrial {
    fn line(&self) -> String {
        let beside =
            self.onnx_runtime_millis.map(|millis| format!("; ONNX Runtime on the CPU {millis:.1} ms"));
        let beside = beside.unwrap_or_default();
        format!("tail behind `{}`: CPU engine {:.1} ms{beside}", self.at, self.millis)
    }
}

fn text(findings: &Findings) -> String {
    let mut lines = vec![format!("kaizen {}", findings.version), "adapters:".to_owned()];
    lines.extend(findings.adapters.iter().map(|adapter| format!("  {adapter}")));
    lines.extend(findings.adapters.is_empty().then(|| "  none".to_owned()));
    lines.extend(["engine:".to_owned(), findings.engine.line()]);
    lines.extend(["ONNX Runtime:".to_owned(), findings.onnx_runtime.line()]);
    lines.push("providers (each computed the same picture):".to_owned());
    lines.extend(findings.providers.iter().map(Trial::line));
    lines.extend(findings.tail.iter().map(TailTrial::line));
    lines.push("models:".to_owned());
    lines.extend(findings.models.iter().map(|model| match &model.why_not {
        None => format!("  ok   {} ({}…)", model.name, &model.sha256[..12.min(model.sha256.len())]),
        Some(why) => format!("  no   {}: {why}", model.name),
    }));
    lines.extend(findings.board.lines());
    let verdict =
        if findings.sound { "all that was asked for works" } else { "something asked for is missing" };
    lines.push(verdict.to_owned());
    lines.join("\n")
}
