//! `kaizen doctor`: what will really run on this machine.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::board::Board;
use super::options::BackboneArguments;
use crate::backbone::{self, Backbone, BackboneOptions, Manifest, Provider};
use crate::gpu::device::{AdapterDescription, adapters};
use crate::learn::engine_choice::{self, EngineChoice};

/// Cosine similarity with tract's features below which a provider computes something else. Int8 and fp16 stay above.
const LEAST_COSINE: f32 = 0.98;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Engine that must work
    #[arg(long, default_value = "auto")]
    engine: EngineChoice,
    #[command(flatten)]
    backbone: BackboneArguments,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    version: &'static str,
    adapters: Vec<AdapterDescription>,
    engine: Outcome,
    onnx_runtime: Outcome,
    providers: Vec<Trial>,
    models: Vec<Model>,
    power_mode: Option<String>,
    board: Board,
    sound: bool,
}

/// Something tried: what was asked, what came of it.
#[derive(Serialize)]
struct Outcome {
    asked: String,
    works: bool,
    got: Option<String>,
    why_not: Option<String>,
}

/// A provider with what it computed of a fixed picture.
#[derive(Serialize)]
struct Trial {
    #[serde(flatten)]
    outcome: Outcome,
    /// Time of one inference, the second one.
    millis: Option<f64>,
    /// Cosine similarity of its features with tract's.
    cosine: Option<f32>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    file: String,
    sha256: String,
    sound: bool,
    why_not: Option<String>,
}

