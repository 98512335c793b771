//! The runs of a report by method and setting, over all seeds.

use kaizen_edge::low_level::number::real;

use super::results::{Results, Run};
use crate::report::{Cell, Unit};

/// All seeds of one method in one setting.
pub(super) struct Group<'a> {
    pub(super) method: &'a str,
    pub(super) setting: String,
    pub(super) runs: Vec<&'a Run>,
}

impl Group<'_> {
    /// Mean over the seeds, and the sample deviation if there are several.
    pub(super) fn of(&self, value: impl Fn(&Run) -> f64) -> (f64, Option<f64>) {
        let values: Vec<f64> = self.runs.iter().map(|run| value(run)).collect();
        let mean = values.iter().sum::<f64>() / real(values.len());
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let several = (values.len() > 1).then(|| real(values.len() - 1));
        (mean, several.map(|others| (squares / others).sqrt()))
    }

    pub(super) fn last(&self) -> f64 {
        self.of(|run| run.last).0
    }

    /// Mean and deviation in percent.
    pub(super) fn percent(&self, value: impl Fn(&Run) -> f64) -> Cell {
        let (value, spread) = self.of(value);
        Cell::Figure { value, spread, unit: Unit::Percent }
    }

    /// The mean with this many decimals.
    pub(super) fn mean(&self, decimals: u8, value: impl Fn(&Run) -> f64) -> Cell {
        Cell::figure(self.of(value).0, Unit::Decimals(decimals))
    }

    pub(super) fn is_like(&self, other: &Group<'_>) -> bool {
        self.method == other.method && self.setting == other.setting
    }
}

/// The groups of a report by final accuracy, the best first.
pub(super) fn groups(results: &Results) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in &results.runs {
        let setting = setting(run);
        match groups.iter_mut().find(|group| group.method == run.method && group.setting == setting) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { method: &run.method, setting, runs: vec![run] }),
        }
    }
    groups.sort_by(|a, b| b.last().total_cmp(&a.last()));
    groups
}

/// The settings in the order of their first run, each with its groups.
pub(super) fn by_setting<'a, 'b>(
    results: &Results,
    groups: &'b [Group<'a>],
) -> Vec<(String, Vec<&'b Group<'a>>)> {
    let mut settings: Vec<String> = Vec::new();
    for setting in results.runs.iter().map(setting) {
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    let within = |setting: &String| groups.iter().filter(|group| group.setting == *setting).collect();
    settings.into_iter().map(|setting| (setting.clone(), within(&setting))).collect()
}

fn setting(run: &Run) -> String {
    let replay = run.replay.as_str().map_or_else(|| run.replay.to_string(), str::to_owned);
    format!("labels {}, replay {replay}", run.labels)
}
