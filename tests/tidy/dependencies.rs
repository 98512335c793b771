//! Every direct dependency is accounted for: a line in the decision record says why it is there, and some code uses it.

use std::collections::BTreeSet;

use super::source::{Tree, code};

const RECORD: &str = "docs/adr/0011-dependencies.md";
/// Used by another crate's interface only, or by a feature's name.
const UNNAMED: &[&str] = &[];

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(record) = tree.0.get(RECORD) else {
        return vec![format!("{RECORD}: is not there")];
    };
    let mut tables = Vec::new();
    for (path, text) in
        tree.0.iter().filter(|(path, _)| path.ends_with("Cargo.toml") && !path.starts_with("fuzz/"))
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
        let own_code = tree.0.iter().filter(|(path, _)| path.ends_with(".rs") && is_own(path));
        let sources: Vec<String> = own_code.map(|(_, text)| code(text)).collect();
        for name in &own {
            let path = name.replace('-', "_");
            let is_used = sources.iter().any(|text| names_crate(text, &path));
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

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let rest = code[at + name.len()..].trim_start();
        let is_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        is_word && (rest.starts_with("::") || rest.starts_with("!"))
    })
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
