//! Prose is wrapped: comments of Rust files in `src`, `crates` and `examples`, headers of shaders and every document keep to their columns. Tables
//! and code are free, and so is what cannot be broken.

use super::source::Tree;

const MOST: usize = 100;
pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.under("", "") {
        let wide = prose(path, text).map(|prose| wide_lines(&prose)).unwrap_or_default();
        faults
            .extend(wide.iter().map(|line| format!("{path}:{line}: is wider than {MOST} columns: wrap it")));
    }
    faults
}

/// A line of prose: its number, what stands before it (the comment's sign) and its text.
struct Line<'a> {
    number: usize,
    before: usize,
    text: &'a str,
}

/// The lines of prose in a file; `None` for files that this rule does not read. What is none is an empty line.
fn prose<'a>(path: &str, text: &'a str) -> Option<Vec<Line<'a>>> {
    let is_document = path.ends_with(".md");
    let is_source = ["src/", "crates/", "examples/"].iter().any(|folder| path.starts_with(folder))
        && path.ends_with(".rs");
    let is_shader = path.starts_with("shaders/") && path.ends_with(".wgsl");
    if !(is_document || is_source || is_shader) {
        return None;
    }
    let header = text.lines().take_while(|line| line.starts_with("//")).count();
    let lines = text.lines().enumerate().map(|(index, line)| {
        let comment = line.trim_start().strip_prefix("//").map(|rest| rest.trim_start_matches(['/', '!']));
        let text = match comment {
            _ if is_document => line,
            Some(comment) if is_source || index < header => comment,
            _ => "",
        };
        Line { number: index + 1, before: line.chars().count() - text.chars().count(), text }
    });
    Some(lines.collect())
}

fn wide_lines(prose: &[Line<'_>]) -> Vec<usize> {
    let (mut is_fenced, mut is_code, mut was_empty) = (false, false, true);
    let mut wide = Vec::new();
    for Line { number, before, text } in prose {
        let (indented, trimmed) = (text.starts_with("    "), text.trim());
        if trimmed.starts_with("```") {
            is_fenced = !is_fenced;
        }
        is_code = indented && (is_code || was_empty) || is_code && trimmed.is_empty();
        was_empty = trimmed.is_empty();
        let is_free = is_fenced || is_code || trimmed.starts_with('|') || is_unbreakable(trimmed);
        if before + text.chars().count() > MOST && !is_free {
            wide.push(*number);
        }
    }
    wide
}

/// One word, perhaps after the sign of a list, a quotation or a reference.
fn is_unbreakable(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let is_sign = |word: &str| word.len() <= 3 || word.ends_with("]:");
    match (words.next(), words.next(), words.next()) {
        (_, None, _) => true,
        (Some(first), Some(_), None) => is_sign(first),
        _ => false,
    }
}

#[cfg(test)]
mod controls {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        faults(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn wide_prose_is_found_and_what_is_free_is_not() {
        let wide = "wide words ".repeat(10);
        for sign in ["//", "///", "//!"] {
            assert_eq!(count("src/a.rs", &format!("{sign} {wide}\n")), 1, "{sign}");
            assert_eq!(
                count("src/a.rs", &format!("{sign} | {wide} |\n{sign} ```\n{sign} {wide}\n{sign} ```\n")),
                0
            );
        }
        assert_eq!(count("src/a.rs", &format!("fn f() {{\n    // {wide}\n}}\n")), 1);
        assert_eq!(count("src/a.rs", &format!("const WIDE: &str = \"{wide}\";\n")), 0);
        assert_eq!(count("shaders/a/b.wgsl", &format!("// Short.\n// {wide}\nfn f() {{}}\n// {wide}\n")), 1);
        for path in ["README.md", "docs/kernels.md", "docs/adr/0001-a.md", "tests/data/README.md"] {
            assert_eq!(count(path, &format!("# A\n\n{wide}\n- {wide}\n")), 2, "{path}");
            assert_eq!(
                count(path, &format!("| {wide} |\n\n    {wide}\n\n    {wide}\n\n```\n{wide}\n```\n")),
                0,
                "{path}"
            );
            assert_eq!(count(path, &format!("- a\n    {wide}\n")), 1, "{path}");
            assert_eq!(count(path, &format!("- https://{}\n", "a".repeat(100))), 0, "{path}");
        }
        let exactly = "é".repeat(48);
        assert_eq!(count("src/a.rs", &format!("// {exactly} {exactly}\n")), 0);
        assert_eq!(count("src/a.rs", &format!("// {exactly} {exactly}e\n")), 1);
    }
}
