//! Text made safe for HTML, SVG and terminals, and its width.

use unicode_width::UnicodeWidthStr;

/// Width of one terminal column in units of the font size, for the page's sans-serif; errs on the wide side.
const COLUMN_EM: f64 = 0.6;

/// `text` for use between tags or inside a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            _ => out.push(visible(c)),
        }
    }
    out
}

/// `text` on one line and without control characters, so that a class name cannot command a terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { visible(c) }).collect()
}

/// Control characters, noncharacters and direction overrides become the replacement character.
fn visible(c: char) -> char {
    let hidden = c.is_control()
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}');
    if hidden { char::REPLACEMENT_CHARACTER } else { c }
}

/// Terminal columns that `text` takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// Estimated width of `text` at `font_size`, same unit.
#[expect(clippy::cast_precision_loss, reason = "a label has far fewer than 2^52 columns")]
pub(super) fn text_width(text: &str, font_size: f64) -> f64 {
    columns(text) as f64 * COLUMN_EM * font_size
}

/// `text` cut to at most `limit` terminal columns, with an ellipsis where it was cut.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if columns(&out) + columns(c.encode_utf8(&mut [0; 4])) + 1 > limit {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}
