//! Inside a module, too, files need one another in one direction: what goes round is read all at once or not at all.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Module, Modules};
use super::source::Tree;

/// Circles that are harmless: their files, and why they stay. What is left of one may be smaller, never larger.
const KNOWN: &[(&[&str], &str)] = &[];

/// For each file of a module the files of the same module that it needs, and the line of `from` that says so.
type Needs<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    faults_by(KNOWN, tree)
}

fn faults_by(known: &[(&[&str], &str)], tree: &Tree) -> Vec<String> {
    let modules = Modules::of(tree);
    let needs = needs(&modules);
    let circles = circles(&needs);
    let mut faults = Vec::new();
    for circle in &circles {
        if !known.iter().any(|(files, _)| circle.iter().all(|file| files.contains(file))) {
            faults.push(format!(
                "files need one another in a circle; move what both sides need into a file of its own: {}",
                told(circle, &needs)
            ));
        }
    }
    for (files, reason) in known {
        if !circles.iter().any(|circle| circle.iter().all(|file| files.contains(file))) {
            faults.push(format!(
                "no circle is left in {} ({reason}): take it out of the list",
                files.join(", ")
            ));
        }
    }
    faults
}

fn needs(modules: &Modules) -> Needs<'_> {
    let mut needs = Needs::new();
    for (path, Module { file, .. }) in &modules.0 {
        for (target, line) in modules.needs(path) {
            let Some(other) = modules.file_of(&target) else { continue };
            if other != file && path.first() == target.module().first() {
                needs.entry(file).or_default().entry(other).or_insert(line);
            }
        }
    }
    needs
}

/// Sets of files that reach one another.
fn circles<'a>(needs: &Needs<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        needs.keys().map(|file| (*file, reached_from(file, needs))).collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, others) in &reached {
        let is_seen = circles.iter().any(|circle| circle.contains(file));
        if others.contains(file) && !is_seen {
            let goes_back = |other: &&&str| reached.get(**other).is_some_and(|back| back.contains(file));
            circles.push(others.iter().filter(goes_back).copied().collect());
        }
    }
    circles
}

fn reached_from<'a>(file: &str, needs: &Needs<'a>) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
    while let Some(next) = open.pop() {
        for other in needs.get(next).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(*other) {
                open.push(other);
            }
        }
    }
    reached
}

/// Who needs whom, and where that is written.
fn told(circle: &BTreeSet<&str>, needs: &Needs<'_>) -> String {
    let mut lines = Vec::new();
    for file in circle {
        for (other, line) in needs[file].iter().filter(|(other, _)| circle.contains(*other)) {
            lines.push(format!("\n    {file}:{line} needs {other}"));
        }
    }
    lines.concat()
}

#[cfg(test)]
mod controls {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("src/lib.rs", "mod a;")];
        all.extend(files);
        faults_by(&[], &Tree::of(&all))
    }

    #[test]
    fn files_that_need_one_another_are_found_however_they_name_it() {
        let ways = [
            "use super::two::Two;",
            "use crate::a::two::Two;",
            "use super::{two::{self}};",
            "use crate::a::Two;",
            "fn f() { crate::a::two::g() }",
            "fn f() { use super::two::*; Two }",
            "fn f() { println!(\"{}\", super::two::TWO) }",
        ];
        for way in ways {
            let faults = found(&[
                ("src/a/mod.rs", "mod one; mod two; mod three; pub(crate) use two::Two;"),
                ("src/a/one.rs", way),
                ("src/a/two.rs", "use super::three::Three; pub struct Two;"),
                ("src/a/three.rs", "use super::one::One;"),
            ]);
            assert_eq!(faults.len(), 1, "{way}: {faults:?}");
            assert!(faults[0].contains("src/a/one.rs:1 needs src/a/two.rs"), "{way}: {faults:?}");
        }
    }

    #[test]
    fn a_parent_that_uses_its_child_must_not_be_used_by_it() {
        let child = ("src/a/one.rs", "use super::Top; pub struct One; pub fn made() -> One { One }");
        let ways = [
            ("mod one; pub use one::One; pub struct Top;", 0),
            ("mod one; pub(crate) use one::One; pub struct Top(One);", 1),
            ("mod one; pub struct Top(one::One);", 1),
            ("mod one; use one::*; pub struct Top; fn f() { made() }", 1),
            ("mod one; pub struct Top; #[cfg(test)] mod tests { use super::one::One; }", 0),
        ];
        for (parent, expected) in ways {
            let faults = found(&[("src/a/mod.rs", parent), child]);
            assert_eq!(faults.len(), expected, "{parent}: {faults:?}");
        }
    }

    #[test]
    fn one_direction_and_other_crates_are_no_circle() {
        let faults = found(&[
            ("src/a/mod.rs", "mod one; mod two; use half::one; pub use one::One;"),
            ("src/a/one.rs", "use super::two::Two; use super::half; use serde::two; pub struct One;"),
            (
                "src/a/two.rs",
                "pub(in crate::a) struct Two; fn f() { self.one(); 0..one::X; serde::one::f() }",
            ),
        ]);
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn a_known_circle_may_shrink_and_does_not_outlive_its_cause() {
        let files = [
            ("src/lib.rs", "mod a;"),
            ("src/a/mod.rs", "mod one; mod two;"),
            ("src/a/one.rs", "use super::two::Two; pub struct One;"),
            ("src/a/two.rs", "use super::one::One; pub struct Two;"),
        ];
        let (one, two, three) = ("src/a/one.rs", "src/a/two.rs", "src/a/three.rs");
        let with = |known: &[(&[&str], &str)]| faults_by(known, &Tree::of(&files));
        assert_eq!(with(&[(&[one, two], "b")]), Vec::<String>::new());
        assert_eq!(with(&[(&[one, three, two], "b")]), Vec::<String>::new());
        let faults = with(&[(&[one, three], "b")]);
        assert!(faults.len() == 2 && faults[1].contains("take it out"), "{faults:?}");
    }
}
