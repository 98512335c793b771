//! What a page must be: well formed, safe, complete with odd data, and written whole or not at all.

use std::fs;

use super::*;

/// Follows every tag of a page; an error names the first that does not fit. Text may hold no bare
/// `<` or `&`.
fn well_formed(page: &str) -> std::result::Result<(), String> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("doctype")?;
    let mut open: Vec<&str> = Vec::new();
    while let Some(start) = rest.find('<') {
        entities(&rest[..start])?;
        let end = start + rest[start..].find('>').ok_or("tag without end")?;
        let tag = &rest[start + 1..end];
        if tag.contains('<') || tag.matches('"').count() % 2 == 1 {
            return Err(format!("broken tag {tag}"));
        }
        entities(tag)?;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            let last = open.pop();
            if last != Some(name) {
                return Err(format!("</{name}> closes {last:?}"));
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    entities(rest)?;
    if open.is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

fn entities(text: &str) -> std::result::Result<(), String> {
    let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&apos;"];
    match text.match_indices('&').find(|(i, _)| !known.iter().any(|entity| text[*i..].starts_with(entity))) {
        Some((i, _)) => Err(format!("bare & at {:?}", text[i..].chars().take(20).collect::<String>())),
        None => Ok(()),
    }
}

fn line(name: &str, points: &[(f64, f64)]) -> Series {
    Series { name: name.to_owned(), points: points.to_vec() }
}

fn curves(series: Vec<Series>) -> Section {
    Section::Curves(Curves {
        x_label: "tasks".to_owned(),
        y_label: "accuracy".to_owned(),
        unit: Unit::Percent,
        series,
        y_range: Some((0.0, 1.0)),
    })
}

fn grid(labels: &[&str], values: Vec<Vec<Option<f64>>>) -> Grid {
    let labels = labels.iter().map(|label| (*label).to_owned());
    Grid { columns: labels.clone().collect(), rows: labels.zip(values).collect() }
}

fn page(sections: Vec<Section>) -> String {
    let sections = sections.into_iter().map(|section| ("section".to_owned(), section)).collect();
    let page = Report { title: "R".to_owned(), sections, ..Report::default() }.html();
    assert_eq!(well_formed(&page), Ok(()));
    page
}

/// Every kind of section, with `word` wherever a caller's text goes.
fn everything(word: &str) -> Report {
    let name = || word.to_owned();
    let sections = vec![
        Section::Grid(grid(&[word], vec![vec![Some(0.5)]])),
        Section::Curves(Curves {
            x_label: name(),
            y_label: name(),
            unit: Unit::Number,
            series: vec![line(word, &[(0.0, 1.0), (1.0, 2.0)]), line(word, &[])],
            y_range: None,
        }),
        Section::Table(Table {
            columns: vec![Column::highest(word)],
            rows: vec![vec![word.into()], vec![word.into()]],
            caption: name(),
        }),
        Section::Bars(Unit::Percent, vec![Bar { name: name(), value: 1.0, spread: Some(0.1) }]),
    ];
    Report {
        title: name(),
        subtitle: name(),
        facts: vec![(name(), name())],
        sections: sections.into_iter().map(|section| (name(), section)).collect(),
    }
}

#[test]
fn every_section_is_well_formed_and_fetches_nothing() {
    let html = everything("plain").html();
    assert_eq!(well_formed(&html), Ok(()));
    assert_eq!(html.matches("<svg").count(), 1, "the curves are a drawing, the rest is tables");
    for word in ["http://", "https://", "url(", "@import", "<link", "<iframe", "srcset"] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn the_check_for_well_formed_pages_can_fail() {
    for broken in ["<p>a</div>", "<p>a", "a & b", "<p class=\"a>b</p>", "<b><i></b></i>"] {
        assert!(well_formed(&format!("<!DOCTYPE html>\n{broken}")).is_err(), "{broken}");
    }
}

#[test]
fn hostile_names_stay_text() {
    for word in [
        "<script>alert('1')</script>",
        "\"><img src=x onerror=alert(1)>",
        "]]></style>",
        "a&b\u{0}\u{1b}[2J\u{202e}c",
    ] {
        let html = everything(word).html();
        assert_eq!(well_formed(&html), Ok(()), "{word}");
        assert_eq!(html.matches("<script").count(), 1, "{word}");
        assert_eq!(html.matches("<img").count(), 0, "{word}");
        assert!(!html.contains(word), "{word}");
        assert!(!html.contains(['\u{0}', '\u{1b}', '\u{202e}']));
    }
}

#[test]
fn terminal_output_obeys_no_class_name() {
    let label = "\u{1b}[2Jmug\nbowl";
    let matrix = text_grid(&grid(&[label], vec![vec![Some(0.5)]]));
    let table =
        Table { columns: vec![Column::plain("\u{7}")], rows: vec![vec![label.into()]], ..Table::default() };
    let table = text_table(&table);
    assert!(!matrix.contains('\u{1b}') && !table.contains(['\u{1b}', '\u{7}']));
    assert_eq!((matrix.lines().count(), table.lines().count()), (2, 3));
}

#[test]
fn one_task_is_one_cell() {
    let html = page(vec![Section::Grid(grid(&["first"], vec![vec![Some(0.8125)]]))]);
    assert_eq!(html.matches("<td class=\"cell ").count(), 1);
    assert!(html.contains(">81.2<"));
    assert!(!html.contains("ring\""), "one cell has no diagonal");
}

#[test]
fn missing_and_nan_cells_are_dashes_and_never_numbers() {
    let values = vec![vec![Some(f64::NAN), None], vec![Some(f64::INFINITY), Some(0.25)]];
    let grid = grid(&["a", "b"], values);
    let html = page(vec![Section::Grid(grid.clone())]);
    assert_eq!(html.matches(">–<").count(), 3);
    assert_eq!(html.matches(" ring\"").count(), 2, "the diagonal is outlined");
    assert!(!html.contains("NaN") && !html.contains(">inf"));
    assert_eq!(text_grid(&grid).matches('–').count(), 3);
    assert_eq!(percent(f64::NAN), "–");
}

#[test]
fn ragged_and_empty_matrices_are_tables_too() {
    let html =
        page(vec![Section::Grid(grid(&["a", "b"], vec![vec![Some(0.1)], vec![Some(0.1), Some(0.2)]]))]);
    assert_eq!(html.matches("<td class=\"cell ").count(), 3);
    assert!(page(vec![Section::Grid(Grid::default())]).contains("No tasks yet."));
}

#[test]
fn empty_lines_are_named_and_empty_charts_say_so() {
    let html = page(vec![curves(vec![line("full", &[(1.0, 0.5)]), line("hollow", &[(1.0, f64::NAN)])])]);
    assert!(html.contains("No data: hollow"));
    assert_eq!(strokes(&html).len(), 1);
    assert!(page(vec![curves(vec![])]).contains("No data yet."));
    assert!(page(vec![Section::Bars(Unit::Percent, vec![])]).contains("No data yet."));
}

/// Colour and points of every line that is drawn.
fn strokes(page: &str) -> Vec<(String, Vec<(i64, i64)>)> {
    let value = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!(" {name}=\""))?.1;
        Some(rest.split('"').next()?.to_owned())
    };
    let point = |text: &str| {
        let (x, y) = text.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    let lines = page.split("<polyline").skip(1).filter_map(|tag| {
        let colour = value(tag, "stroke").filter(|colour| colour.starts_with("var(--c"))?;
        Some((colour, value(tag, "points")?.split_whitespace().map(point).collect()))
    });
    lines.collect()
}

#[test]
fn drawings_hold_finite_coordinates_only() {
    let odd = [(0.0, 0.5), (1.0, f64::NAN), (2.0, 0.5), (f64::INFINITY, 0.1), (3.0, f64::MAX)];
    let bars = ["a", "b"]
        .map(|name| Bar { name: name.to_owned(), value: f64::NAN, spread: Some(f64::NAN) })
        .to_vec();
    let html = page(vec![curves(vec![line("odd", &odd)]), Section::Bars(Unit::Percent, bars)]);
    assert!(!html.contains("NaN") && !html.contains("inf"));
    assert_eq!(html.matches(">–<").count(), 2, "a bar without a number says so");
    let joined = page(vec![curves(vec![line("even", &[(0.0, 0.5), (1.0, 0.5), (2.0, 0.5)])])]);
    assert_eq!(strokes(&joined).len(), 1);
    let gap = [(0.0, 0.5), (1.0, 0.5), (2.0, f64::NAN), (3.0, 0.5), (4.0, 0.5)];
    assert_eq!(strokes(&page(vec![curves(vec![line("gap", &gap)])])).len(), 2, "a gap starts a new stroke");
}

#[test]
fn points_outside_the_range_widen_it() {
    let html = page(vec![curves(vec![line("a", &[(0.0, 0.5), (1.0, 1.35)])])]);
    let full = page(vec![curves(vec![line("a", &[(0.0, 0.5), (1.0, 1.0)])])]);
    let half = page(vec![curves(vec![line("a", &[(0.0, 0.5), (1.0, 0.5)])])]);
    assert_eq!(top(&html), top(&full), "the highest point is at the upper edge");
    assert!(top(&half) > top(&full));
}

/// The upper end of the first line, in pixels from above.
fn top(page: &str) -> Option<i64> {
    strokes(page)[0].1.iter().map(|point| point.1).min()
}

#[test]
fn long_lines_stay_small_and_keep_their_peaks() {
    let mut points: Vec<(f64, f64)> = (0..50_000).map(|i| (f64::from(i), 0.5)).collect();
    points[25_000].1 = 1.0;
    let long = page(vec![curves(vec![line("a", &points)])]);
    let flat = page(vec![curves(vec![line("a", &[(0.0, 0.5), (49_999.0, 1.0)])])]);
    assert!(long.len() < flat.len() + 40_000, "{} bytes", long.len());
    assert_eq!(top(&long), top(&flat), "the peak is drawn");
}

#[test]
fn names_keep_their_colour_across_charts_and_differ_within_one() {
    let ends = [(0.0, 0.1), (1.0, 0.2)];
    let html = page(vec![
        curves(vec![line("a", &ends), line("b", &ends)]),
        curves(vec![line("new", &ends), line("b", &ends)]),
    ]);
    let strokes = strokes(&html);
    let colours: Vec<&str> = strokes.iter().map(|(colour, _)| colour.as_str()).collect();
    assert_eq!(colours, ["var(--c0)", "var(--c1)", "var(--c0)", "var(--c1)"]);
}

#[test]
fn the_legend_names_every_line_in_the_order_of_their_ends() {
    let end = |i: u8| f64::from(i * 7 % 12) / 12.0;
    let lines = (0..12).map(|i| line(&format!("m{i}"), &[(0.0, 0.5), (1.0, end(i))])).collect();
    let html = page(vec![curves(lines)]);
    let legend = html.split_once("<ul class=\"legend\">").unwrap().1.split("</ul>").next().unwrap();
    let ends = legend.split("<b>").skip(1).map(|part| part.split('%').next().unwrap().parse().unwrap());
    let ends: Vec<f64> = ends.collect();
    assert_eq!(ends.len(), 12);
    assert!(ends.windows(2).all(|pair| pair[0] > pair[1]), "{ends:?}");
    let mut looks: Vec<&str> =
        legend.split("<li class=").skip(1).filter_map(|part| part.split("</i>").next()).collect();
    looks.sort_unstable();
    looks.dedup();
    assert_eq!(looks.len(), 12, "colour and mark together are the line's own");
}

#[test]
fn bars_grow_with_their_values_on_both_sides_of_zero() {
    let bar = |value, spread| Bar { name: "b".to_owned(), value, spread };
    let bars = vec![bar(0.5, None), bar(-0.5, Some(0.25)), bar(0.25, None)];
    let html = page(vec![Section::Bars(Unit::Percent, bars)]);
    for style in [
        "left:60.00%;width:40.00%",
        "left:20.00%;width:40.00%",
        "left:60.00%;width:20.00%",
        "left:0.00%;width:40.00%",
    ] {
        assert!(html.contains(style), "{style}");
    }
    assert!(html.contains("−50.0% ± 25.0<"));
}

#[test]
fn best_values_are_marked_with_ties() {
    let figure = |value, spread| Cell::Figure { value, spread, unit: Unit::Percent };
    let seconds = |value| Cell::figure(value, Unit::Decimals(1));
    let columns =
        [Column::plain("m"), Column::highest("acc"), Column::lowest("secs"), Column::highest("mixed")];
    let rows = vec![
        vec!["a".into(), figure(0.8124, None), seconds(0.9), "many".into()],
        vec!["b".into(), figure(0.812, Some(0.003)), seconds(1.1), figure(0.2, None)],
        vec!["c".into(), figure(f64::NAN, None), seconds(120.0), figure(0.1, None)],
    ];
    let table = Table { columns: columns.to_vec(), rows, caption: "read it".to_owned() };
    let text = text_table(&table);
    assert_eq!(text.matches('*').count(), 4, "{text}");
    assert!(text.contains("81.2%*") && text.contains("81.2% ± 0.3*") && text.contains("0.9*"), "{text}");
    let html = page(vec![Section::Table(table)]);
    assert!(html.contains("<strong>81.2% ± 0.3</strong>") && html.contains("<strong>0.9</strong>"));
    assert!(html.contains(">read it<"));
    assert!(
        html.contains("<th scope=\"col\" class=\"n\">acc</th>")
            && html.contains("<th scope=\"col\">mixed</th>")
    );
}

#[test]
fn figures_have_one_spelling() {
    assert_eq!(percent(0.8125), "81.2%");
    assert_eq!(percent(-0.00001), "0.0%");
    assert_eq!(percent(-0.082), "−8.2%");
    assert_eq!(Unit::Decimals(3).format(-0.0821), "−0.082");
    assert_eq!([Unit::Change.format(0.04), Unit::Change.format(-1.25)], ["+0.0", "−1.2"]);
    assert_eq!([Unit::Number.format(0.0), Unit::Number.format(12.345)], ["0", "12.3"]);
    assert_eq!([Unit::Percent.tick(0.6), Unit::Number.tick(-0.3)], ["60%", "−0.3"]);
}

#[test]
fn terminal_columns_line_up_for_wide_characters() {
    let grid = grid(&["茶碗", "mug"], vec![vec![Some(1.0), None], vec![Some(0.05), Some(0.5)]]);
    assert_eq!(text_grid(&grid), "       茶碗   mug\n茶碗  100.0     –\nmug     5.0  50.0\n");
}

#[test]
fn terminal_tables_have_a_rule_under_their_headings() {
    let figure = |value| Cell::figure(value, Unit::Percent);
    let table = Table {
        columns: vec![Column::plain("method"), Column::highest("final")],
        rows: vec![vec!["kaizen".into(), figure(0.75)], vec!["naive".into(), figure(0.2)]],
        ..Table::default()
    };
    let lines = ["method   final", "──────  ──────", "kaizen  75.0%*", "naive   20.0%", ""];
    assert_eq!(text_table(&table), lines.join("\n"));
}

#[test]
fn a_page_replaces_the_old_one_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    fs::write(&path, "old").unwrap();
    let report = everything("plain");
    report.write(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), report.html());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
