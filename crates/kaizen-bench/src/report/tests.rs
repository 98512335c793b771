//! What a page must be: well formed, safe, complete with odd data, and written whole or not at all.

use std::fs;

use super::*;

/// Follows every tag of a page; an error names the first that does not fit. Text may hold no bare `<` or `&`.
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
    let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
    match text.match_indices('&').find(|(i, _)| !known.iter().any(|entity| text[*i..].starts_with(entity))) {
        Some((i, _)) => Err(format!("bare & at {:?}", text[i..].chars().take(20).collect::<String>())),
        None => Ok(()),
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn line(name: &str, points: &[(f64, f64)]) -> Series {
    Series { name: name.to_owned(), points: points.to_vec() }
}

fn curves(series: Vec<Series>) -> Section {
    Section::Curves {
        title: "Accuracy".to_owned(),
        x_label: "tasks".to_owned(),
        y_label: "accuracy".to_owned(),
        unit: Unit::Percent,
        series,
        y_range: Some((0.0, 1.0)),
    }
}

fn matrix(labels: &[&str], values: Vec<Vec<Option<f64>>>) -> Section {
    Section::Matrix {
        title: "Matrix".to_owned(),
        row_labels: strings(labels),
        column_labels: strings(labels),
        values,
    }
}

fn page(sections: Vec<Section>) -> String {
    let page = Report { title: "R".to_owned(), sections, ..Report::default() }.html();
    assert_eq!(well_formed(&page), Ok(()));
    page
}

/// Every kind of section, with `word` wherever a caller's text goes.
fn everything(word: &str) -> Report {
    let word = || word.to_owned();
    Report {
        title: word(),
        subtitle: word(),
        facts: vec![(word(), word())],
        sections: vec![
            Section::Matrix {
                title: word(),
                row_labels: vec![word()],
                column_labels: vec![word()],
                values: vec![vec![Some(0.5)]],
            },
            Section::Curves {
                title: word(),
                x_label: word(),
                y_label: word(),
                unit: Unit::Number,
                series: vec![line(&word(), &[(0.0, 1.0), (1.0, 2.0)]), line(&word(), &[])],
                y_range: None,
            },
            Section::Table {
                title: word(),
                columns: vec![Column::highest(word())],
                rows: vec![vec![word()], vec![word()]],
                caption: word(),
            },
            Section::Bars {
                title: word(),
                unit: Unit::Bytes,
                bars: vec![Bar { name: word(), value: 1.0, spread: Some(0.1) }],
                caption: word(),
            },
            Section::Text(word()),
        ],
    }
}

#[test]
fn every_section_is_well_formed_and_fetches_nothing() {
    let html = everything("plain").html();
    assert_eq!(well_formed(&html), Ok(()));
    assert!(html.matches("<svg").count() == 3, "matrix, curves and bars are drawings");
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
    let label = strings(&["\u{1b}[2Jmug\nbowl"]);
    let matrix = text_matrix(&label, &label, &[vec![Some(0.5)]], false);
    let table = text_table(&[Column::plain("\u{7}")], &[label], false);
    assert!(!matrix.contains('\u{1b}') && !table.contains(['\u{1b}', '\u{7}']));
    assert_eq!(matrix.lines().count(), 2);
}

#[test]
fn one_task_is_one_cell() {
    let html = page(vec![matrix(&["first"], vec![vec![Some(0.8125)]])]);
    assert_eq!(html.matches("class=\"cell ").count(), 1);
    assert!(html.contains(">81.2<") && html.contains(">81.2%<"));
    assert!(!html.contains("class=\"ring\""), "one cell has no diagonal");
}

#[test]
fn missing_and_nan_cells_are_dashes_and_never_numbers() {
    let values = vec![vec![Some(f64::NAN), None], vec![Some(f64::INFINITY), Some(0.25)]];
    let html = page(vec![matrix(&["a", "b"], values.clone())]);
    assert_eq!(html.matches(">–<").count(), 6, "three cells, drawn and in the table");
    assert!(!html.contains("NaN") && !html.contains(">inf"));
    let text = text_matrix(&strings(&["a", "b"]), &strings(&["a", "b"]), &values, true);
    assert_eq!(text.matches('–').count(), 3);
    assert_eq!(percent(f64::NAN), "–");
}

#[test]
fn ragged_matrices_are_filled_up() {
    let html = page(vec![matrix(&["a"], vec![vec![Some(0.1)], vec![Some(0.1), Some(0.2)]])]);
    assert_eq!(html.matches("class=\"cell ").count(), 4);
    assert!(page(vec![matrix(&[], vec![])]).contains("No tasks yet."));
}

#[test]
fn empty_lines_are_named_and_empty_charts_say_so() {
    let html = page(vec![curves(vec![line("full", &[(1.0, 0.5)]), line("hollow", &[(1.0, f64::NAN)])])]);
    assert!(html.contains("No data: hollow"));
    assert_eq!(html.matches("class=\"line ").count(), 1);
    assert!(page(vec![curves(vec![])]).contains("No data yet."));
}

#[test]
fn drawings_hold_finite_coordinates_only() {
    let odd = [(0.0, 0.5), (1.0, f64::NAN), (2.0, 0.5), (f64::INFINITY, 0.1), (3.0, f64::MAX)];
    let bars = ["a", "b"]
        .map(|name| Bar { name: name.to_owned(), value: f64::NAN, spread: Some(f64::NAN) })
        .to_vec();
    let bars = Section::Bars { title: "b".to_owned(), unit: Unit::Percent, bars, caption: String::new() };
    let html = page(vec![curves(vec![line("odd", &odd)]), bars]);
    assert!(!html.contains("NaN") && !html.contains("inf "));
    let path = html.split("class=\"line ").nth(1).and_then(|part| part.split("d=\"").nth(1)).unwrap();
    assert_eq!(path.split('"').next().unwrap().matches('M').count(), 2, "a gap starts a new stroke");
}

#[test]
fn points_outside_the_range_widen_it() {
    let html = page(vec![curves(vec![line("a", &[(0.0, 0.5), (1.0, 1.35)])])]);
    assert!(html.contains(">150%<") || html.contains(">140%<"), "the axis reaches the point");
}

#[test]
fn long_lines_stay_small_and_keep_their_peaks() {
    let mut points: Vec<(f64, f64)> = (0..50_000).map(|i| (f64::from(i), 0.5)).collect();
    points[25_000].1 = 1.0;
    let long = page(vec![curves(vec![line("a", &points)])]);
    let flat = page(vec![curves(vec![line("a", &[(0.0, 0.5), (49_999.0, 1.0)])])]);
    assert!(long.len() < flat.len() + 40_000, "{} bytes", long.len());
    let top = flat.split("class=\"line ").nth(1).unwrap().split("L").nth(1).unwrap();
    let top = top.split('"').next().unwrap().split(' ').nth(1).unwrap();
    assert!(long.contains(&format!(" {top}L")), "the peak at {top} is drawn");
}

#[test]
fn names_keep_their_colour_across_charts_and_differ_within_one() {
    let ends = [(0.0, 0.1), (1.0, 0.2)];
    let html = page(vec![
        curves(vec![line("a", &ends), line("b", &ends)]),
        curves(vec![line("new", &ends), line("b", &ends)]),
    ]);
    let colours: Vec<&str> = html.split("class=\"line ").skip(1).map(|part| &part[..2]).collect();
    assert_eq!(colours, ["c0", "c1", "c0", "c1"]);
}

#[test]
fn end_labels_do_not_overlap() {
    let lines = (0..12).map(|i| line(&format!("m{i}"), &[(0.0, 0.5), (1.0, 0.5)])).collect();
    let html = page(vec![curves(lines)]);
    let mut ys: Vec<f64> = html
        .split("<text class=\"end\"")
        .skip(1)
        .map(|part| part.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
        .collect();
    ys.sort_by(f64::total_cmp);
    assert_eq!(ys.len(), 12);
    assert!(ys.windows(2).all(|pair| pair[1] - pair[0] > 18.0), "{ys:?}");
    assert!(ys[0] > 0.0);
}

#[test]
fn best_values_are_marked_across_units_and_ties() {
    let columns =
        [Column::plain("m"), Column::highest("acc"), Column::lowest("secs"), Column::highest("mixed")];
    let rows = [
        strings(&["a", "81.2%", "900 ms", "1 apple"]),
        strings(&["b", "81.2% ± 0.3", "1.1 s", "2 pears"]),
        strings(&["c", "–", "2 min", "3"]),
    ];
    let text = text_table(&columns, &rows, false);
    assert_eq!(text.matches('*').count(), 3, "{text}");
    assert!(text.contains("900 ms*") && !text.contains("pears*"));
    let html = page(vec![Section::Table {
        title: "t".to_owned(),
        columns: columns.to_vec(),
        rows: rows.to_vec(),
        caption: String::new(),
    }]);
    assert!(html.contains("<strong>81.2% ± 0.3</strong>") && html.contains("<strong>900 ms</strong>"));
    assert!(
        html.contains("<th scope=\"col\" class=\"n\">acc</th>")
            && html.contains("<th scope=\"col\">mixed</th>")
    );
}

#[test]
fn numbers_are_read_back_from_cells() {
    for (cell, value, unit) in [
        ("−8.2%", -8.2, "%"),
        ("1.5 kB", 1500.0, "B"),
        ("2 min", 120.0, "s"),
        ("1.2e−3", 0.0012, ""),
        ("3 ± 1", 3.0, ""),
    ] {
        let (got, its) = number::measured(cell).unwrap();
        assert!((got - value).abs() < 1e-9 && its == unit, "{cell}: {got} {its}");
    }
    for cell in ["", "–", "kaizen", "2025-03-14", "10:30", "e"] {
        assert!(number::measured(cell).is_none(), "{cell}");
    }
}

#[test]
fn figures_have_one_spelling() {
    assert_eq!(percent(0.8125), "81.2%");
    assert_eq!(percent(-0.00001), "0.0%");
    assert_eq!(percent(-0.082), "−8.2%");
    assert_eq!(Unit::Bytes.format(5_120_000.0), "5.12 MB");
    assert_eq!(Unit::Seconds.format(0.0482), "48.2 ms");
    assert_eq!(number::ticks(0.0, 1.0, 5).len(), 6);
    assert_eq!(number::ticks(-3.0, 11.0, 5), [-5.0, 0.0, 5.0, 10.0, 15.0]);
}

#[test]
fn terminal_columns_line_up_for_wide_characters() {
    let labels = strings(&["茶碗", "mug"]);
    let text = text_matrix(&labels, &labels, &[vec![Some(1.0), None], vec![Some(0.05), Some(0.5)]], false);
    let ends: Vec<usize> = text.lines().map(markup::columns).collect();
    assert_eq!(text, "       茶碗   mug\n茶碗  100.0     –\nmug     5.0  50.0\n");
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
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
