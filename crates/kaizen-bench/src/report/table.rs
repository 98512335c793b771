//! Tables: which columns are numbers, which cells win, and the markup.

use super::markup::escape;
use super::number::{MISSING, measured};
use super::{Best, Column};

/// What a table's cells mean beyond their text.
pub(super) struct Reading {
    /// Whether column c is aligned right.
    pub(super) numeric: Vec<bool>,
    /// Whether the cell at (row, column) holds the best value of its column.
    pub(super) best: Vec<Vec<bool>>,
    /// The number in the cell at (row, column), in the column's base unit.
    pub(super) keys: Vec<Vec<Option<f64>>>,
}

impl Reading {
    /// Reads `rows`; a column is numeric if it has a number and every other cell of it is one too, in the same unit, or missing.
    pub(super) fn of(columns: &[Column], rows: &[Vec<String>]) -> Self {
        let width = width(columns, rows);
        let mut reading = Self {
            numeric: vec![false; width],
            best: vec![vec![false; width]; rows.len()],
            keys: vec![vec![None; width]; rows.len()],
        };
        for c in 0..width {
            let Some(keys) = column_keys(c, rows) else {
                continue;
            };
            reading.numeric[c] = true;
            let best = columns.get(c).map_or(Best::None, |column| column.best);
            let winner = winner(best, &keys);
            for (r, key) in keys.iter().enumerate() {
                reading.keys[r][c] = *key;
                reading.best[r][c] = key.is_some() && *key == winner;
            }
        }
        reading
    }
}

/// Columns of the widest row or the heading.
pub(super) fn width(columns: &[Column], rows: &[Vec<String>]) -> usize {
    rows.iter().map(Vec::len).max().unwrap_or(0).max(columns.len())
}

fn column_keys(column: usize, rows: &[Vec<String>]) -> Option<Vec<Option<f64>>> {
    let mut unit: Option<String> = None;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let cell = row.get(column).map_or("", |cell| cell.trim());
        if cell.is_empty() || matches!(cell, MISSING | "-" | "—" | "NaN") {
            keys.push(None);
            continue;
        }
        let (value, its) = measured(cell)?;
        if unit.get_or_insert_with(|| its.clone()) != &its {
            return None;
        }
        keys.push(Some(value));
    }
    unit.map(|_| keys)
}

/// The best of at least two numbers.
fn winner(best: Best, keys: &[Option<f64>]) -> Option<f64> {
    let values = keys.iter().flatten().copied();
    if keys.iter().flatten().count() < 2 {
        return None;
    }
    match best {
        Best::None => None,
        Best::Highest => values.reduce(f64::max),
        Best::Lowest => values.reduce(f64::min),
    }
}

/// A `<table>` in a box that scrolls sideways; the first column heads its row. `sortable` lets the script add buttons.
pub(super) fn html(columns: &[Column], rows: &[Vec<String>], label: &str, sortable: bool) -> String {
    let reading = Reading::of(columns, rows);
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table{}><thead><tr>",
        escape(label),
        if sortable && rows.len() > 1 { " data-sort=\"\"" } else { "" }
    );
    for (c, numeric) in reading.numeric.iter().enumerate() {
        let name = columns.get(c).map_or("", |column| column.name.as_str());
        out.push_str(&format!("<th scope=\"col\"{}>{}</th>", right(*numeric), escape(name)));
    }
    out.push_str("</tr></thead><tbody>");
    for (r, row) in rows.iter().enumerate() {
        out.push_str("<tr>");
        for (c, numeric) in reading.numeric.iter().enumerate() {
            let cell = escape(row.get(c).map_or("", String::as_str));
            let key = reading.keys[r][c].map_or_else(String::new, |key| format!(" data-k=\"{key}\""));
            let text = if reading.best[r][c] { format!("<strong>{cell}</strong>") } else { cell };
            let (open, close) = if c == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            out.push_str(&format!("<{open}{}{key}>{text}</{close}>", right(*numeric)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn right(numeric: bool) -> &'static str {
    if numeric { " class=\"n\"" } else { "" }
}

/// A folded table with the numbers of a figure, for readers who cannot or will not read the drawing.
pub(super) fn details(columns: &[Column], rows: &[Vec<String>], label: &str) -> String {
    format!("<details><summary>Numbers</summary>{}</details>", html(columns, rows, label, false))
}
