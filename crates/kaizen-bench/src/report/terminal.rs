//! The same matrices and tables in a terminal.

use super::Column;
use super::markup::{columns as columns_of, one_line};
use super::matrix::{Grid, cell_text};
use super::table::Reading;

const RESET: &str = "\u{1b}[0m";
/// Colours of the 256-colour palette from low to high, as (background, foreground): one hue, rising lightness.
const RAMP: [(u8, u8); 7] = [(235, 252), (236, 255), (24, 255), (31, 255), (38, 16), (81, 16), (159, 16)];

/// `text` padded with blanks to `width` terminal columns.
fn pad(text: &str, width: usize, right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(columns_of(text)));
    if right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

/// Accuracies (0..1, `[T, T]` row-major, row t = after task t) as aligned percentages, with heat colours if `colour`.
///
/// `None` and NaN are "–". Ends with a line feed.
pub fn text_matrix(
    row_labels: &[String],
    column_labels: &[String],
    values: &[Vec<Option<f64>>],
    colour: bool,
) -> String {
    let grid = Grid::new(row_labels, column_labels, values);
    let left = grid.rows.iter().map(|label| columns_of(label)).max().unwrap_or(0);
    let width = |c: usize, label: &str| {
        let cells = grid.cells.iter().map(|row| columns_of(&cell_text(row[c])));
        cells.max().unwrap_or(0).max(columns_of(label))
    };
    let widths: Vec<usize> = grid.columns.iter().enumerate().map(|(c, label)| width(c, label)).collect();
    let mut out = " ".repeat(left + 1);
    for (label, width) in grid.columns.iter().zip(&widths) {
        out.push_str(&format!(" {} ", pad(label, *width, true)));
    }
    out = format!("{}\n", out.trim_end());
    for (label, row) in grid.rows.iter().zip(&grid.cells) {
        let mut line = format!("{} ", pad(label, left, false));
        for (value, width) in row.iter().zip(&widths) {
            let text = format!(" {} ", pad(&cell_text(*value), *width, true));
            match value {
                Some(v) if colour => line.push_str(&painted(&text, *v)),
                _ => line.push_str(&text),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn painted(text: &str, value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the ramp's few steps before the cast"
    )]
    let step = (value.clamp(0.0, 1.0) * RAMP.len() as f64) as usize;
    let (back, front) = RAMP[step.min(RAMP.len() - 1)];
    format!("\u{1b}[48;5;{back};38;5;{front}m{text}{RESET}")
}

/// Rows under headings, aligned; the best of a column is bold if `colour`, else marked with `*`. Ends with a line feed.
pub fn text_table(columns: &[Column], rows: &[Vec<String>], colour: bool) -> String {
    let reading = Reading::of(columns, rows);
    let count = reading.numeric.len();
    let cell = |r: usize, c: usize| {
        let text = one_line(rows[r].get(c).map_or("", String::as_str));
        let marked = reading.best.iter().any(|row| row[c]);
        match (marked, colour, reading.best[r][c]) {
            (true, false, true) => format!("{text}*"),
            (true, false, false) => format!("{text} "),
            _ => text,
        }
    };
    let heading = |c: usize| one_line(columns.get(c).map_or("", |column| column.name.as_str()));
    let widths: Vec<usize> = (0..count)
        .map(|c| {
            (0..rows.len()).map(|r| columns_of(&cell(r, c))).max().unwrap_or(0).max(columns_of(&heading(c)))
        })
        .collect();
    let line = |cells: Vec<String>| format!("{}\n", cells.join("  ").trim_end());
    let mut out = line((0..count).map(|c| pad(&heading(c), widths[c], reading.numeric[c])).collect());
    out.push_str(&line(widths.iter().map(|width| "─".repeat(*width)).collect()));
    for r in 0..rows.len() {
        let texts = (0..count).map(|c| {
            let text = pad(&cell(r, c), widths[c], reading.numeric[c]);
            if colour && reading.best[r][c] { format!("\u{1b}[1m{text}{RESET}") } else { text }
        });
        out.push_str(&line(texts.collect()));
    }
    out
}
