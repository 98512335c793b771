//! The tree as text, and its Rust files as syntax: comments and strings are no code, and tests stand apart.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Meta, Token};

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
pub(crate) struct Tree {
    pub(crate) texts: BTreeMap<String, String>,
    parsed: OnceCell<BTreeMap<String, Parsed>>,
}

impl Tree {
    /// Every text file of this repository.
    pub(crate) fn of_repository() -> Self {
        let root = repository();
        let mut tree = Self::default();
        tree.read(&root, &root);
        assert!(tree.texts.contains_key("src/lib.rs"), "no src/lib.rs under {}", root.display());
        tree
    }

    /// A tree made up for a control.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { texts: owned.collect(), parsed: OnceCell::new() }
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
                self.texts.insert(parts.join("/"), std::fs::read_to_string(&path).unwrap());
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
        self.texts
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(move |(path, _)| wanted(path))
    }

    /// The Rust files of `src`.
    pub(crate) fn parsed(&self) -> &BTreeMap<String, Parsed> {
        self.parsed.get_or_init(|| {
            let files = self.under("src/", ".rs");
            let mut parsed: BTreeMap<_, _> =
                files.map(|(path, text)| (path.to_owned(), Parsed::new(path, text))).collect();
            let roots: Vec<String> =
                parsed.iter().flat_map(|(path, file)| file.modules_for_tests(path)).collect();
            for (path, file) in &mut parsed {
                let is_in =
                    |root: &String| *path == format!("{root}.rs") || path.starts_with(&format!("{root}/"));
                file.is_for_tests = roots.iter().any(is_in);
            }
            parsed
        })
    }
}

/// Folder in which the modules declared in `path` lie.
pub(crate) fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

/// A Rust file without the items that are compiled for tests only, and these items.
pub(crate) struct Parsed {
    pub(crate) file: syn::File,
    pub(crate) tests: Vec<TokenStream>,
    /// Whether the whole file is: its module, or one above it, is declared under `#[cfg(test)]`.
    pub(crate) is_for_tests: bool,
}

impl Parsed {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut file = match syn::parse_file(text) {
            Ok(file) => file,
            Err(error) => panic!("{path}:{}: {error}", error.span().start().line),
        };
        let mut apart = Apart(Vec::new());
        apart.visit_file_mut(&mut file);
        Self { file, tests: apart.0, is_for_tests: false }
    }

    /// Paths, without ending, of the modules that the file declares for tests.
    fn modules_for_tests(&self, path: &str) -> Vec<String> {
        let declared = self.tests.iter().filter_map(|item| match syn::parse2(item.clone()) {
            Ok(syn::ItemMod { ident, content: None, .. }) => Some(format!("{}/{ident}", module_folder(path))),
            _ => None,
        });
        declared.collect()
    }
}

/// Takes items for tests out of files, modules and `impl` blocks.
struct Apart(Vec<TokenStream>);

impl Apart {
    fn take<T: ToTokens>(&mut self, items: &mut Vec<T>) {
        items.retain(|item| {
            let tokens = item.to_token_stream();
            let is_test = attributes(tokens.clone()).iter().any(|attribute| is_for_tests(&attribute.meta));
            if is_test {
                self.0.push(tokens);
            }
            !is_test
        });
    }
}

impl VisitMut for Apart {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        self.take(&mut file.items);
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            self.take(items);
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        self.take(&mut block.items);
    }
}

/// Attributes in front of an item of any kind.
fn attributes(item: TokenStream) -> Vec<Attribute> {
    let parser = |input: ParseStream<'_>| {
        let attributes = input.call(Attribute::parse_outer)?;
        input.parse::<TokenStream>()?;
        Ok(attributes)
    };
    parser.parse2(item).unwrap_or_default()
}

/// Whether `#[meta]` leaves its item out of every build but that of the tests.
fn is_for_tests(meta: &Meta) -> bool {
    let Meta::List(list) = meta else { return meta.path().is_ident("test") };
    let inside = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let decides = list.path.is_ident("cfg") || list.path.is_ident("all");
    decides && inside.is_ok_and(|inside| inside.iter().any(is_for_tests))
}

/// One token: a name, a character of punctuation or a bracket. Of a literal only that there is one.
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The tokens of a Rust file in their order.
pub(crate) fn words(path: &str, text: &str) -> Vec<Word> {
    match text.parse() {
        Ok(tokens) => words_of(tokens),
        Err(error) => panic!("{path} cannot be read as Rust: {error}"),
    }
}

pub(crate) fn words_of(tokens: TokenStream) -> Vec<Word> {
    let mut words = Vec::new();
    for token in tokens {
        let line = token.span().start().line;
        let text = match &token {
            TokenTree::Ident(name) => name.to_string(),
            TokenTree::Punct(punctuation) => punctuation.to_string(),
            TokenTree::Literal(_) => "\"\"".to_owned(),
            TokenTree::Group(group) => {
                words.push(Word { text: "(".to_owned(), line });
                words.extend(words_of(group.stream()));
                ")".to_owned()
            }
        };
        words.push(Word { text, line });
    }
    words
}

#[test]
fn comments_strings_and_tests_are_not_read() {
    let source = concat!(
        "use crate::a; // crate::b\n/* crate::c /* nested */ crate::d */\n",
        "const S: &str = \"crate::e \\\" crate::f\";\nconst R: &str = r#\"crate::g\"#;\n",
        "fn f<'a>(x: &'a str) -> char { '\"' }\n",
        "#[cfg(test)]\nmod tests { use crate::h; fn g() { { } } }\nuse crate::i;\n",
        "mod inner { #[cfg(all(test, unix))] use crate::j; use crate::k; }\n",
        "impl T { #[cfg(test)] fn f() { crate::l() } #[cfg(not(test))] fn f() { crate::m() } }\n",
        "#[cfg(any(unix, test))] fn f() { crate::n() } #[test] fn g() { crate::o() }\n",
    );
    let names = |tokens: TokenStream| {
        let words = words_of(tokens);
        words.windows(3).filter(|w| w[1].text == ":" && w[0].text == ":").map(|w| w[2].text.clone()).collect()
    };
    let parsed = Parsed::new("a.rs", source);
    let read: Vec<String> = names(parsed.file.to_token_stream());
    assert_eq!(read, ["a", "i", "k", "m", "n"]);
    let apart: Vec<String> = parsed.tests.into_iter().flat_map(names).collect();
    assert_eq!(apart, ["h", "o", "j", "l"]);
    assert_eq!(words("a.rs", source).last().unwrap().line, source.lines().count());
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
    let found = tree.parsed().iter().filter(|(_, file)| file.is_for_tests).map(|(path, _)| path);
    assert_eq!(found.collect::<Vec<_>>(), expected);
}
