//! The figures at the end: on the terminal, as JSON, as a page.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kaizen_edge::report::{
    Column, Report, Section, Series, Unit, percent, text_matrix, text_table, write_atomic,
};
use kaizen_edge::session::StreamOutcome;
use serde::Serialize;

/// What really ran.
#[derive(Serialize)]
pub struct Facts {
    pub engine: &'static str,
    pub provider: String,
    pub adapter: String,
    pub runtime: String,
    pub model: String,
    pub source: String,
}

/// Fails before the run rather than after it if an output cannot be written.
pub fn check_outputs(report: Option<&Path>, json: Option<&Path>) -> Result<()> {
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

fn task_names(outcome: &StreamOutcome) -> Vec<String> {
    outcome
        .tasks
        .iter()
        .map(|names| if names.is_empty() { "nothing new".to_owned() } else { names.join(", ") })
        .collect()
}

fn matrix(outcome: &StreamOutcome, method: &str) -> Vec<Vec<Option<f64>>> {
    let rows = outcome.methods.get(method).map(|m| m.accuracy_matrix.as_slice()).unwrap_or_default();
    let taught =
        |t: usize, row: &Vec<f64>| row.iter().enumerate().map(|(k, &v)| (k <= t).then_some(v)).collect();
    rows.iter().enumerate().map(|(t, row)| taught(t, row)).collect()
}

fn after(outcome: &StreamOutcome) -> Vec<String> {
    (0..outcome.tasks.len()).map(|t| format!("after task {t}")).collect()
}

fn columns() -> Vec<Column> {
    vec![
        Column::plain("method"),
        Column::highest("final"),
        Column::highest("continual"),
        Column::lowest("forgetting"),
    ]
}

fn rows(outcome: &StreamOutcome) -> Vec<Vec<String>> {
    let row = |name: &str| {
        let method = outcome.methods.get(name)?;
        let figures = [method.final_accuracy, method.continual, method.forgetting].map(percent);
        Some([vec![name.to_owned()], figures.into()].concat())
    };
    ["kaizen", "slda", "naive", "joint"].into_iter().filter_map(row).collect()
}

/// The accuracy matrix of the learner beside that of the naive fine-tune, and the table of all methods.
pub fn text(outcome: &StreamOutcome) -> String {
    if outcome.methods.is_empty() {
        return format!("{} frames seen, none with a label to learn from", outcome.frames);
    }
    let (after, names) = (after(outcome), task_names(outcome));
    let mut text = format!(
        "{} frames, {:.1} frames/s; {} test frames\n",
        outcome.frames, outcome.frames_per_sec, outcome.test_frames
    );
    for method in ["kaizen", "naive"] {
        text += &format!("\n{method}: accuracy on the test frames of each task\n");
        text += &text_matrix(&after, &names, &matrix(outcome, method), false);
    }
    text + "\n" + &text_table(&columns(), &rows(outcome), false)
}

/// Frames that could not be used make the run a failure, after all that could be learned was learned and written.
pub fn rejected(outcome: &StreamOutcome, first: Option<&str>) -> Result<()> {
    match (outcome.rejected, first) {
        (0, _) => Ok(()),
        (count, first) => {
            bail!("{count} frames could not be used; the first: {}", first.unwrap_or("unknown"))
        }
    }
}

/// Writes the figures; keys are relied on by other tools.
pub fn write_json(file: &Path, facts: &Facts, outcome: &StreamOutcome) -> Result<()> {
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

/// Writes `FOLDER/report.html` and gives its path.
pub fn write_report(
    folder: &Path,
    facts: &Facts,
    outcome: &StreamOutcome,
    losses: &[Vec<(f64, f64)>],
) -> Result<PathBuf> {
    let (after, names) = (after(outcome), task_names(outcome));
    let mut sections = vec![Section::Table {
        title: "Methods on the same frames".to_owned(),
        columns: columns(),
        rows: rows(outcome),
        caption: "joint: a linear head on all frames at once. naive: fine-tuned on each task alone."
            .to_owned(),
    }];
    for method in ["kaizen", "naive", "slda"] {
        sections.push(Section::Matrix {
            title: format!("{method}: accuracy on each task's test frames"),
            row_labels: after.clone(),
            column_labels: names.clone(),
            values: matrix(outcome, method),
        });
    }
    let mean = |method: &str| Series { name: method.to_owned(), points: seen_mean(outcome, method) };
    sections.push(Section::Curves {
        title: "Mean accuracy on the tasks seen so far".to_owned(),
        x_label: "task".to_owned(),
        y_label: "accuracy".to_owned(),
        unit: Unit::Percent,
        series: ["kaizen", "slda", "naive"].map(mean).into(),
        y_range: Some((0.0, 1.0)),
    });
    let curve = |(task, points): (usize, &Vec<(f64, f64)>)| Series {
        name: format!("task {task}"),
        points: points.clone(),
    };
    sections.push(Section::Curves {
        title: "Training loss".to_owned(),
        x_label: "step".to_owned(),
        y_label: "loss".to_owned(),
        unit: Unit::Number,
        series: losses.iter().enumerate().map(curve).collect(),
        y_range: None,
    });
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let report = Report {
        title: "What the camera learned".to_owned(),
        subtitle: format!(
            "{} frames, {} tasks, {} test frames",
            outcome.frames,
            outcome.tasks.len(),
            outcome.test_frames
        ),
        facts: vec![
            fact("source", &facts.source),
            fact("model", &facts.model),
            fact("provider", &format!("{} ({})", facts.provider, facts.runtime)),
            fact("engine", &format!("{} on {}", facts.engine, facts.adapter)),
            fact("frames per second", &format!("{:.1}", outcome.frames_per_sec)),
        ],
        sections,
    };
    let page = folder.join("report.html");
    report.write(&page)?;
    Ok(page)
}

#[allow(clippy::cast_precision_loss, reason = "counts of tasks")]
fn seen_mean(outcome: &StreamOutcome, method: &str) -> Vec<(f64, f64)> {
    let rows = outcome.methods.get(method).map(|m| m.accuracy_matrix.as_slice()).unwrap_or_default();
    let mean = |(t, row): (usize, &Vec<f64>)| (t as f64, row[..=t].iter().sum::<f64>() / (t + 1) as f64);
    rows.iter().enumerate().map(mean).collect()
}
