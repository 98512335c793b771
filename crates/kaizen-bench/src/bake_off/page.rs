//! The bake-off for people: tables in the terminal, a page with curves and matrices.

use super::outcome::{Results, Run};
use crate::report::{Bar, Column, Report, Section, Series, Unit, percent, text_table};

/// All seeds of one method in one setting.
struct Group<'a> {
    method: &'a str,
    setting: String,
    runs: Vec<&'a Run>,
}

/// Mean and sample deviation.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of runs")]
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

impl Group<'_> {
    fn of(&self, value: impl Fn(&Run) -> f64) -> (f64, f64) {
        spread(self.runs.iter().map(|run| value(run)))
    }

    fn percent(&self, value: impl Fn(&Run) -> f64) -> String {
        let (mean, deviation) = self.of(value);
        if self.runs.len() == 1 {
            return percent(mean);
        }
        format!("{} ± {:.1}", percent(mean), 100.0 * deviation)
    }
}

fn setting(run: &Run) -> String {
    let replay = run.replay.as_str().map_or_else(|| run.replay.to_string(), str::to_owned);
    format!("labels {}, replay {replay}", run.labels)
}

/// Settings in the order of their first run, methods by final accuracy.
fn groups(results: &Results) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in &results.runs {
        let name = setting(run);
        match groups.iter_mut().find(|group| group.method == run.method && group.setting == name) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { method: &run.method, setting: name, runs: vec![run] }),
        }
    }
    groups.sort_by(|a, b| b.of(|run| run.last).0.total_cmp(&a.of(|run| run.last).0));
    groups
}

fn settings(results: &Results) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in &results.runs {
        let name = setting(run);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn columns() -> Vec<Column> {
    vec![
        Column::plain("method"),
        Column::highest("final"),
        Column::highest("continual"),
        Column::lowest("forgetting"),
        Column::highest("backward transfer"),
        Column::lowest("learning, s"),
        Column::lowest("memory, MB"),
        Column::plain("seeds"),
    ]
}

fn rows(groups: &[&Group<'_>]) -> Vec<Vec<String>> {
    let row = |group: &&Group<'_>| {
        #[expect(clippy::cast_precision_loss, reason = "bytes shown in megabytes")]
        let memory = group.of(|run| run.memory_bytes as f64 / 1e6).0;
        vec![
            group.method.to_owned(),
            group.percent(|run| run.last),
            group.percent(|run| run.continual),
            format!("{:.3}", group.of(|run| run.forgetting).0),
            format!("{:.3}", group.of(|run| run.backward_transfer).0),
            format!("{:.1}", group.of(|run| run.learning_secs).0),
            format!("{memory:.1}"),
            group.runs.len().to_string(),
        ]
    };
    groups.iter().map(row).collect()
}

fn within<'a, 'b>(groups: &'b [Group<'a>], setting: &str) -> Vec<&'b Group<'a>> {
    groups.iter().filter(|group| group.setting == setting).collect()
}

/// The tables as text.
pub(super) fn text(results: &Results) -> String {
    let groups = groups(results);
    let table =
        |name: &String| format!("{name}\n{}", text_table(&columns(), &rows(&within(&groups, name)), false));
    settings(results).iter().map(table).collect::<Vec<_>>().join("\n")
}

/// The whole page.
pub(super) fn report(results: &Results) -> Report {
    let head = &results.head;
    let groups = groups(results);
    let mut sections = Vec::new();
    for name in settings(results) {
        let here = within(&groups, &name);
        sections.push(Section::Table {
            title: name.clone(),
            columns: columns(),
            rows: rows(&here),
            caption: "Mean ± deviation over seeds; best in bold.".into(),
        });
        sections.push(curves(&format!("Mean accuracy on the tasks so far, {name}"), &here));
        sections.push(bars(&format!("Final accuracy, {name}"), &here));
    }
    for group in &groups {
        sections.push(matrix(group));
    }
    Report {
        title: format!("Bake-off on {}", head.dataset),
        subtitle: format!(
            "{} classes in {} tasks, every method on the same frozen features",
            head.classes, head.tasks
        ),
        facts: vec![
            ("model".into(), head.model.clone()),
            ("pictures".into(), format!("{} to learn from, {} to be judged by", head.train, head.test)),
            (
                "scenario".into(),
                format!("{}-incremental, class order of seed {}", head.scenario, head.class_order_seed),
            ),
            ("unlabelled".into(), format!("imbalance {}, strangers {}", head.imbalance, head.strangers)),
            ("runs".into(), results.runs.len().to_string()),
        ],
        sections,
    }
}

