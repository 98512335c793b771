//! The page around the figures.

use super::curves::{self, Chart};
use super::markup::escape;
use super::matrix::{self, Grid};
use super::palette::Palette;
use super::{Report, Section, bars, markup, style, table};

/// Nothing may be fetched: what the page shows is in the page.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Facts of more terminal columns than this get a row of their own.
const LONG_FACT: usize = 40;
/// Matrices with more columns than this get a row of their own.
const NARROW_MATRIX: usize = 8;

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let palette = Palette::of(report);
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
         <title>{title}</title>\n<style>{}</style></head>\n<body><main>\n<header><h1>{title}</h1>",
        style::SHEET
    );
    if !report.subtitle.is_empty() {
        out.push_str(&format!("<p class=\"sub\">{}</p>", escape(&report.subtitle)));
    }
    if !report.facts.is_empty() {
        out.push_str("<dl>");
        for (name, value) in &report.facts {
            let class = if markup::columns(value) > LONG_FACT { " class=\"long\"" } else { "" };
            out.push_str(&format!("<div{class}><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value)));
        }
        out.push_str("</dl>");
    }
    out.push_str("</header>\n<div class=\"cards\">");
    for (section, wide) in report.sections.iter().zip(widths(&report.sections)) {
        out.push_str(&card(section, wide, &palette));
    }
    out.push_str(&format!("</div></main>\n<script>{}</script></body></html>\n", style::SORT));
    out
}

/// Whether each section takes a whole row: figures pair up, the odd one out and everything else does not.
fn widths(sections: &[Section]) -> Vec<bool> {
    let pairs = |section: &Section| match section {
        Section::Matrix { column_labels, values, .. } => {
            let columns = values.iter().map(Vec::len).max().unwrap_or(0).max(column_labels.len());
            columns <= NARROW_MATRIX
        }
        Section::Curves { .. } | Section::Bars { .. } => true,
        Section::Table { .. } | Section::Text(_) => false,
    };
    let mut wide = vec![true; sections.len()];
    let mut i = 0;
    while i + 1 < sections.len() {
        let both = pairs(&sections[i]) && pairs(&sections[i + 1]);
        if both {
            (wide[i], wide[i + 1]) = (false, false);
        }
        i += if both { 2 } else { 1 };
    }
    wide
}

fn card(section: &Section, wide: bool, palette: &Palette) -> String {
    let class = match (section, wide) {
        (Section::Text(_), _) => "text wide",
        (_, true) => "card wide",
        (_, false) => "card",
    };
    let (title, caption) = headings(section);
    let mut out = format!("\n<section class=\"{class}\">");
    if !title.is_empty() {
        out.push_str(&format!("<h2>{}</h2>", escape(title)));
    }
    if !caption.is_empty() {
        out.push_str(&format!("<p class=\"lead-in\">{}</p>", escape(caption)));
    }
    out.push_str(&body(section, palette));
    out.push_str("</section>");
    out
}

/// Title and caption of a section.
fn headings(section: &Section) -> (&str, &str) {
    match section {
        Section::Table { title, caption, .. } | Section::Bars { title, caption, .. } => (title, caption),
        Section::Matrix { title, .. } | Section::Curves { title, .. } => (title, ""),
        Section::Text(_) => ("", ""),
    }
}

fn body(section: &Section, palette: &Palette) -> String {
    match section {
        Section::Matrix { title, row_labels, column_labels, values } => {
            matrix::html(title, &Grid::new(row_labels, column_labels, values))
        }
        Section::Curves { title, x_label, y_label, unit, series, y_range } => {
            let chart = Chart { title, x_label, y_label, unit: *unit, series, y_range: *y_range };
            curves::html(&chart, palette)
        }
        Section::Table { title, columns, rows, .. } => table::html(columns, rows, title, true),
        Section::Bars { title, unit, bars, .. } => bars::html(title, *unit, bars, palette),
        Section::Text(text) => paragraphs(text),
    }
}

fn paragraphs(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.split("\n\n")
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(|p| format!("<p>{}</p>", escape(p)))
        .collect()
}
