//! What must not be committed: paths of one machine, unfinished code, modules named after nothing.

use super::source::{Tree, words};

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
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];
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
            for pair in words(path, text).windows(2) {
                let (line, first, second) = (pair[0].line, pair[0].text.as_str(), pair[1].text.as_str());
                if second == "!" && UNFINISHED.contains(&first) {
                    faults.push(format!("{path}:{line}: `{first}!` is unfinished work"));
                }
                if first == "mod" && SHAPELESS.contains(&second) {
                    faults.push(format!("{path}:{line}: a module named `{second}` says nothing"));
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
