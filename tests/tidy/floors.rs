//! Modules stand on floors and import only from floors below; modules of one floor do not know each other.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Tree, code, without_tests};

/// From the ground up. A new module is entered here first.
const FLOORS: &[&[&str]] = &[
    &["error", "ids", "number", "rng"],
    &["event", "file", "reference", "vision"],
    &["gpu", "backbone"],
    &["heads", "memory"],
    &["learn"],
    &["export"],
    &["session"],
    &["app"],
    &["low_level"],
];
/// Names at the root of the crate that are re-exports, with their module.
const RE_EXPORTED: &[(&str, &str)] = &[("Error", "error"), ("Result", "error")];

/// A line that names another module: from, to, where.
struct Import {
    from: String,
    to: String,
    place: String,
}

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    faults_by(FLOORS, tree)
}

fn faults_by(floors: &[&[&str]], tree: &Tree) -> Vec<String> {
    let modules: BTreeSet<&str> =
        tree.under("src/", ".rs").filter_map(|(path, _)| top_module(path)).collect();
    let floor_of = |module: &str| floors.iter().position(|floor| floor.contains(&module));
    let mut faults = Vec::new();
    for module in modules.iter().filter(|m| floor_of(m).is_none()) {
        faults.push(format!("src/{module}: is on no floor: enter it in the table of floors"));
    }
    for module in floors.iter().flat_map(|floor| floor.iter()).filter(|m| !modules.contains(*m)) {
        faults.push(format!("{module}: is in the table of floors and not in src: take it out"));
    }
    let (imports, unknown) = imports(tree, &modules);
    faults.extend(unknown);
    for Import { from, to, place } in &imports {
        let (Some(own), Some(other)) = (floor_of(from), floor_of(to)) else {
            continue;
        };
        if other == own {
            faults.push(format!("{place}: {from} imports from {to}, its neighbour on floor {own}"));
        } else if other > own {
            faults.push(format!("{place}: {from} (floor {own}) imports from {to} (floor {other}) above it"));
        }
    }
    faults.extend(cycle(&imports));
    faults
}

/// Module directly under the root that `path` belongs to; `None` for the roots themselves.
fn top_module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main" | "bin")).then_some(name)
}

fn imports(tree: &Tree, modules: &BTreeSet<&str>) -> (Vec<Import>, Vec<String>) {
    let (mut imports, mut unknown) = (Vec::new(), Vec::new());
    let tests = tree.test_files();
    for (path, text) in tree.under("src/", ".rs").filter(|(path, _)| !tests.contains(*path)) {
        let Some(from) = top_module(path) else { continue };
        let code = without_tests(&code(text));
        for (at, name) in root_names(&code, path) {
            let place = format!("{path}:{}", 1 + code[..at].matches('\n').count());
            let re_exported = RE_EXPORTED.iter().find(|(known, _)| *known == name).map(|(_, module)| *module);
            let Some(to) = re_exported.or_else(|| modules.get(name.as_str()).copied()) else {
                unknown.push(format!("{place}: `crate::{name}` is neither a module nor a known re-export"));
                continue;
            };
            if to != from {
                imports.push(Import { from: from.to_owned(), to: to.to_owned(), place });
            }
        }
    }
    (imports, unknown)
}

/// Names that directly follow the crate's root, by `crate::` or by climbing there with `super::`.
fn root_names(code: &str, path: &str) -> Vec<(usize, String)> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let depth = inside.split('/').count() - usize::from(inside.ends_with("/mod.rs"));
    let climb = "super::".repeat(depth);
    let mut names = Vec::new();
    for (root, exactly) in [("crate::", false), (climb.as_str(), true)] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            let rest = &code[at + root.len()..];
            let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
            // Fewer levels end in a module of this file's own; more do not compile.
            if inside_word || (exactly && rest.starts_with("super::")) {
                continue;
            }
            let found = if rest.starts_with('{') { group(rest) } else { vec![identifier(rest)] };
            names.extend(found.into_iter().filter(|name| !name.is_empty()).map(|name| (at, name)));
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First names of a group import: `{a::b, c::{d, e}}` gives a, c.
fn group(text: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 1, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                names.push(identifier(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            names.push(identifier(&text[start..at]));
            break;
        }
    }
    names
}

/// A cycle between modules, if there is one.
fn cycle(imports: &[Import]) -> Option<String> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Import { from, to, .. } in imports {
        edges.entry(from).or_default().insert(to);
    }
    // What imports nothing that is left, or is imported by nothing left, goes out; what then remains goes round.
    loop {
        let left: BTreeSet<&str> = edges.keys().copied().collect();
        edges.values_mut().for_each(|to| to.retain(|module| left.contains(module)));
        let before = edges.len();
        let imported: BTreeSet<&str> = edges.values().flatten().copied().collect();
        edges.retain(|from, to| !to.is_empty() && imported.contains(from));
        if edges.is_empty() {
            return None;
        }
        if edges.len() == before {
            let names: Vec<_> = edges.keys().copied().collect();
            return Some(format!("modules import from one another in a circle: {}", names.join(", ")));
        }
    }
}

#[cfg(test)]
mod controls {
    use super::*;

    const FLOORS: &[&[&str]] = &[&["low", "beside"], &["high"]];

    fn found(files: &[(&str, &str)], word: &str) {
        let mut all =
            vec![("src/lib.rs", ""), ("src/low.rs", ""), ("src/beside.rs", ""), ("src/high/mod.rs", "")];
        all.retain(|(path, _)| !files.iter().any(|(other, _)| other == path));
        all.extend(files);
        let faults = faults_by(FLOORS, &Tree::of(&all));
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults:?}");
    }

    #[test]
    fn a_clean_tree_has_no_fault() {
        let files = [
            ("src/lib.rs", "pub use low::X;"),
            ("src/low.rs", "// crate::high\n#[cfg(test)]\nmod tests { use crate::high::Y; }"),
            ("src/beside.rs", ""),
            ("src/high/mod.rs", "use crate::{low::X, beside};\nuse super::low;"),
            ("src/high/part.rs", "use super::super::low::X; use super::other; use crate::high::other;"),
        ];
        assert_eq!(faults_by(FLOORS, &Tree::of(&files)), Vec::<String>::new());
    }

    #[test]
    fn every_breach_is_found() {
        found(&[("src/low.rs", "use crate::high::X;")], "above it");
        found(&[("src/low.rs", "fn f() { crate::high::g(); }")], "src/low.rs:1");
        found(&[("src/low.rs", "use crate::{Error, nothing};")], "neither a module");
        found(&[("src/low.rs", "use crate::{\n    low::a,\n    high::{b, c},\n};")], "above it");
        found(&[("src/low.rs", "use super::high::X;")], "above it");
        found(&[("src/low/part.rs", "use super::super::high::X;")], "above it");
        found(&[("src/low.rs", "use crate::beside::X;")], "neighbour");
        found(&[("src/low.rs", "use crate::high;"), ("src/high/mod.rs", "use crate::low;")], "circle");
        found(&[("src/stray.rs", "")], "on no floor");
        let missing = faults_by(FLOORS, &Tree::of(&[("src/low.rs", "")]));
        assert!(missing.iter().any(|fault| fault.contains("not in src")), "{missing:?}");
    }
}
