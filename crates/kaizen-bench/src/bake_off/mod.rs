//! The bake-off: every method on the same features, with a report.

mod cache;
mod embed;
mod outcome;
mod page;
mod plan;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::dataset::{Dataset, DatasetSource};
use crate::methods::{Arena, Features, Method};
use crate::scenario::{Increment, ReplayBudget, Rows, Scenario, ScenarioSettings};
use kaizen_edge::Provider;
use kaizen_edge::low_level::backbone::{self, BackboneOptions};
use kaizen_edge::low_level::learn::cpu::CpuEngine;

use outcome::{Results, Run};
use plan::{Job, List, PerClass};

/// Arguments of `kaizen-bench`.
#[derive(clap::Parser)]
#[command(
    name = "kaizen-bench",
    version,
    about = "Continual learning methods side by side on the same features"
)]
pub struct Arguments {
    /// cifar100:DIR, fashion-mnist:DIR or folder:DIR
    #[arg(long, required_unless_present = "compare")]
    data: Option<DatasetSource>,
    /// What is new in each task: class, data or domain
    #[arg(long, default_value = "class")]
    scenario: Increment,
    /// Number of tasks
    #[arg(long, default_value_t = 5)]
    tasks: usize,
    /// Methods, separated by commas, or `all`
    #[arg(long, default_value = "all")]
    methods: List<Method>,
    /// Shares of labelled samples, separated by commas; the rest of each task is unlabelled
    #[arg(long, default_value = "1.0")]
    labels: List<f64>,
    /// What may be kept of earlier tasks: shares (0.01), counts (2/class) or bytes (4MiB), separated by commas
    #[arg(long, default_value = "0.01")]
    replay: List<ReplayBudget>,
    /// Number of seeds, 1, 2, …
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Seed of the class order, as torch.randperm draws it
    #[arg(long, default_value_t = 5)]
    class_order_seed: u64,
    /// Most to least frequent class among unlabelled samples
    #[arg(long, default_value_t = 1.0)]
    imbalance: f64,
    /// Share of samples of no task's class among the unlabelled ones
    #[arg(long, default_value_t = 0.0)]
    strangers: f64,
    /// Training and test pictures of each class to use, as TRAIN,TEST; all without it
    #[arg(long)]
    per_class: Option<PerClass>,
    /// Goes on although the classes differ in size
    #[arg(long)]
    unequal: bool,
    /// Cached views of each training picture, the plain one included
    #[arg(long, default_value_t = 2)]
    views: usize,
    /// Backbone: a name in models/manifest.toml or an ONNX file listed there [default: the manifest's]
    #[arg(long)]
    model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    models_dir: Option<PathBuf>,
    /// Who runs the backbone: auto, tensorrt, cuda, cpu (ONNX Runtime) or tract
    #[arg(long, default_value = "auto")]
    provider: Provider,
    /// ONNX Runtime's shared library
    #[arg(long)]
    ort_lib: Option<PathBuf>,
    /// Folder of cached features; `kaizen-edge` in the user's cache without it
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Folder for report.json and report.html; finished runs that are there are not run again
    #[arg(long, required_unless_present = "compare")]
    out: Option<PathBuf>,
    /// Shows two reports (folders or report.json files) side by side instead of running anything
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    compare: Option<Vec<PathBuf>>,
}

impl Arguments {
    fn backbone_options(&self) -> BackboneOptions {
        BackboneOptions {
            model: self.model.clone(),
            models_dir: self.models_dir.clone(),
            provider: self.provider,
            ort_lib: self.ort_lib.clone(),
            ..BackboneOptions::default()
        }
    }
}

/// Runs the bake-off, or compares two reports.
///
/// # Errors
/// Whatever data set, backbone, method or report reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some([a, b]) = arguments.compare.as_deref() {
        return compare(a, b, arguments.out.as_deref());
    }
    let (Some(source), Some(out)) = (&arguments.data, &arguments.out) else {
        anyhow::bail!("--data and --out are needed");
    };
    let jobs = plan::jobs(&arguments.methods.0, &arguments.labels.0, &arguments.replay.0, arguments.seeds)?;
    let mut dataset = Dataset::read(source, arguments.class_order_seed)?;
    if let Some(PerClass(counts)) = arguments.per_class {
        dataset.limit(counts, arguments.class_order_seed)?;
    }
    if !arguments.unequal {
        dataset.check_balanced()?;
    }
    // Whatever is wrong with any scenario is said before the first picture is embedded.
    for &(labels, seed) in &plan::scenarios(&jobs) {
        scenario(arguments, &dataset, labels, seed)?;
    }
    let entry = backbone::resolve(arguments.model.as_deref(), arguments.models_dir.as_deref())?;
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let head = Results::new(arguments, &dataset, &entry.name);
    let mut results = Results::resume(&out.join("report.json"), head)?;
    let features = cache::features(arguments, &dataset, &entry)?;
    let mut engine = CpuEngine::new(0);
    for (number, job) in jobs.iter().enumerate() {
        if results.has(job) {
            continue;
        }
        let bar = bar(&format!("[{}/{}] {}", number + 1, jobs.len(), job), 1000);
        let run = one(arguments, &dataset, &features, job, &mut engine, &bar)?;
        bar.finish_and_clear();
        say(&format!("[{}/{}] {job}: {}", number + 1, jobs.len(), run.line()));
        results.runs.push(run);
        results.write(out)?;
    }
    results.write(out)?;
    say(&page::text(&results));
    say(&format!("report: {}", out.join("report.html").display()));
    Ok(ExitCode::SUCCESS)
}

fn one(
    arguments: &Arguments,
    dataset: &Dataset,
    features: &Features,
    job: &Job,
    engine: &mut CpuEngine,
    bar: &ProgressBar,
) -> anyhow::Result<Run> {
    let scenario = scenario(arguments, dataset, job.labels, job.seed)?;
    let arena = Arena {
        features,
        scenario: &scenario,
        judges_ahead: arguments.scenario != Increment::Class,
        replay: job.replay,
        seed: job.seed,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a thousand")]
    let mut progress = |share: f64| bar.set_position((1000.0 * share) as u64);
    let outcome = job.method.run(&arena, engine, &mut progress).with_context(|| format!("{job} failed"))?;
    Ok(Run::new(job, &outcome))
}

fn scenario(
    arguments: &Arguments,
    dataset: &Dataset,
    labels: f64,
    seed: u64,
) -> kaizen_edge::Result<Scenario> {
    let settings = ScenarioSettings {
        increment: arguments.scenario,
        tasks: arguments.tasks,
        class_order_seed: arguments.class_order_seed,
        seed,
        labels,
        imbalance: arguments.imbalance,
        strangers: arguments.strangers,
    };
    let columns = |pictures: &[crate::dataset::Picture]| -> (Vec<usize>, Vec<usize>) {
        pictures.iter().map(|picture| (picture.class, picture.domain)).unzip()
    };
    let (train, test) = (columns(&dataset.train), columns(&dataset.test));
    Scenario::new(
        &settings,
        dataset.classes.len(),
        Rows { classes: &train.0, domains: &train.1 },
        Rows { classes: &test.0, domains: &test.1 },
    )
}

fn compare(a: &Path, b: &Path, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (a, b) = (Results::read(a)?, Results::read(b)?);
    let (text, report) = page::comparison(&a, &b);
    say(&text);
    if let Some(out) = out {
        std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
        let path = out.join("compare.html");
        report.write(&path)?;
        say(&format!("report: {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn bar(label: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar
}

#[expect(clippy::print_stdout, reason = "what was found is the command's output")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests;
