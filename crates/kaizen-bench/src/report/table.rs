//! Tables: their cells, which of them win, and the markup.

use super::markup::escape;
use super::unit::Unit;

/// Which value of a column is the best one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Best {
    /// The column has no better and worse.
    #[default]
    None,
    /// The highest number wins.
    Highest,
    /// The lowest number wins.
    Lowest,
}

/// Heading of one table column.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// Which of its values is marked.
    pub best: Best,
}

impl Column {
    /// A column without a winner.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), best: Best::None }
    }

    /// A column in which the highest number is marked.
    pub fn highest(name: impl Into<String>) -> Self {
        Self { name: name.into(), best: Best::Highest }
    }

    /// A column in which the lowest number is marked.
    pub fn lowest(name: impl Into<String>) -> Self {
        Self { name: name.into(), best: Best::Lowest }
    }
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Words(String),
    /// A number, with its deviation if there is one; "–" where it is not finite.
    Figure {
        /// The number.
        value: f64,
        /// Half-width of the range around it, in the same unit.
        spread: Option<f64>,
        /// How both are written.
        unit: Unit,
    },
}

impl Cell {
    /// A number without a deviation.
    #[must_use]
    pub fn figure(value: f64, unit: Unit) -> Self {
        Self::Figure { value, spread: None, unit }
    }

    /// The cell as it is read.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Words(words) => words.clone(),
            Self::Figure { value, spread: Some(spread), unit } if value.is_finite() => {
                format!("{} ± {}", unit.format(*value), unit.format(*spread).trim_end_matches('%'))
            }
            Self::Figure { value, unit, .. } => unit.format(*value),
        }
    }

    /// The number and how it reads without its deviation, if there is one.
    fn finite(&self) -> Option<(f64, String)> {
        match self {
            Self::Figure { value, unit, .. } if value.is_finite() => Some((*value, unit.format(*value))),
            Self::Figure { .. } | Self::Words(_) => None,
        }
    }
}

impl From<&str> for Cell {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

/// Rows of words and figures; a column of figures is aligned right.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns, left to right.
    pub columns: Vec<Column>,
    /// The cells, row by row.
    pub rows: Vec<Vec<Cell>>,
    /// One sentence on how to read it; may be empty.
    pub caption: String,
}

impl Table {
    /// Whether each column holds figures and no words.
    pub(super) fn numeric(&self) -> Vec<bool> {
        let cells = |c: usize| self.rows.iter().filter_map(move |row| row.get(c));
        let is_numeric = |c| {
            cells(c).any(|cell| cell.finite().is_some())
                && cells(c).all(|cell| matches!(cell, Cell::Figure { .. }))
        };
        (0..self.columns.len()).map(is_numeric).collect()
    }

    /// How the best of at least two numbers of each column reads. Numbers that read alike win
    /// alike.
    pub(super) fn winners(&self) -> Vec<Option<String>> {
        let winner = |(c, column): (usize, &Column)| {
            let figures = self.rows.iter().filter_map(|row| row.get(c)?.finite());
            let figures: Vec<(f64, String)> = figures.collect();
            if figures.len() < 2 {
                return None;
            }
            let best = match column.best {
                Best::None => None,
                Best::Highest => figures.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)),
                Best::Lowest => figures.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)),
            };
            best.map(|(_, text)| text)
        };
        self.columns.iter().enumerate().map(winner).collect()
    }

    /// Whether a cell reads as the winner of its column.
    pub(super) fn wins(cell: &Cell, winner: Option<&String>) -> bool {
        cell.finite().is_some_and(|(_, text)| Some(&text) == winner)
    }
}

/// A `<table>` in a box that scrolls sideways; the first column heads its row. `is_sortable` lets
/// the script add buttons.
pub(super) fn html(table: &Table, label: &str, is_sortable: bool) -> String {
    let (numeric, winners) = (table.numeric(), table.winners());
    let right = |c: usize| if numeric.get(c) == Some(&true) { " class=\"n\"" } else { "" };
    let caption = match table.caption.as_str() {
        "" => String::new(),
        text => format!("<p class=\"lead-in\">{}</p>", escape(text)),
    };
    let mut out = format!(
        "{caption}<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table{}><thead><tr>",
        escape(label),
        if is_sortable && table.rows.len() > 1 { " data-sort=\"\"" } else { "" }
    );
    for (c, column) in table.columns.iter().enumerate() {
        out.push_str(&format!("<th scope=\"col\"{}>{}</th>", right(c), escape(&column.name)));
    }
    out.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        out.push_str("<tr>");
        for (c, (cell, winner)) in row.iter().zip(&winners).enumerate() {
            let key = cell.finite().map_or_else(String::new, |(value, _)| format!(" data-k=\"{value}\""));
            let text = escape(&cell.text());
            let text =
                if Table::wins(cell, winner.as_ref()) { format!("<strong>{text}</strong>") } else { text };
            let (open, close) = if c == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            out.push_str(&format!("<{open}{}{key}>{text}</{close}>", right(c)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}
