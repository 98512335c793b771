//! Reports a person looks at: one self-contained HTML page with inline SVG, and the same figures in a terminal.
//!
//! The page needs no network and no script to be read; its short script only adds sorting to tables. It knows
//! nothing of learning: callers hand in numbers and words.

mod bars;
mod curves;
mod markup;
mod matrix;
mod number;
mod page;
mod palette;
mod style;
mod table;
mod terminal;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use number::{Unit, percent};
pub use terminal::{text_matrix, text_table};

use kaizen_edge::Result;
use kaizen_edge::low_level::file::write_atomic;

/// One page: a heading, the facts of the run, then its sections in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Heading of the page, and title of the window.
    pub title: String,
    /// One sentence under the heading; may be empty.
    pub subtitle: String,
    /// What ran where, as (name, value): engine, provider, model, machine, date, command.
    pub facts: Vec<(String, String)>,
    /// Body of the page, top to bottom. Neighbouring figures share a row where the window is wide enough.
    pub sections: Vec<Section>,
}

/// One block of a [`Report`].
#[derive(Clone, Debug)]
pub enum Section {
    /// Heat-mapped accuracies with the number in each cell.
    Matrix {
        /// Heading.
        title: String,
        /// One label a row; a missing one is replaced by the row's number.
        row_labels: Vec<String>,
        /// One label a column; a missing one is replaced by the column's number.
        column_labels: Vec<String>,
        /// Accuracies in 0..1, `[T, T]` row-major: row t = after task t. `None` and NaN are shown as "–".
        values: Vec<Vec<Option<f64>>>,
    },
    /// Lines over a common axis, each labelled at its end.
    Curves {
        /// Heading.
        title: String,
        /// What the horizontal axis counts.
        x_label: String,
        /// What the vertical axis measures.
        y_label: String,
        /// Unit of the vertical axis.
        unit: Unit,
        /// The lines.
        series: Vec<Series>,
        /// The vertical range to show at least, (low, high); it grows until every point is inside.
        y_range: Option<(f64, f64)>,
    },
    /// Rows of words and figures; a column in which every cell starts with a number is aligned right.
    Table {
        /// Heading.
        title: String,
        /// The columns, left to right.
        columns: Vec<Column>,
        /// The cells, row by row; short rows are filled up with empty cells.
        rows: Vec<Vec<String>>,
        /// One sentence on how to read it; may be empty.
        caption: String,
    },
    /// Horizontal bars from zero, one a name, in the order given.
    Bars {
        /// Heading.
        title: String,
        /// Unit of the values.
        unit: Unit,
        /// The bars, top to bottom.
        bars: Vec<Bar>,
        /// One sentence on how to read it; may be empty.
        caption: String,
    },
    /// Plain words; an empty line starts a new paragraph.
    Text(String),
}

/// One line of [`Section::Curves`].
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Label at the end of the line; lines and bars of one name share a colour across the page.
    pub name: String,
    /// (x, y) in drawing order; a point that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// One bar of [`Section::Bars`].
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// Label above the bar.
    pub name: String,
    /// Length of the bar in the section's unit; not finite is shown as "–".
    pub value: f64,
    /// Half-width of the whisker (such as a standard deviation over seeds), same unit.
    pub spread: Option<f64>,
}

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
    /// Which of its values is set bold.
    pub best: Best,
}

impl Column {
    /// A column without a winner.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), best: Best::None }
    }

    /// A column in which the highest number is bold.
    pub fn highest(name: impl Into<String>) -> Self {
        Self { name: name.into(), best: Best::Highest }
    }

    /// A column in which the lowest number is bold.
    pub fn lowest(name: impl Into<String>) -> Self {
        Self { name: name.into(), best: Best::Lowest }
    }
}

impl Report {
    /// The whole page as HTML that is also well-formed XML apart from its doctype.
    pub fn html(&self) -> String {
        page::html(self)
    }

    /// Writes [`Report::html`] to `path`: either the whole page is there afterwards or the old file is untouched.
    ///
    /// # Errors
    /// [`kaizen_edge::Error::Io`] naming `path` if its folder is missing or not writable.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomic(path, self.html().as_bytes())
    }
}
