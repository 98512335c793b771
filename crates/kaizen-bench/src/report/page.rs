//! The page around the figures.

use super::colours::Colours;
use super::markup::escape;
use super::{Report, Section, bars, curves, grid, table};

/// Nothing may be fetched: what the page shows is in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
const SHEET: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Facts with more characters than this get a row of their own.
const LONG_FACT: usize = 40;
/// Matrices with more columns than this get a row of their own.
const NARROW_GRID: usize = 8;

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let colours = Colours::of(report);
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
         <title>{title}</title>\n<style>\n{SHEET}</style></head>\n<body><main>\n\
         <header><h1>{title}</h1><p class=\"sub\">{}</p><dl>",
        escape(&report.subtitle)
    );
    for (name, value) in &report.facts {
        let class = if value.chars().count() > LONG_FACT { " class=\"long\"" } else { "" };
        out.push_str(&format!("<div{class}><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value)));
    }
    out.push_str("</dl></header>\n<div class=\"cards\">");
    for (title, section) in &report.sections {
        let (class, body) = match section {
            Section::Grid(grid) => {
                let class = if grid.columns.len() > NARROW_GRID { "card wide" } else { "card" };
                (class, grid::html(grid, title))
            }
            Section::Curves(curves) => ("card", curves::html(curves, title, &colours)),
            Section::Table(table) => ("card wide", table::html(table, title, true)),
            Section::Bars(unit, bars) => ("card", bars::html(*unit, bars, title, &colours)),
        };
        out.push_str(&format!("\n<section class=\"{class}\"><h2>{}</h2>{body}</section>", escape(title)));
    }
    out.push_str(&format!("</div></main>\n<script>\n{SCRIPT}</script></body></html>\n"));
    out
}
