//! The figures at the end as a page.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kaizen_bench::report::{Curves, Report, Section, Series, Unit};
use kaizen_bench::stream::StreamOutcome;

use crate::summary::{Facts, grid, table};
use crate::task_curves::TaskCurves;

/// Writes `FOLDER/report.html` and gives its path.
pub(crate) fn write_report(
    folder: &Path,
    facts: &Facts,
    outcome: &StreamOutcome,
    curves: &TaskCurves,
) -> Result<PathBuf> {
    let caption = "joint: a linear head on all frames at once. naive: fine-tuned on each task alone.";
    let mut methods = table(outcome);
    methods.caption = caption.to_owned();
    let mut sections = vec![("Methods on the same frames".to_owned(), Section::Table(methods))];
    for method in ["kaizen", "naive", "slda"] {
        let title = format!("{method}: accuracy on each task's test frames");
        sections.push((title, Section::Grid(grid(outcome, method))));
    }
    let mean = |method: &str| Series { name: method.to_owned(), points: seen_mean(outcome, method) };
    let accuracies = Curves {
        x_label: "task".to_owned(),
        y_label: "accuracy".to_owned(),
        unit: Unit::Percent,
        series: ["kaizen", "slda", "naive"].map(mean).into(),
        y_range: Some((0.0, 1.0)),
    };
    sections.push(("Mean accuracy on the tasks seen so far".to_owned(), Section::Curves(accuracies)));
    let speeds = Curves {
        x_label: "seconds of learning".to_owned(),
        y_label: "accuracy on held-out frames".to_owned(),
        unit: Unit::Percent,
        series: by_task(&curves.accuracies),
        y_range: None,
    };
    sections.push(("At once, and after the tail has been trained".to_owned(), Section::Curves(speeds)));
    let losses = Curves {
        x_label: "step".to_owned(),
        y_label: "loss".to_owned(),
        unit: Unit::Number,
        series: by_task(&curves.losses),
        y_range: None,
    };
    sections.push(("Training loss".to_owned(), Section::Curves(losses)));
    let facts = [
        ("source", facts.source.clone()),
        ("model", facts.model.clone()),
        ("provider", format!("{} ({})", facts.provider, facts.runtime)),
        ("engine", format!("{} on {}", facts.engine, facts.adapter)),
        ("frames per second", format!("{:.1}", outcome.frames_per_sec)),
    ];
    let report = Report {
        title: "What the camera learned".to_owned(),
        subtitle: format!(
            "{} frames, {} tasks, {} test frames",
            outcome.frames,
            outcome.tasks.len(),
            outcome.test_frames
        ),
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        sections,
    };
    let page = folder.join("report.html");
    report.write(&page)?;
    Ok(page)
}

fn by_task(curves: &[Vec<(f64, f64)>]) -> Vec<Series> {
    let series = curves.iter().enumerate();
    series.map(|(task, points)| Series { name: format!("task {task}"), points: points.clone() }).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of tasks")]
fn seen_mean(outcome: &StreamOutcome, method: &str) -> Vec<(f64, f64)> {
    let rows = outcome.methods.get(method).map(|m| m.accuracy_matrix.as_slice()).unwrap_or_default();
    let mean = |(t, row): (usize, &Vec<f64>)| (t as f64, row[..=t].iter().sum::<f64>() / (t + 1) as f64);
    rows.iter().enumerate().map(mean).collect()
}
