//! The bake-off for people: tables in the terminal, a page with curves and matrices.

use kaizen_edge::low_level::number::real;

use super::groups::{Group, by_setting, groups};
use super::results::{Results, Run};
use crate::report::{Bar, Cell, Column, Curves, Grid, Report, Section, Series, Table, Unit, text_table};

/// The tables as text.
pub(super) fn text(results: &Results) -> String {
    let groups = groups(results);
    let settings = by_setting(results, &groups).into_iter();
    let tables = settings.map(|(setting, here)| format!("{setting}\n{}", text_table(&table(&here))));
    tables.collect::<Vec<_>>().join("\n")
}

/// The whole page.
pub(super) fn report(results: &Results) -> Report {
    let head = &results.head;
    let groups = groups(results);
    let mut sections = Vec::new();
    for (setting, here) in by_setting(results, &groups) {
        sections.push((setting.clone(), Section::Table(table(&here))));
        let title = format!("Mean accuracy on the tasks so far, {setting}");
        sections.push((title, Section::Curves(curves(&here))));
        let bars = here.iter().map(|group| {
            let (value, spread) = group.of(|run| run.last);
            Bar { name: group.method.to_owned(), value, spread }
        });
        sections.push((format!("Final accuracy, {setting}"), Section::Bars(Unit::Percent, bars.collect())));
    }
    for group in &groups {
        sections.push((format!("{}, {}", group.method, group.setting), Section::Grid(grid(group))));
    }
    let facts = [
        ("model", head.model.clone()),
        ("pictures", format!("{} to learn from, {} to be judged by", head.train, head.test)),
        (
            "scenario",
            format!("{}-incremental, class order of seed {}", head.scenario.name(), head.class_order_seed),
        ),
        ("unlabelled", format!("imbalance {}, strangers {}", head.imbalance, head.strangers)),
        ("runs", results.runs.len().to_string()),
    ];
    Report {
        title: format!("Bake-off on {}", head.dataset),
        subtitle: format!(
            "{} classes in {} tasks, every method on the same frozen features",
            head.classes, head.tasks
        ),
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        sections,
    }
}

fn table(groups: &[&Group<'_>]) -> Table {
    let megabytes = |run: &Run| real(run.memory_bytes) / 1e6;
    let row = |group: &&Group<'_>| {
        vec![
            group.method.into(),
            group.percent(|run| run.last),
            group.percent(|run| run.continual),
            group.mean(3, |run| run.forgetting),
            group.mean(3, |run| run.backward_transfer),
            group.mean(1, |run| run.learning_secs),
            group.mean(1, megabytes),
            Cell::figure(real(group.runs.len()), Unit::Decimals(0)),
        ]
    };
    Table {
        columns: vec![
            Column::plain("method"),
            Column::highest("final"),
            Column::highest("continual"),
            Column::lowest("forgetting"),
            Column::highest("backward transfer"),
            Column::lowest("learning, s"),
            Column::lowest("memory, MB"),
            Column::plain("seeds"),
        ],
        rows: groups.iter().map(row).collect(),
        caption: "Mean ± deviation over seeds; best in bold.".to_owned(),
    }
}

fn curves(groups: &[&Group<'_>]) -> Curves {
    let series = |group: &&Group<'_>| {
        let tasks = group.runs.first().map_or(0, |run| run.accuracy_matrix.len());
        let so_far = |task: usize| group.of(|run| run.so_far().nth(task).unwrap_or(f64::NAN)).0;
        let points = (0..tasks).map(|task| (real(task + 1), so_far(task))).collect();
        Series { name: group.method.to_owned(), points }
    };
    Curves {
        x_label: "tasks learned".to_owned(),
        y_label: "accuracy".to_owned(),
        unit: Unit::Percent,
        series: groups.iter().map(series).collect(),
        y_range: Some((0.0, 1.0)),
    }
}

fn grid(group: &Group<'_>) -> Grid {
    let tasks = group.runs.first().map_or(0, |run| run.accuracy_matrix.len());
    let cell = |after: usize, on: usize| {
        let (mean, _) = group.of(|run| run.accuracy_matrix[after][on]);
        (on <= after || mean > 0.0).then_some(mean)
    };
    let row = |after: usize| (format!("after {}", after + 1), (0..tasks).map(|on| cell(after, on)).collect());
    Grid {
        columns: (1..=tasks).map(|task| format!("task {task}")).collect(),
        rows: (0..tasks).map(row).collect(),
    }
}

/// Two reports beside one another: as text and as a page.
pub(super) fn comparison(a: &Results, b: &Results) -> (String, Report) {
    let (of_a, of_b) = (groups(a), groups(b));
    let in_both = of_a.iter().map(|one| (Some(one), of_b.iter().find(|other| one.is_like(other))));
    let in_b = of_b.iter().filter(|other| !of_a.iter().any(|one| one.is_like(other)));
    let pairs = in_both.chain(in_b.map(|other| (None, Some(other))));
    let row = |(one, other): (Option<&Group<'_>>, Option<&Group<'_>>)| {
        let named = one.or(other)?;
        let missing = || Cell::figure(f64::NAN, Unit::Number);
        let last = |group: Option<&Group<'_>>| group.map_or_else(missing, |g| g.percent(|run| run.last));
        let forgetting =
            |group: Option<&Group<'_>>| group.map_or_else(missing, |g| g.mean(3, |run| run.forgetting));
        let change = one.zip(other).map_or(f64::NAN, |(one, other)| 100.0 * (other.last() - one.last()));
        Some(vec![
            named.method.into(),
            named.setting.as_str().into(),
            last(one),
            last(other),
            Cell::figure(change, Unit::Change),
            forgetting(one),
            forgetting(other),
        ])
    };
    let columns =
        ["method", "setting", "final A", "final B", "B - A, points", "forgetting A", "forgetting B"];
    let table = Table {
        columns: columns.map(Column::plain).into(),
        rows: pairs.filter_map(row).collect(),
        caption: String::new(),
    };
    let describe = |results: &Results| {
        let head = &results.head;
        format!("{}, {}, {} tasks, {} runs", head.dataset, head.model, head.tasks, results.runs.len())
    };
    let text = format!("A: {}\nB: {}\n{}", describe(a), describe(b), text_table(&table));
    let report = Report {
        title: "Two bake-offs".to_owned(),
        subtitle: "The same methods and settings side by side".to_owned(),
        facts: vec![("A".to_owned(), describe(a)), ("B".to_owned(), describe(b))],
        sections: vec![("Runs".to_owned(), Section::Table(table))],
    };
    (text, report)
}
