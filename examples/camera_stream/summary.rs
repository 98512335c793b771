//! The figures at the end: on the terminal and as JSON.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kaizen_bench::report::{Cell, Column, Grid, Table, Unit, text_grid, text_table};
use kaizen_bench::stream::StreamOutcome;
use kaizen_edge::low_level::file::write_atomic;
use serde::Serialize;

/// What really ran.
#[derive(Serialize)]
pub(crate) struct Facts {
    pub(crate) engine: &'static str,
    pub(crate) provider: String,
    pub(crate) adapter: String,
    pub(crate) runtime: String,
    pub(crate) model: String,
    pub(crate) source: String,
}

/// Fails before the run rather than after it if an output cannot be written.
pub(crate) fn check_outputs(report: Option<&Path>, json: Option<&Path>) -> Result<()> {
    if let Some(folder) = report {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("report folder cannot be made: {}", folder.display()))?;
        probe(folder)?;
    }
    if let Some(file) = json {
        if file.is_dir() {
            bail!("--json needs a file, this is a folder: {}", file.display());
        }
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        probe(folder)?;
    }
    Ok(())
}

fn probe(folder: &Path) -> Result<()> {
    let file = folder.join(format!(".kaizen-write-test-{}", std::process::id()));
    std::fs::write(&file, b"")
        .with_context(|| format!("output folder cannot be written: {}", folder.display()))?;
    std::fs::remove_file(&file)
        .with_context(|| format!("output folder cannot be written: {}", folder.display()))
}

/// The accuracies of one method after each task on the test frames of the tasks so far.
pub(crate) fn grid(outcome: &StreamOutcome, method: &str) -> Grid {
    let name = |names: &Vec<String>| {
        if names.is_empty() { "nothing new".to_owned() } else { names.join(", ") }
    };
    let rows = outcome.methods.get(method).map(|m| m.accuracy_matrix.as_slice()).unwrap_or_default();
    let row = |(t, row): (usize, &Vec<f64>)| {
        let taught = |(k, &v): (usize, &f64)| (k <= t).then_some(known(outcome, v));
        (format!("after task {t}"), row.iter().enumerate().map(taught).collect())
    };
    Grid {
        columns: outcome.tasks.iter().map(name).collect(),
        rows: rows.iter().enumerate().map(row).collect(),
    }
}

/// An accuracy, which nothing is without test frames.
fn known(outcome: &StreamOutcome, accuracy: f64) -> f64 {
    if outcome.test_frames == 0 { f64::NAN } else { accuracy }
}

/// The figures of all methods.
pub(crate) fn table(outcome: &StreamOutcome) -> Table {
    let row = |name: &str| {
        let method = outcome.methods.get(name)?;
        let figures = [method.final_accuracy, method.continual, method.forgetting];
        let figures = figures.map(|figure| Cell::figure(known(outcome, figure), Unit::Percent));
        Some([vec![name.into()], figures.into()].concat())
    };
    Table {
        columns: vec![
            Column::plain("method"),
            Column::highest("final"),
            Column::highest("continual"),
            Column::lowest("forgetting"),
        ],
        rows: ["kaizen", "slda", "naive", "joint"].into_iter().filter_map(row).collect(),
        caption: String::new(),
    }
}

/// The accuracy matrix of the learner beside that of the naive fine-tune, and the table of all
/// methods.
pub(crate) fn text(outcome: &StreamOutcome) -> String {
    if outcome.methods.is_empty() {
        return format!("{} frames seen, none with a label to learn from", outcome.frames);
    }
    let mut text = format!(
        "{} frames, {:.1} frames/s; {} test frames\n",
        outcome.frames, outcome.frames_per_sec, outcome.test_frames
    );
    for method in ["kaizen", "naive"] {
        text += &format!("\n{method}: accuracy on the test frames of each task\n");
        text += &text_grid(&grid(outcome, method));
    }
    text + "\n" + &text_table(&table(outcome))
}

/// Frames that could not be used make the run a failure, after all that could be learned was
/// learned and written.
pub(crate) fn rejected(outcome: &StreamOutcome, first: Option<&str>) -> Result<()> {
    match (outcome.rejected, first) {
        (0, _) => Ok(()),
        (count, first) => {
            bail!("{count} frames could not be used; the first: {}", first.unwrap_or("unknown"))
        }
    }
}

/// Writes the figures; keys are relied on by other tools.
pub(crate) fn write_json(file: &Path, facts: &Facts, outcome: &StreamOutcome) -> Result<()> {
    #[derive(Serialize)]
    struct Json<'a> {
        #[serde(flatten)]
        facts: &'a Facts,
        #[serde(flatten)]
        outcome: &'a StreamOutcome,
    }
    let text = serde_json::to_string_pretty(&Json { facts, outcome })?;
    write_atomic(file, text.as_bytes()).with_context(|| format!("JSON cannot be written: {}", file.display()))
}
