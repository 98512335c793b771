//! Accuracy matrices as heat maps.

use super::Column;
use super::markup::{escape, one_line, shorten, text_width};
use super::number::{MISSING, fixed, percent};
use super::table;

/// Font size of the cells, in drawing units.
const FONT: f64 = 15.0;
/// Fraction of the scale from which cell text is set in the contrary tone.
const DEEP: f64 = 0.65;

/// A matrix with every label and cell filled in.
pub(super) struct Grid {
    /// One label a row.
    pub(super) rows: Vec<String>,
    /// One label a column.
    pub(super) columns: Vec<String>,
    /// `[rows, columns]`; `None` where there is no finite value.
    pub(super) cells: Vec<Vec<Option<f64>>>,
}

impl Grid {
    /// Completes short label lists with numbers from 1 and short rows with empty cells.
    pub(super) fn new(row_labels: &[String], column_labels: &[String], values: &[Vec<Option<f64>>]) -> Self {
        let height = values.len().max(row_labels.len());
        let width = values.iter().map(Vec::len).max().unwrap_or(0).max(column_labels.len());
        let label =
            |labels: &[String], i: usize| labels.get(i).map_or_else(|| (i + 1).to_string(), |l| one_line(l));
        let cell = |r: usize, c: usize| {
            values.get(r).and_then(|row| row.get(c)).copied().flatten().filter(|value| value.is_finite())
        };
        Self {
            rows: (0..height).map(|r| label(row_labels, r)).collect(),
            columns: (0..width).map(|c| label(column_labels, c)).collect(),
            cells: (0..height).map(|r| (0..width).map(|c| cell(r, c)).collect()).collect(),
        }
    }

    /// One row a task and one column a task: the diagonal is the task just learned.
    fn is_square(&self) -> bool {
        self.rows.len() == self.columns.len() && self.rows.len() > 1
    }

    /// Whether there is nothing to draw.
    fn is_empty(&self) -> bool {
        self.rows.is_empty() || self.columns.is_empty()
    }
}

/// Text of one cell: percent without its sign, which the key names.
pub(super) fn cell_text(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| MISSING.to_owned(), |v| fixed(v * 100.0, 1))
}

/// Sizes of the drawing.
struct Layout {
    left: f64,
    top: f64,
    cell: f64,
    height: f64,
    slanted: bool,
}

#[expect(clippy::cast_precision_loss, reason = "a matrix has far fewer than 2^52 rows")]
fn at(index: usize) -> f64 {
    index as f64
}

impl Layout {
    fn of(grid: &Grid) -> Self {
        let widest = |labels: &[String]| labels.iter().map(|l| text_width(l, 13.0)).fold(0.0, f64::max);
        let cell: f64 = if grid.columns.len() <= 12 { 76.0 } else { 58.0 };
        let slanted = widest(&grid.columns) > cell - 4.0;
        let top = if slanted { (widest(&grid.columns) * 0.72).min(110.0) + 18.0 } else { 28.0 };
        Self { left: widest(&grid.rows).min(170.0) + 12.0, top, cell, height: 44.0, slanted }
    }
}

/// The figure: drawing, key and folded table.
pub(super) fn html(title: &str, grid: &Grid) -> String {
    if grid.is_empty() {
        return "<p class=\"note\">No tasks yet.</p>".to_owned();
    }
    let layout = Layout::of(grid);
    let columns = at(grid.columns.len());
    let spare = if layout.slanted { layout.top * 0.8 } else { 2.0 };
    let width = layout.left + columns * layout.cell + spare;
    let height = layout.top + at(grid.rows.len()) * layout.height + 2.0;
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\"><svg class=\"matrix\" role=\"img\" aria-label=\"{0}: heat map, {1} by {2}\" viewBox=\"0 0 {width:.0} {height:.0}\" style=\"width:{width:.0}px;min-width:{3:.0}px\">",
        escape(title),
        grid.rows.len(),
        grid.columns.len(),
        layout.left * 0.74 + columns * 47.0
    );
    labels(&mut out, grid, &layout);
    for (r, row) in grid.cells.iter().enumerate() {
        for (c, value) in row.iter().enumerate() {
            let (x, y) = (layout.left + at(c) * layout.cell, layout.top + at(r) * layout.height);
            cell(&mut out, *value, (x, y), &layout, grid.is_square() && r == c);
        }
    }
    out.push_str("</svg></div>");
    out.push_str(&key(grid.is_square()));
    out.push_str(&numbers(title, grid));
    out
}

fn labels(out: &mut String, grid: &Grid, layout: &Layout) {
    for (r, label) in grid.rows.iter().enumerate() {
        let y = layout.top + (at(r) + 0.5) * layout.height + 4.5;
        let text = escape(&shorten(label, 23));
        out.push_str(&format!(
            "<text class=\"lab\" text-anchor=\"end\" x=\"{:.1}\" y=\"{y:.1}\">{text}</text>",
            layout.left - 10.0
        ));
    }
    for (c, label) in grid.columns.iter().enumerate() {
        let (x, y) = (layout.left + (at(c) + 0.5) * layout.cell, layout.top - 10.0);
        let text = escape(&shorten(label, 21));
        let place = if layout.slanted {
            format!("transform=\"translate({x:.1} {y:.1}) rotate(-40)\"")
        } else {
            format!("text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\"")
        };
        out.push_str(&format!("<text class=\"lab\" {place}>{text}</text>"));
    }
}

fn cell(out: &mut String, value: Option<f64>, (x, y): (f64, f64), layout: &Layout, diagonal: bool) {
    let (width, height) = (layout.cell - 3.0, layout.height - 3.0);
    let (tone, share) = match value.map(|v| v.clamp(0.0, 1.0)) {
        None => ("none", 0.0),
        Some(v) if v < 0.5 => ("low", v * 200.0),
        Some(v) => ("high", v.mul_add(200.0, -100.0)),
    };
    out.push_str(&format!(
        "<rect class=\"cell {tone}\" style=\"--p:{share:.0}%\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>",
        x + 1.5,
        y + 1.5
    ));
    if diagonal {
        out.push_str(&format!(
            "<rect class=\"ring\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6.5\"/>",
            x + 1.0,
            y + 1.0,
            width + 1.0,
            height + 1.0
        ));
    }
    let ink = match value {
        None => "gone",
        Some(v) if v >= DEEP => "deep",
        Some(_) => "pale",
    };
    out.push_str(&format!(
        "<text class=\"num {ink}\" text-anchor=\"middle\" font-size=\"{FONT}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        x + layout.cell / 2.0,
        y + layout.height / 2.0 + 5.2,
        cell_text(value)
    ));
}

fn key(square: bool) -> String {
    let ring = if square { "<span><i class=\"ringkey\"></i>the task just learned</span>" } else { "" };
    format!("<p class=\"key\"><span>0<i class=\"ramp\"></i>100, accuracy in percent</span>{ring}</p>")
}

fn numbers(title: &str, grid: &Grid) -> String {
    let mut columns = vec![Column::plain("")];
    columns.extend(grid.columns.iter().map(Column::plain));
    let rows: Vec<Vec<String>> = grid
        .rows
        .iter()
        .zip(&grid.cells)
        .map(|(label, cells)| {
            let texts = cells.iter().map(|value| percent(value.unwrap_or(f64::NAN)));
            std::iter::once(label.clone()).chain(texts).collect()
        })
        .collect();
    table::details(&columns, &rows, title)
}
