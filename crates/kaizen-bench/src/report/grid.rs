//! Accuracy matrices as tables with heat colours.

use super::markup::escape;
use super::unit::{MISSING, fixed};

/// The fraction of the scale from which the text of a cell is set in the contrary tone.
const DEEP: f64 = 0.65;

/// Accuracies in 0..=1 with labels. Row t holds those after task t, and where there are as many
/// rows as columns the diagonal is the task just learned.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// Labels of the columns.
    pub columns: Vec<String>,
    /// Label and cells of each row. `None` and NaN are shown as "–".
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Grid {
    fn is_square(&self) -> bool {
        self.rows.len() == self.columns.len() && self.rows.len() > 1
    }
}

/// The text of one cell: percent without its sign, which the key names.
pub(super) fn cell_text(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| MISSING.to_owned(), |v| fixed(v * 100.0, 1))
}

/// The table and its key.
pub(super) fn html(grid: &Grid, label: &str) -> String {
    if grid.rows.is_empty() || grid.columns.is_empty() {
        return "<p class=\"note\">No tasks yet.</p>".to_owned();
    }
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table class=\"heat\"><thead><tr><td></td>",
        escape(label)
    );
    for column in &grid.columns {
        out.push_str(&format!("<th scope=\"col\">{}</th>", escape(column)));
    }
    out.push_str("</tr></thead><tbody>");
    for (r, (label, cells)) in grid.rows.iter().enumerate() {
        out.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(label)));
        for (c, value) in cells.iter().enumerate() {
            out.push_str(&cell(*value, grid.is_square() && r == c));
        }
        out.push_str("</tr>");
    }
    let ring =
        if grid.is_square() { "<span><i class=\"ringkey\"></i>the task just learned</span>" } else { "" };
    out.push_str(&format!(
        "</tbody></table></div><p class=\"key\"><span>0<i class=\"ramp\"></i>100, accuracy in percent</span>{ring}</p>"
    ));
    out
}

/// One cell, whose colour lies `--p` of the way from one tone to the next.
fn cell(value: Option<f64>, is_diagonal: bool) -> String {
    let ring = if is_diagonal { " ring" } else { "" };
    let text = cell_text(value);
    let Some(value) = value.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0)) else {
        return format!("<td class=\"cell none{ring}\">{text}</td>");
    };
    let (tone, share) = if value < 0.5 { ("low", 200.0 * value) } else { ("high", 200.0 * value - 100.0) };
    let ink = if value < DEEP { "pale" } else { "deep" };
    format!("<td class=\"cell {tone} {ink}{ring}\" style=\"--p:{share:.0}%\">{text}</td>")
}
