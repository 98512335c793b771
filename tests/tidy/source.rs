//! The tree as text, and Rust sources without what rules must not read: comments, strings, tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders that hold nothing written by hand.
const SKIPPED: &[&str] = &["target", ".git", ".cache", ".venv", "out", "shared"];
/// Recordings and expected values, with a licence and a README of their own.
const DATA: &str = "tests/data";
/// What is read as text.
const TEXT: &[&str] = &["rs", "wgsl", "md", "toml", "py", "sh", "svg", "json", "yml", "yaml"];

/// Root of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Text files by their path from the root, with `/` between parts.
#[derive(Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, String>);

impl Tree {
    /// Every text file of this repository.
    pub(crate) fn of_repository() -> Self {
        let root = repository();
        let mut tree = Self::default();
        tree.read(&root, &root);
        assert!(tree.0.contains_key("src/lib.rs"), "no src/lib.rs under {}", root.display());
        tree
    }

    /// A tree made up for a control.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self(owned.collect())
    }

    fn read(&mut self, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                if !SKIPPED.contains(&name.as_str()) && !folder.ends_with(DATA) {
                    self.read(root, &path);
                }
                continue;
            }
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            let is_script =
                path.parent().is_some_and(|p| ["scripts", ".ci"].iter().any(|folder| p.ends_with(folder)));
            if TEXT.contains(&extension) || is_script {
                let parts = path.strip_prefix(root).unwrap().components();
                let parts: Vec<_> = parts.map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
                self.0.insert(parts.join("/"), std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// Files under `prefix` that end in `suffix`.
    pub(crate) fn under<'a>(
        &'a self,
        prefix: &'a str,
        suffix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let wanted = move |path: &str| path.starts_with(prefix) && path.ends_with(suffix);
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str())).filter(move |(path, _)| wanted(path))
    }

    /// Rust files of `src` that are compiled for tests only: modules declared under `#[cfg(test)]`, and all below.
    pub(crate) fn test_files(&self) -> BTreeSet<String> {
        let mut roots = Vec::new();
        for (path, text) in self.under("src/", ".rs") {
            let code = code(text);
            for (at, _) in code.match_indices(CFG_TEST) {
                let end = item_end(&code, at + CFG_TEST.len());
                if let Some(name) = declared_module(&code[at..end]) {
                    roots.push(format!("{}/{name}", module_folder(path)));
                }
            }
        }
        let is_test = |path: &str| {
            roots.iter().any(|root| path == format!("{root}.rs") || path.starts_with(&format!("{root}/")))
        };
        self.under("src/", ".rs").map(|(path, _)| path.to_owned()).filter(|path| is_test(path)).collect()
    }
}

const CFG_TEST: &str = "#[cfg(test)]";

/// Name in `mod name;`, if the item is that.
fn declared_module(item: &str) -> Option<&str> {
    let declaration = item.strip_suffix(';')?;
    let (_, name) = declaration.rsplit_once("mod ")?;
    let name = name.trim();
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
}

/// Folder in which the modules declared in `path` lie.
pub(crate) fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

/// Rust source with comments and the contents of string and character literals blanked; lines stay lines.
pub(crate) fn code(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let name_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r' | 'b' | 'c', ..] if !name_before => raw_string(rest).unwrap_or(0),
            ['"', ..] => quoted(rest, '"'),
            ['\'', '\\', ..] => quoted(rest, '\''),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if length == 0 {
            out.push(rest[0]);
            at += 1;
        } else {
            out.extend(rest[..length].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    out
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of `r"…"`, `br#"…"#` and their like; `None` for anything else.
fn raw_string(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take(2).take_while(|c| "rbc".contains(**c)).count();
    if !rest[..prefix].contains(&'r') {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    let body = &rest[open + 1..];
    let end = body.windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + end + close.len())
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `code` without the items under `#[cfg(test)]`; lines stay lines.
pub(crate) fn without_tests(code: &str) -> String {
    split_tests(code).0
}

/// The rest of `code`, and its items under `#[cfg(test)]`, each in the lines where it was.
pub(crate) fn split_tests(code: &str) -> (String, String) {
    let (mut rest, mut tests) = (String::new(), String::new());
    let mut from = 0;
    while let Some(found) = code[from..].find(CFG_TEST) {
        let (start, end) = (from + found, item_end(code, from + found + CFG_TEST.len()));
        rest.push_str(&code[from..start]);
        tests.push_str(&blank(&code[from..start]));
        rest.push_str(&blank(&code[start..end]));
        tests.push_str(&code[start..end]);
        from = end;
    }
    rest.push_str(&code[from..]);
    (rest, tests)
}

fn blank(text: &str) -> String {
    text.chars().filter(|c| *c == '\n').collect()
}

/// End of the item that starts at `from`: its `;` or the brace that closes it.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == ';' || c == '}') {
            return from + at + 1;
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_tests_are_not_read() {
    let source = concat!(
        "use crate::a; // crate::b\n/* crate::c /* nested */ crate::d */\n",
        "const S: &str = \"crate::e \\\" crate::f\";\nconst R: &str = r#\"crate::g\"#;\n",
        "fn f<'a>(x: &'a str) -> char { '\"' }\n",
        "#[cfg(test)]\nmod tests { use crate::h; fn g() { { } } }\nuse crate::i;\n"
    );
    let seen = without_tests(&code(source));
    let names: Vec<_> = ('a'..='i').filter(|c| seen.contains(&format!("crate::{c}"))).collect();
    assert_eq!(names, ['a', 'i'], "{seen}");
    assert_eq!(seen.lines().count(), source.lines().count());
}

#[test]
fn modules_declared_for_tests_are_test_files() {
    let tree = Tree::of(&[
        ("src/a/mod.rs", "mod b;\n#[cfg(test)]\npub(crate) mod c;\n"),
        ("src/a/b.rs", "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline { }\n"),
        ("src/a/b/tests.rs", ""),
        ("src/a/b/tests/more.rs", ""),
        ("src/a/c.rs", ""),
        ("src/a/inline.rs", ""),
    ]);
    let expected = ["src/a/b/tests.rs", "src/a/b/tests/more.rs", "src/a/c.rs"];
    assert_eq!(tree.test_files().into_iter().collect::<Vec<_>>(), expected);
}
