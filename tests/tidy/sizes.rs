//! Files stay small enough to be read in one go.

use syn::spanned::Spanned as _;

use super::source::{Parsed, Tree};

/// Folder, ending, most lines without tests.
const LIMITS: &[(&str, &str, usize)] =
    &[("src/", ".rs", 400), ("shaders/", ".wgsl", 150), ("examples/", ".rs", 150)];
/// Most lines without tests that the middle one of all files in `src` may have.
const MEDIAN: usize = 150;
/// Longer files: most lines, and why splitting them would not help a reader.
const LONGER: &[(&str, usize, &str)] = &[];

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    let mut faults = faults_by(LONGER, tree);
    faults.extend(median_fault(tree));
    faults
}

fn median_fault(tree: &Tree) -> Option<String> {
    let files = tree.under("src/", ".rs").filter(|(path, _)| !tree.parsed()[*path].is_for_tests);
    let mut lines: Vec<usize> =
        files.map(|(path, text)| text.lines().count() - lines_of_tests(&tree.parsed()[path])).collect();
    lines.sort_unstable();
    let median = lines.get(lines.len() / 2).copied().unwrap_or_default();
    (median > MEDIAN)
        .then(|| format!("src: the median file has {median} lines without tests, {MEDIAN} allowed"))
}

fn faults_by(longer: &[(&str, usize, &str)], tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for &(folder, ending, limit) in LIMITS {
        for (path, text) in tree.under(folder, ending) {
            let parsed = tree.parsed().get(path);
            if parsed.is_some_and(|parsed| parsed.is_for_tests) {
                continue;
            }
            let lines = text.lines().count() - parsed.map_or(0, lines_of_tests);
            match longer.iter().find(|(known, ..)| *known == path) {
                Some((_, _, reason)) if lines <= limit => {
                    faults.push(format!(
                        "{path}: keeps to {limit} lines now: take out its exception ({reason})"
                    ));
                }
                Some((_, most, reason)) if lines > *most => {
                    faults.push(format!(
                        "{path}: {lines} lines, {most} are excepted ({reason}): split it by noun"
                    ));
                }
                None if lines > limit => {
                    faults.push(format!(
                        "{path}: {lines} lines without tests, {limit} allowed: split it by noun"
                    ));
                }
                _ => {}
            }
        }
    }
    for (path, ..) in longer.iter().filter(|(path, ..)| !tree.texts.contains_key(*path)) {
        faults.push(format!("{path}: is excepted and not there: take the exception out"));
    }
    faults
}

fn lines_of_tests(parsed: &Parsed) -> usize {
    let lines = parsed.tests.iter().map(|item| 1 + item.span().end().line - item.span().start().line);
    lines.sum()
}

#[cfg(test)]
mod controls {
    use super::*;

    #[test]
    fn what_is_too_long_is_found_and_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(401);
        let tested = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn f() {}\n".repeat(400),
            "fn g() {}\n".repeat(300)
        );
        let wide = "// A line.\n".repeat(151);
        let tree = Tree::of(&[
            ("src/long.rs", &long),
            ("src/tested.rs", &tested),
            ("shaders/a/b.wgsl", &wide),
            ("examples/show.rs", &wide),
        ]);
        let faults = faults_by(&[], &tree);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("src/long.rs: 401 lines"), "{faults:?}");
        let excepted = faults_by(&[("src/long.rs", 401, "a table")], &tree);
        assert_eq!(excepted.len(), 2, "{excepted:?}");
    }

    #[test]
    fn many_long_files_are_found() {
        let (long, short) = ("fn f() {}\n".repeat(151), "fn f() {}\n".repeat(150));
        let fault = |middle: &str| {
            median_fault(&Tree::of(&[("src/a.rs", ""), ("src/b.rs", middle), ("src/c.rs", &long)]))
        };
        assert!(fault(&long).is_some_and(|fault| fault.contains("has 151 lines")));
        assert_eq!(fault(&short), None);
    }

    #[test]
    fn exceptions_have_a_limit_and_do_not_outlive_their_cause() {
        let long = "fn f() {}\n".repeat(500);
        let tree = Tree::of(&[("src/long.rs", &long), ("src/short.rs", "fn f() {}\n")]);
        let faults = faults_by(
            &[("src/long.rs", 450, "a"), ("src/short.rs", 500, "b"), ("src/gone.rs", 500, "c")],
            &tree,
        );
        for word in ["450 are excepted", "take out its exception", "not there"] {
            assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults:?}");
        }
    }
}
