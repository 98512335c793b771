//! What must not be committed: paths of one machine, unfinished code, modules named after nothing.

use super::source::{Tree, code};

/// Paths that exist on one machine only. Written in two parts, so that this file passes its own rule.
const LOCAL_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tm", "p/"),
    concat!("/ho", "me/"),
    concat!("../sha", "red"),
    concat!("C:\\Us", "ers"),
];
/// A temporary folder is a script's business.
const FOR_SCRIPTS: &str = concat!("/tm", "p/");
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];
const SHAPELESS: &[&str] = &["utils", "util", "helper", "helpers", "manager", "misc"];

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.under("", "") {
        let is_script = path.starts_with("scripts/") || path.starts_with(".ci/");
        for (number, line) in text.lines().enumerate() {
            let local = LOCAL_PATHS.iter().find(|local| line.contains(**local));
            if let Some(local) = local.filter(|local| !(is_script && **local == FOR_SCRIPTS)) {
                faults.push(format!("{path}:{}: names the local path `{local}`", number + 1));
            }
        }
        if path.ends_with(".rs") {
            for (number, line) in code(text).lines().enumerate() {
                for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
                    faults.push(format!("{path}:{}: `{word}` is unfinished work", number + 1));
                }
                let declared =
                    line.split_once("mod ").map(|(_, name)| name.trim_end_matches(['{', ';', ' ']));
                if let Some(name) = declared.filter(|name| SHAPELESS.contains(name)) {
                    faults.push(format!("{path}:{}: a module named `{name}` says nothing", number + 1));
                }
            }
            let mut parts = path.trim_end_matches(".rs").split('/');
            if let Some(name) = parts.find(|part| SHAPELESS.contains(part)) {
                faults.push(format!("{path}: `{name}` says nothing: name it after what is in it"));
            }
        }
    }
    faults
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn every_banned_word_is_found_and_its_mention_is_not() {
    let found = |path: &str, text: &str| faults(&Tree::of(&[(path, text)])).len();
    assert_eq!(found("src/a.rs", "fn f() { todo!() }"), 1);
    assert_eq!(found("src/a.rs", "fn f() { dbg!(1); unimplemented!() }"), 2);
    assert_eq!(found("src/a.rs", "// todo! is banned\nconst S: &str = \"dbg!\"; my_todo!();"), 0);
    assert_eq!(found("src/utils.rs", ""), 1);
    assert_eq!(found("src/a/helper/mod.rs", ""), 1);
    assert_eq!(found("src/a.rs", "mod manager;"), 1);
    assert_eq!(found("README.md", concat!("see /wo", "rk/x")), 1);
    assert_eq!(found("docs/a.md", concat!("see /tm", "p/x")), 1);
    assert_eq!(found("scripts/test", concat!("mktemp -d /tm", "p/x")), 0);
    assert_eq!(found("scripts/test", concat!("cd /ro", "ot/x")), 1);
}
