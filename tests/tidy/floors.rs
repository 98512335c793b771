//! Modules stand on floors and import only from floors below; modules of one floor do not know each other.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Modules, Path};
use super::source::Tree;

/// From the ground up. A new module is entered here first.
const FLOORS: &[&[&str]] = &[
    &["error", "ids", "number", "rng"],
    &["event", "file", "latent", "reference", "vision"],
    &["gpu", "backbone"],
    &["heads", "memory"],
    &["cut", "learn"],
    &["export"],
    &["session"],
    &["app"],
    &["low_level"],
];
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

fn imports(tree: &Tree, tops: &BTreeSet<&str>) -> (Vec<Import>, Vec<String>) {
    let (mut imports, mut unknown) = (Vec::new(), Vec::new());
    let modules = Modules::of(tree);
    for (path, module) in modules.0.iter().filter(|(path, _)| !path.is_empty()) {
        let from = &path[0];
        let imported = module.imports.iter().map(|import| (&import.path, import.line));
        let named = module.paths.iter().map(|(named, line)| (named, *line));
        for (name, line) in
            imported.chain(named).filter_map(|(named, line)| Some((at_root(path, named)?, line)))
        {
            let place = format!("{}:{line}", module.file);
            // What the root passes on belongs to the module that defines it.
            let passed_on =
                || Some(modules.target(&[], std::slice::from_ref(&name))?.module().first()?.clone());
            match if tops.contains(name.as_str()) { Some(name.clone()) } else { passed_on() } {
                Some(to) if to != *from => imports.push(Import { from: from.clone(), to, place }),
                Some(_) => {}
                None => unknown
                    .push(format!("{place}: `crate::{name}` is neither a module nor a known re-export")),
            }
        }
    }
    (imports, unknown)
}

/// The name that follows the root of the crate in a path that leads there, by `crate::` or by climbing with `super::`.
fn at_root(module: &Path, named: &[String]) -> Option<String> {
    let climbed = named.iter().take_while(|name| *name == "super").count();
    let is_there = named[0] == "crate" || climbed > 0 && climbed == module.len();
    named.get(climbed.max(1)).filter(|_| is_there).cloned()
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
