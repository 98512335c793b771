//! Every direct dependency is accounted for: a line in the decision record says why it is there, and some code uses it.

use std::collections::BTreeSet;

use super::source::{Tree, Word, words};

const RECORD: &str = "docs/adr/0011-dependencies.md";
/// Used by another crate's interface only, or by a feature's name.
const UNNAMED: &[&str] = &[];

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(record) = tree.texts.get(RECORD) else {
        return vec![format!("{RECORD}: is not there")];
    };
    let mut tables = Vec::new();
    for (path, text) in
        tree.texts.iter().filter(|(path, _)| path.ends_with("Cargo.toml") && !path.starts_with("fuzz/"))
    {
        match text.parse::<toml::Table>() {
            Ok(manifest) => tables.push((path.trim_end_matches("Cargo.toml"), manifest)),
            Err(error) => return vec![format!("{path} cannot be read: {error}")],
        }
    }
    let mut names = BTreeSet::new();
    for (folder, manifest) in &tables {
        let own = names_in(manifest);
        let is_own = |path: &str| {
            ["src/", "tests/", "examples/", "benches/"]
                .iter()
                .any(|f| path.starts_with(&format!("{folder}{f}")))
        };
        let own_code = tree.texts.iter().filter(|(path, _)| path.ends_with(".rs") && is_own(path));
        let words: Vec<Word> = own_code.flat_map(|(path, text)| words(path, text)).collect();
        for name in &own {
            let is_used = names_crate(&words, &name.replace('-', "_"));
            if !is_used && !UNNAMED.contains(name) {
                faults.push(format!("{name}: no code names it: take it out of {folder}Cargo.toml"));
            }
        }
        names.extend(own);
    }
    let listed: BTreeSet<&str> = record
        .lines()
        .filter_map(|line| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()))
        .collect();
    for name in &names {
        if !listed.contains(name) {
            faults.push(format!("{name}: has no row in {RECORD}"));
        }
    }
    for name in listed.difference(&names) {
        faults.push(format!("{name}: has a row in {RECORD} and is no dependency"));
    }
    faults
}

/// Every direct dependency of a manifest.
fn names_in(manifest: &toml::Table) -> BTreeSet<&str> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table);
    std::iter::once(manifest)
        .chain(tables)
        .flat_map(|table| ["dependencies", "dev-dependencies"].map(|name| table.get(name)))
        .flatten()
        .filter_map(toml::Value::as_table)
        .flat_map(|table| table.keys().map(String::as_str))
        .collect()
}

/// Whether a path (`name::…`) or a macro (`name!`) begins with it.
fn names_crate(words: &[Word], name: &str) -> bool {
    words
        .windows(3)
        .any(|w| w[0].text == name && (w[1].text == "!" || (w[1].text == ":" && w[2].text == ":")))
}

#[test]
fn every_gap_is_found() {
    let manifest = "[dependencies]\nused-one = \"1\"\n[target.'cfg(unix)'.dependencies]\nidle = \"1\"\n";
    let found = |record: &str, word: &str| {
        let tree = Tree::of(&[
            ("Cargo.toml", manifest),
            (RECORD, record),
            ("src/lib.rs", "use used_one::X; // idle::X"),
        ]);
        let faults = faults(&tree);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults:?}");
        faults.len()
    };
    assert_eq!(found("| `used-one` | x |\n| `idle` | x |\n", "idle: no code names it"), 1);
    assert_eq!(found("| `used-one` | x |\n", "idle: has no row"), 2);
    assert_eq!(found("| `used-one` | x |\n| `idle` | x |\n| `gone` | x |\n", "gone: has a row"), 2);
}
