//! `kaizen doctor`: what will really run on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::backbone::{self, BackboneOptions, Manifest, Provider};
use crate::gpu::device::{AdapterDescription, adapters};
use crate::learn::engine::{self, EngineChoice};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Engine that must work
    #[arg(long, default_value = "auto")]
    engine: EngineChoice,
    /// Provider that must work
    #[arg(long, default_value = "auto")]
    provider: Provider,
    /// Model to try it with
    #[arg(long)]
    model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    models_dir: Option<PathBuf>,
    /// ONNX Runtime's shared library
    #[arg(long)]
    ort_lib: Option<PathBuf>,
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
    providers: Vec<Outcome>,
    models: Vec<Model>,
    power_mode: Option<String>,
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
    let options = |provider| BackboneOptions {
        model: arguments.model.clone(),
        models_dir: arguments.models_dir.clone(),
        provider,
        ort_lib: arguments.ort_lib.clone(),
        threads: 0,
    };
    let engine = Outcome::of(
        format!("{:?}", arguments.engine).to_lowercase(),
        engine::open(arguments.engine),
        |(_, line)| line,
    );
    let providers: Vec<_> = (Provider::ALL.into_iter())
        .map(|provider| {
            Outcome::of(provider.name(), backbone::load(&options(provider)), |b| b.provider().runtime.clone())
        })
        .collect();
    let asked_provider =
        providers.iter().find(|p| p.asked == arguments.provider.name()).is_some_and(|p| p.works);
    let models = models(arguments.models_dir.as_deref());
    let sound = engine.works && asked_provider && !models.is_empty() && models.iter().all(|m| m.sound);
    let library = backbone::find_onnx_runtime(arguments.ort_lib.as_deref());
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        adapters: adapters(),
        engine,
        onnx_runtime: Outcome::of("ONNX Runtime", library, |path| path),
        providers,
        models,
        power_mode: power_mode(),
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
    let model = |entry: &backbone::ModelEntry| {
        let read = entry.read();
        Model {
            name: entry.name.clone(),
            file: entry.path().display().to_string(),
            sha256: entry.sha256.clone(),
            sound: read.is_ok(),
            why_not: read.err().map(|error| error.to_string()),
        }
    };
    manifest.models.iter().map(model).collect()
}

/// The active Jetson power mode, where there is one.
fn power_mode() -> Option<String> {
    std::fs::read_to_string("/var/lib/nvpmodel/status").ok().map(|text| text.trim().to_owned())
}

fn text(findings: &Findings) -> String {
    let line = |outcome: &Outcome| match (&outcome.got, &outcome.why_not) {
        (Some(got), _) => format!("  ok   {:10} {got}", outcome.asked),
        (None, why) => format!("  no   {:10} {}", outcome.asked, why.as_deref().unwrap_or("")),
    };
    let mut lines = vec![format!("kaizen {}", findings.version), "adapters:".to_owned()];
    lines.extend(findings.adapters.iter().map(|adapter| format!("  {adapter}")));
    lines.extend(findings.adapters.is_empty().then(|| "  none".to_owned()));
    lines.extend([
        "engine:".to_owned(),
        line(&findings.engine),
        "ONNX Runtime:".to_owned(),
        line(&findings.onnx_runtime),
    ]);
    lines.push("providers (one real inference each):".to_owned());
    lines.extend(findings.providers.iter().map(line));
    lines.push("models:".to_owned());
    lines.extend(findings.models.iter().map(|model| match &model.why_not {
        None => format!("  ok   {} ({}…)", model.name, &model.sha256[..12.min(model.sha256.len())]),
        Some(why) => format!("  no   {}: {why}", model.name),
    }));
    lines.extend(findings.power_mode.iter().map(|mode| format!("power mode: {mode}")));
    lines.push(
        if findings.sound { "all that was asked for works" } else { "something asked for is missing" }
            .to_owned(),
    );
    lines.join("\n")
}
