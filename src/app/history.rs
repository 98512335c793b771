//! `kaizen history`: the labels that count and the versions of the heads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::on_state::ReadState;
use super::outcome::Outcome;
use super::output;
use super::table::{Table, percent};
use crate::ids::SampleId;
use crate::memory::{LabelEntry, LabelId, Memory, VersionEntry, VersionId, VersionStatus};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    on: ReadState,
    /// Also every row of the label log: what was taken back, and when
    #[arg(long)]
    log: bool,
}

#[derive(Serialize)]
struct Record {
    labels: Vec<Label>,
    versions: Vec<VersionEntry>,
    serving: Option<VersionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Vec<LabelEntry>>,
}

#[derive(Serialize)]
struct Label {
    label_id: LabelId,
    class: String,
    sample: Option<SampleId>,
    name: Option<String>,
    created_millis: i64,
    /// Whether no later label of the same image counts instead.
    current: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let memory = Memory::open_read_only(&arguments.on.state)?;
    let history = memory.history()?;
    let serving = memory.published()?.map(|version| version.entry.id);
    let labels = history.labels.iter().filter(|entry| entry.counts).map(|entry| Label {
        label_id: entry.label_id,
        class: entry.class_name.clone(),
        sample: entry.sample,
        name: entry.sample_name.clone(),
        created_millis: entry.created_millis,
        current: entry.live,
    });
    let record = Record {
        labels: labels.collect(),
        serving,
        versions: history.versions,
        log: arguments.log.then_some(history.labels),
    };
    output::result(arguments.on.json, &record, || text(&record))?;
    Ok(Outcome::Done)
}

fn text(record: &Record) -> String {
    let mut classes: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for label in record.labels.iter().filter(|label| label.current) {
        classes.entry(&label.class).or_default().push(label.label_id.0);
    }
    let mut table = Table::new(["class", "images", "label ids"]);
    for (class, ids) in &classes {
        table.row([(*class).to_owned(), ids.len().to_string(), spans(ids)]);
    }
    let mut text = if classes.is_empty() { "no labels\n".to_owned() } else { table.to_string() };
    for version in &record.versions {
        text += &version_text(version, record.serving);
    }
    for entry in record.log.iter().flatten() {
        let name = entry.sample_name.as_deref().unwrap_or("every image");
        let kind = serde_json::to_value(entry.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or("?");
        let undone = entry.undone.map_or_else(String::new, |label| format!(" of label {label}"));
        text += &format!("\n{} {kind}{undone}: {} {name}", entry.label_id, entry.class_name);
    }
    text.trim_end().to_owned()
}

fn version_text(version: &VersionEntry, serving: Option<VersionId>) -> String {
    let status = match version.status {
        VersionStatus::Published if serving == Some(version.id) => "serves",
        VersionStatus::Published => "published",
        VersionStatus::RolledBack => "rolled back",
    };
    let figures = version.figures.clone().unwrap_or_default();
    let mut text = format!("\nversion {} {status}: {}, {}\n", version.id, version.head_kind, figures.reason);
    let accuracy = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
    let mut table = Table::new(["class", "before", "after", "samples"]);
    for class in &figures.classes {
        let name = class.class.clone().unwrap_or_else(|| "?".to_owned());
        table.row([name, accuracy(class.before), accuracy(class.after), class.samples.to_string()]);
    }
    if !figures.classes.is_empty() {
        text += &table.to_string();
    }
    text
}

/// Ascending numbers with runs drawn together: `1-4, 7`.
fn spans(ids: &[i64]) -> String {
    let mut text = String::new();
    for run in ids.chunk_by(|a, b| a + 1 == *b) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string never fails.
        let _ = match run {
            [first, .., last] => write!(text, "{comma}{first}-{last}"),
            [only] => write!(text, "{comma}{only}"),
            [] => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_are_drawn_together() {
        assert_eq!(super::spans(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        assert_eq!(super::spans(&[]), "");
    }
}
