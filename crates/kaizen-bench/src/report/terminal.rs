//! The same matrices and tables in a terminal.

use std::io::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::grid::{Grid, cell_text};
use super::markup::one_line;
use super::table::{Cell, Table};

/// Blanks between two columns.
const GAP: usize = 2;

/// Writes a line to standard output. A reader that went away, as `| head` does, ends nothing: the
/// result of a run is its report.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Accuracies as aligned percentages. Ends with a line feed.
#[must_use]
pub fn text_grid(grid: &Grid) -> String {
    let heading = std::iter::once(String::new()).chain(grid.columns.iter().cloned());
    let rows = grid.rows.iter().map(|(label, cells)| {
        std::iter::once(label.clone()).chain(cells.iter().map(|value| cell_text(*value))).collect()
    });
    let is_right = std::iter::once(false).chain(grid.columns.iter().map(|_| true));
    aligned(std::iter::once(heading.collect()).chain(rows), is_right).0.concat()
}

/// Rows under headings, aligned; the best of a column is marked with `*`. Ends with a line feed.
#[must_use]
pub fn text_table(table: &Table) -> String {
    let winners = table.winners();
    let heading = table.columns.iter().map(|column| column.name.clone()).collect();
    let rows = table.rows.iter().map(|row| {
        let text = |(cell, winner): (&Cell, &Option<String>)| match winner {
            Some(_) if Table::wins(cell, winner.as_ref()) => format!("{}*", cell.text()),
            Some(_) => format!("{} ", cell.text()),
            None => cell.text(),
        };
        row.iter().zip(&winners).map(text).collect()
    });
    let (mut lines, widths) = aligned(std::iter::once(heading).chain(rows), table.numeric());
    let rule: Vec<String> = widths.into_iter().map(|width| "─".repeat(width.into())).collect();
    lines.insert(1, format!("{}\n", rule.join(&" ".repeat(GAP))));
    lines.concat()
}

/// The lines of some rows, whose columns are aligned right where `is_right`, and the widths of the
/// columns.
fn aligned(
    rows: impl Iterator<Item = Vec<String>>,
    is_right: impl IntoIterator<Item = bool>,
) -> (Vec<String>, Vec<u16>) {
    let mut table = comfy_table::Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows.map(|row| row.iter().map(|cell| one_line(cell)).collect::<Vec<_>>()));
    for (column, is_right) in table.column_iter_mut().zip(is_right) {
        column.set_padding((0, 2));
        column.set_cell_alignment(if is_right { CellAlignment::Right } else { CellAlignment::Left });
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    (lines, table.column_max_content_widths())
}
