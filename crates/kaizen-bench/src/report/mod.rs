//! Reports for people: one self-contained HTML page, and the same tables in a terminal.
//!
//! The page needs no network and no script to be read; its short script only adds sorting to
//! tables. This module knows nothing of learning: callers hand in numbers and words.

mod bars;
mod colours;
mod curves;
mod grid;
mod markup;
mod page;
mod table;
mod terminal;
mod unit;

use std::path::Path;

use kaizen_edge::Result;
use kaizen_edge::low_level::file::write_atomic;

pub use bars::Bar;
pub use curves::{Curves, Series};
pub use grid::Grid;
pub use table::{Best, Cell, Column, Table};
pub use terminal::{say, text_grid, text_table};
pub use unit::{Unit, percent};

/// One page: a heading, the facts of the run, then its sections in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Heading of the page, and title of the window.
    pub title: String,
    /// One sentence under the heading.
    pub subtitle: String,
    /// What ran where, as (name, value).
    pub facts: Vec<(String, String)>,
    /// Headings and bodies of the sections, top to bottom. Figures share a row where the window is
    /// wide enough.
    pub sections: Vec<(String, Section)>,
}

/// The body of one section of a [`Report`].
#[derive(Clone, Debug)]
pub enum Section {
    /// Heat-mapped accuracies.
    Grid(Grid),
    /// Lines over common axes.
    Curves(Curves),
    /// Rows of words and figures.
    Table(Table),
    /// Horizontal bars from zero in this unit, one a name, in the order given.
    Bars(Unit, Vec<Bar>),
}

impl Report {
    /// The whole page as HTML that is also well-formed XML apart from its doctype.
    #[must_use]
    pub fn html(&self) -> String {
        page::html(self)
    }

    /// Writes [`Report::html`] to `path`: either the whole page is there afterwards or the old file
    /// is untouched.
    ///
    /// # Errors
    /// [`kaizen_edge::Error::Io`] naming `path` if its folder is missing or not writable.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomic(path, self.html().as_bytes())
    }
}

#[cfg(test)]
mod tests;
