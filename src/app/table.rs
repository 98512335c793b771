//! Tables and figures on the terminal.

use comfy_table::{CellAlignment, ContentArrangement, presets};

/// A table of rows under headings; a column of numbers is aligned to the right.
pub(super) struct Table(comfy_table::Table);

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings);
        Self(table)
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = self.0.clone();
        let is_number = |text: String| text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        for at in 0..table.column_count() {
            let is_numeric = (table.row_iter())
                .all(|row| row.cell_iter().nth(at).is_none_or(|cell| is_number(cell.content())));
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 2));
                if is_numeric {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `fraction` as percent with one decimal (`81.2%`); `–` if it is not finite.
pub(super) fn percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.1}%", 100.0 * fraction) } else { "–".to_owned() }
}