impl Outcome {
    fn of<T, E: std::fmt::Display>(
        asked: impl Into<String>,
        result: Result<T, E>,
        got: impl FnOnce(T) -> String,
    ) -> Self {
        let asked = asked.into();
        match result {
            Ok(value) => Self { asked, works: true, got: Some(got(value)), why_not: None },
            Err(error) => Self { asked, works: false, got: None, why_not: Some(error.to_string()) },
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let engine = Outcome::of(
        format!("{:?}", arguments.engine).to_lowercase(),
        engine_choice::open(arguments.engine),
        |(_, line)| line,
    );
    let run = |provider| run_on(&BackboneOptions { provider, ..arguments.backbone.options() });
    // `auto` last: TensorRT's own trial may build the engine that `auto` then takes.
    let mut runs: Vec<_> =
        Provider::ALL.into_iter().rev().map(|provider| (provider, run(provider))).collect();
    runs.reverse();
    let plain = runs.iter().find(|(provider, _)| *provider == Provider::Tract);
    let plain = plain.and_then(|(_, run)| Some(run.as_ref().ok()?.features.clone()));
    let providers: Vec<_> =
        runs.into_iter().map(|(provider, run)| Trial::of(provider, run, plain.as_deref())).collect();
    let asked = |trial: &&Trial| trial.outcome.asked == arguments.backbone.provider.name();
    let asked_provider = providers.iter().find(asked).is_some_and(|trial| trial.outcome.works);
    let models = models(arguments.backbone.models_dir.as_deref());
    let sound = engine.works && asked_provider && !models.is_empty() && models.iter().all(|m| m.sound);
    let library = backbone::find_onnx_runtime(arguments.backbone.ort_lib.as_deref());
    let board = Board::read(Path::new("/"));
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        adapters: adapters(),
        engine,
        onnx_runtime: Outcome::of("ONNX Runtime", library, |path| path),
        providers,
        models,
        power_mode: board.power_mode.clone(),
        board,
        sound,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        println!("{}", text(&findings));
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn models(folder: Option<&std::path::Path>) -> Vec<Model> {
    let Ok(manifest) = backbone::locate(folder).and_then(|folder| Manifest::read(&folder)) else {
        return Vec::new();
    };
    let model = |entry: &backbone::BackboneSpec| {
        let read = entry.read();
        Model {
            name: entry.name.clone(),
            file: entry.path.display().to_string(),
            sha256: entry.sha256.clone(),
            sound: read.is_ok(),
            why_not: read.err().map(|error| error.to_string()),
        }
    };
    manifest.models.iter().map(model).collect()
}

/// What a provider computed of a fixed picture.
struct Run {
    runtime: String,
    features: Vec<f32>,
    millis: f64,
}

fn run_on(options: &BackboneOptions) -> crate::Result<Run> {
    let mut backbone = backbone::load(options)?;
    let (features, millis) = inference(backbone.as_mut())?;
    let runtime = backbone.provider().details().swap_remove(0);
    Ok(Run { runtime, features, millis })
}

impl Trial {
    fn of(provider: Provider, run: crate::Result<Run>, plain: Option<&[f32]>) -> Self {
        match run {
            Ok(Run { runtime, features, millis }) => {
                let cosine = plain.map(|plain| cosine(plain, &features));
                let mut outcome = Outcome {
                    asked: provider.name().to_owned(),
                    works: true,
                    got: Some(runtime),
                    why_not: None,
                };
                if let Some(wrong) = cosine.filter(|cosine| cosine.is_nan() || *cosine < LEAST_COSINE) {
                    outcome.works = false;
                    outcome.why_not = Some(format!(
                        "computes other features than tract (cosine {wrong:.3}, at least {LEAST_COSINE}): take another \
                         ONNX Runtime, or another provider by --provider"
                    ));
                }
                Self { outcome, millis: Some(millis), cosine }
            }
            Err(error) => {
                let outcome = Outcome::of(provider.name(), Err::<String, _>(error), |got| got);
                Self { outcome, millis: None, cosine: None }
            }
        }
    }

    fn line(&self) -> String {
        let figures = self.millis.map(|millis| format!("{millis:.1} ms"));
        let cosine = self.cosine.map(|cosine| format!("cosine with tract {cosine:.4}"));
        let figures: Vec<_> = figures.into_iter().chain(cosine).collect();
        let line = line(&self.outcome);
        if figures.is_empty() { line } else { format!("{line} ({})", figures.join(", ")) }
    }
}

/// Features of a fixed picture, and the milliseconds of the second inference: the first one may allocate.
pub(super) fn inference(backbone: &mut dyn Backbone) -> crate::Result<(Vec<f32>, f64)> {
    let picture = backbone::pattern(1, backbone.spec().input_size);
    backbone.embed(picture.view())?;
    let start = Instant::now();
    let features = backbone.embed(picture.view())?;
    Ok((features.into_raw_vec_and_offset().0, 1e3 * start.elapsed().as_secs_f64()))
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn line(outcome: &Outcome) -> String {
    match (&outcome.got, &outcome.why_not) {
        (Some(got), None) => format!("  ok   {:10} {got}", outcome.asked),
        (_, why) => format!("  no   {:10} {}", outcome.asked, why.as_deref().unwrap_or("")),
    }
}

fn text(findings: &Findings) -> String {
    let mut lines = vec![format!("kaizen {}", findings.version), "adapters:".to_owned()];
    lines.extend(findings.adapters.iter().map(|adapter| format!("  {adapter}")));
    lines.extend(findings.adapters.is_empty().then(|| "  none".to_owned()));
    lines.extend([
        "engine:".to_owned(),
        line(&findings.engine),
        "ONNX Runtime:".to_owned(),
        line(&findings.onnx_runtime),
    ]);
    lines.push("providers (each computed the same picture):".to_owned());
    lines.extend(findings.providers.iter().map(Trial::line));
    lines.push("models:".to_owned());
    lines.extend(findings.models.iter().map(|model| match &model.why_not {
        None => format!("  ok   {} ({}…)", model.name, &model.sha256[..12.min(model.sha256.len())]),
        Some(why) => format!("  no   {}: {why}", model.name),
    }));
    lines.extend(findings.board.lines());
    lines.push(
        if findings.sound { "all that was asked for works" } else { "something asked for is missing" }
            .to_owned(),
    );
    lines.join("\n")
}
