//! The bake-off: every method on the same features, with a report.

mod arguments;
mod cache;
mod features;
mod groups;
mod jobs;
mod latents;
mod page;
mod results;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use kaizen_edge::Split;
use kaizen_edge::low_level::backbone;
use kaizen_edge::low_level::learn::cpu::CpuEngine;

pub use arguments::Arguments;
use arguments::PerClass;
use jobs::{Job, jobs};
use results::{Results, Run};

use crate::dataset::Dataset;
use crate::methods::{Arena, Features};
use crate::report::say;
use crate::scenario::{Increment, Rows, Scenario};

/// Runs the bake-off, or compares two reports.
///
/// # Errors
/// Whatever the data set, the backbone, a method or the report reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some([a, b]) = arguments.compare.as_deref() {
        return compare(a, b, arguments.out.as_deref());
    }
    let (Some(source), Some(out)) = (&arguments.data, &arguments.out) else {
        anyhow::bail!("--data and --out are needed");
    };
    let jobs = jobs(arguments)?;
    let mut dataset = Dataset::read(source, arguments.class_order_seed)?;
    if let Some(PerClass(counts)) = arguments.per_class {
        dataset.limit(counts, arguments.class_order_seed)?;
    }
    if !arguments.unequal {
        dataset.check_balanced()?;
    }
    let dataset = Arc::new(dataset);
    // Whatever is wrong with any scenario is said before the first picture is embedded.
    for job in jobs.iter().filter(|job| (job.method, job.replay) == (jobs[0].method, jobs[0].replay)) {
        scenario(arguments, &dataset, job)?;
    }
    let entry = backbone::resolve(arguments.model.as_deref(), arguments.models_dir.as_deref())?;
    make_folder(out)?;
    let head = Results::new(arguments, &dataset, &entry.name);
    let mut results = Results::resume(&out.join("report.json"), head)?;
    let mut features = features::of(arguments, &dataset, &entry)?;
    if jobs.iter().any(|job| job.method.needs_latents(entry.cut.is_some())) {
        features.latents = Some(latents::of(arguments, &dataset, &entry)?);
    }
    let mut engine = CpuEngine::new(0);
    for (number, job) in jobs.iter().enumerate() {
        if results.has(job) {
            continue;
        }
        let label = format!("[{}/{}] {job}", number + 1, jobs.len());
        let bar = bar(&label, 1000);
        let run = one(arguments, &dataset, &features, job, &mut engine, &bar)?;
        bar.finish_and_clear();
        say(&format!("{label}: {}", run.line()));
        results.runs.push(run);
        results.write(out)?;
    }
    results.write(out)?;
    say(&page::text(&results));
    say(&format!("report: {}", out.join("report.html").display()));
    Ok(())
}

fn one(
    arguments: &Arguments,
    dataset: &Dataset,
    features: &Features,
    job: &Job,
    engine: &mut CpuEngine,
    bar: &ProgressBar,
) -> anyhow::Result<Run> {
    let scenario = scenario(arguments, dataset, job)?;
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

fn scenario(arguments: &Arguments, dataset: &Dataset, job: &Job) -> kaizen_edge::Result<Scenario> {
    let rows = |split| {
        let pictures = dataset.side(split).iter();
        let (classes, domains) = pictures.map(|picture| (picture.class, picture.domain)).unzip();
        Rows { classes, domains }
    };
    let settings = arguments.scenario_settings(job.labels, job.seed);
    Scenario::new(&settings, dataset.classes.len(), &rows(Split::Train), &rows(Split::Test))
}

fn compare(a: &Path, b: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    let (a, b) = (Results::read(a)?, Results::read(b)?);
    let (text, report) = page::comparison(&a, &b);
    say(&text);
    if let Some(out) = out {
        make_folder(out)?;
        let path = out.join("compare.html");
        report.write(&path)?;
        say(&format!("report: {}", path.display()));
    }
    Ok(())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))
}

fn bar(label: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar
}

#[cfg(test)]
mod tests;
