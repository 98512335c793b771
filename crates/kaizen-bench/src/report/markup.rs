//! Text made safe for HTML, SVG and terminals.

/// `text` for use between tags or inside a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// `text` on one line and without control characters, so that a class name cannot command a
/// terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// Line feeds and tabs become blanks; other control characters, noncharacters and direction
/// overrides become the replacement character.
fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => ' ',
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}' => {
            char::REPLACEMENT_CHARACTER
        }
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}
