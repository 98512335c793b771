//! The figures at the end as a page.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kaizen_bench::report::{Report, Section, Series, Unit};
use kaizen_bench::stream::StreamOutcome;

use crate::summary::{Facts, after, columns, matrix, rows, task_names};

/// Writes `FOLDER/report.html` and gives its path.
pub(crate) fn write_report(
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
