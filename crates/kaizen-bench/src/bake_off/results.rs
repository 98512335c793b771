//! `report.json`: the runs and their results.

use std::path::Path;

use anyhow::Context as _;
use kaizen_edge::low_level::file::write_atomic;
use kaizen_edge::low_level::number::real;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jobs::Job;
use super::{Arguments, page};
use crate::dataset::Dataset;
use crate::methods::Outcome;
use crate::scenario::Increment;

/// One finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) method: String,
    pub(super) labels: f64,
    /// A share as a number, anything else as it is typed.
    pub(super) replay: Value,
    pub(super) seed: u64,
    /// Row t holds the accuracies after task t.
    pub(super) accuracy_matrix: Vec<Vec<f64>>,
    #[serde(rename = "final")]
    pub(super) last: f64,
    pub(super) continual: f64,
    pub(super) forgetting: f64,
    pub(super) backward_transfer: f64,
    /// `null`: it needs a probe of a random network, and none is trained.
    pub(super) forward_transfer: Option<f64>,
    pub(super) learning_secs: f64,
    pub(super) memory_bytes: usize,
    /// `null`: no board is asked so far.
    pub(super) energy_joules: Option<f64>,
    /// Area under the ROC curve of novelty, classes of later tasks against those so far; `null`
    /// for a method without novelty.
    #[serde(default)]
    pub(super) unknown_auroc: Option<f64>,
    /// Share of the later classes taken for known where 95 % of the known are accepted.
    #[serde(default)]
    pub(super) unknown_fpr95: Option<f64>,
}

impl Run {
    pub(super) fn new(job: &Job, outcome: &Outcome) -> Self {
        let matrix = &outcome.matrix;
        Self {
            method: job.method.name.to_owned(),
            labels: job.labels,
            replay: replay(job),
            seed: job.seed,
            accuracy_matrix: matrix.rows().to_vec(),
            last: matrix.final_accuracy(),
            continual: matrix.continual_accuracy(),
            forgetting: matrix.forgetting(),
            backward_transfer: matrix.backward_transfer(),
            forward_transfer: None,
            learning_secs: outcome.learning.as_secs_f64(),
            memory_bytes: outcome.memory_bytes,
            energy_joules: None,
            unknown_auroc: outcome.unknowns.map(|unknowns| unknowns.auroc),
            unknown_fpr95: outcome.unknowns.map(|unknowns| unknowns.fpr95),
        }
    }

    fn is(&self, job: &Job) -> bool {
        let same_labels = self.labels.to_bits() == job.labels.to_bits();
        self.method == job.method.name && same_labels && self.replay == replay(job) && self.seed == job.seed
    }

    /// The mean accuracy after each task on the tasks so far.
    pub(super) fn so_far(&self) -> impl Iterator<Item = f64> {
        let rows = self.accuracy_matrix.iter().enumerate();
        rows.map(|(task, row)| row[..=task].iter().sum::<f64>() / real(task + 1))
    }

    /// The run in one line.
    pub(super) fn line(&self) -> String {
        format!(
            "final {:.1} %, continual {:.1} %, forgetting {:.3}, {:.1} s",
            100.0 * self.last,
            100.0 * self.continual,
            self.forgetting,
            self.learning_secs
        )
    }
}

fn replay(job: &Job) -> Value {
    let text = job.replay.to_string();
    text.parse::<f64>().map_or(Value::String(text), Value::from)
}

/// What all runs of a report have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) dataset: String,
    pub(super) model: String,
    pub(super) tasks: usize,
    pub(super) classes: usize,
    pub(super) train: usize,
    pub(super) test: usize,
    pub(super) scenario: Increment,
    pub(super) class_order_seed: u64,
    pub(super) imbalance: f64,
    pub(super) strangers: f64,
    pub(super) views: usize,
}

/// The figures of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) runs: Vec<Run>,
}

impl Results {
    pub(super) fn new(arguments: &Arguments, dataset: &Dataset, model: &str) -> Self {
        let head = Head {
            dataset: dataset.name.clone(),
            model: model.to_owned(),
            tasks: arguments.tasks,
            classes: dataset.classes.len(),
            train: dataset.train.len(),
            test: dataset.test.len(),
            scenario: arguments.scenario,
            class_order_seed: arguments.class_order_seed,
            imbalance: arguments.imbalance,
            strangers: arguments.strangers,
            views: arguments.views,
        };
        Self { head, runs: Vec::new() }
    }

    /// Takes up the runs of an earlier report at `path`, if there is one and it has the same head.
    pub(super) fn resume(path: &Path, fresh: Self) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(fresh);
        }
        let old = Self::read(path)?;
        anyhow::ensure!(
            old.head == fresh.head,
            "{} is of another data set, model or scenario: choose another --out",
            path.display()
        );
        Ok(old)
    }

    /// Reads a `report.json`, or that of a folder.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let path = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
        let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no report of kaizen-bench", path.display()))
    }

    pub(super) fn has(&self, job: &Job) -> bool {
        self.runs.iter().any(|run| run.is(job))
    }

    /// Writes `report.json` and `report.html` into `folder`, each whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        write_atomic(folder.join("report.json"), &serde_json::to_vec_pretty(self)?)?;
        page::report(self).write(folder.join("report.html"))?;
        Ok(())
    }
}