#[expect(clippy::cast_precision_loss, reason = "task numbers")]
fn curves(title: &str, groups: &[&Group<'_>]) -> Section {
    let series = |group: &&Group<'_>| {
        let tasks = group.runs.first().map_or(0, |run| run.accuracy_matrix.len());
        let point = |task: usize| {
            let so_far =
                |run: &Run| run.accuracy_matrix[task][..=task].iter().sum::<f64>() / (task + 1) as f64;
            ((task + 1) as f64, group.of(so_far).0)
        };
        Series { name: group.method.to_owned(), points: (0..tasks).map(point).collect() }
    };
    Section::Curves {
        title: title.to_owned(),
        x_label: "tasks learned".into(),
        y_label: "accuracy".into(),
        unit: Unit::Percent,
        series: groups.iter().map(series).collect(),
        y_range: Some((0.0, 1.0)),
    }
}

fn bars(title: &str, groups: &[&Group<'_>]) -> Section {
    let bar = |group: &&Group<'_>| {
        let (value, deviation) = group.of(|run| run.last);
        Bar { name: group.method.to_owned(), value, spread: (group.runs.len() > 1).then_some(deviation) }
    };
    Section::Bars {
        title: title.to_owned(),
        unit: Unit::Percent,
        bars: groups.iter().map(bar).collect(),
        caption: String::new(),
    }
}

fn matrix(group: &Group<'_>) -> Section {
    let tasks = group.runs.first().map_or(0, |run| run.accuracy_matrix.len());
    let cell = |after: usize, on: usize| {
        let (mean, _) = group.of(|run| run.accuracy_matrix[after][on]);
        (on <= after || mean > 0.0).then_some(mean)
    };
    Section::Matrix {
        title: format!("{}, {}", group.method, group.setting),
        row_labels: (1..=tasks).map(|task| format!("after {task}")).collect(),
        column_labels: (1..=tasks).map(|task| format!("task {task}")).collect(),
        values: (0..tasks).map(|after| (0..tasks).map(|on| cell(after, on)).collect()).collect(),
    }
}

/// Two reports beside one another: as text and as a page.
pub(super) fn comparison(a: &Results, b: &Results) -> (String, Report) {
    let columns = vec![
        Column::plain("method"),
        Column::plain("setting"),
        Column::plain("final A"),
        Column::plain("final B"),
        Column::plain("B - A, points"),
        Column::plain("forgetting A"),
        Column::plain("forgetting B"),
    ];
    let (of_a, of_b) = (groups(a), groups(b));
    let mut rows = Vec::new();
    let mut row = |one: Option<&Group<'_>>, other: Option<&Group<'_>>| {
        let Some(named) = one.or(other) else { return };
        let last =
            |group: Option<&Group<'_>>| group.map_or("–".into(), |group| group.percent(|run| run.last));
        let forgetting = |group: Option<&Group<'_>>| {
            group.map_or("–".into(), |g| format!("{:.3}", g.of(|run| run.forgetting).0))
        };
        let change = one.zip(other).map_or("–".into(), |(one, other)| {
            format!("{:+.1}", 100.0 * (other.of(|run| run.last).0 - one.of(|run| run.last).0))
        });
        let (method, setting) = (named.method.to_owned(), named.setting.clone());
        rows.push(vec![method, setting, last(one), last(other), change, forgetting(one), forgetting(other)]);
    };
    for one in &of_a {
        row(Some(one), of_b.iter().find(|other| same(one, other)));
    }
    for other in of_b.iter().filter(|other| !of_a.iter().any(|one| same(one, other))) {
        row(None, Some(other));
    }
    let text = text_table(&columns, &rows, false);
    let describe = |results: &Results| {
        let head = &results.head;
        format!("{}, {}, {} tasks, {} runs", head.dataset, head.model, head.tasks, results.runs.len())
    };
    let report = Report {
        title: "Two bake-offs".into(),
        subtitle: "The same methods and settings side by side".into(),
        facts: vec![("A".into(), describe(a)), ("B".into(), describe(b))],
        sections: vec![Section::Table { title: "Runs".into(), columns, rows, caption: String::new() }],
    };
    (format!("A: {}\nB: {}\n{text}", describe(a), describe(b)), report)
}

fn same(a: &Group<'_>, b: &Group<'_>) -> bool {
    a.method == b.method && a.setting == b.setting
}
