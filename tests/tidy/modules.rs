//! The modules of `src` with what each declares, imports and names, and where a path leads.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Item, UseTree, Visibility};

use super::source::{Tree, module_folder};

/// The root of the crate is the empty path.
pub(crate) type Path = Vec<String>;

#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) imports: Vec<Import>,
    /// Paths of two names and more outside of imports, with their line.
    pub(crate) paths: Vec<(Path, usize)>,
    /// Items other than modules, `impl` blocks and macro calls.
    pub(crate) items: Vec<Item>,
    pub(crate) blocks: Vec<syn::ItemImpl>,
    /// Modules declared, with how far they are visible.
    pub(crate) modules: Vec<(String, Visibility)>,
    /// First names of all paths outside of imports.
    names: BTreeSet<String>,
}

/// A leaf of a `use`.
pub(crate) struct Import {
    pub(crate) path: Path,
    /// Name that it goes by here; `*` for all of a module.
    pub(crate) name: String,
    /// Visible further up than here: passed on.
    pub(crate) is_passed_on: bool,
    /// Visible outside of the crate, if the module is.
    pub(crate) is_public: bool,
    pub(crate) line: usize,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Module(Path),
    /// An item of that name, in the module that defines it.
    Item(Path, String),
}

impl Target {
    pub(crate) fn module(&self) -> &Path {
        let (Self::Module(path) | Self::Item(path, _)) = self;
        path
    }
}

pub(crate) struct Modules(pub(crate) BTreeMap<Path, Module>);

impl Modules {
    /// All but what is compiled for tests only.
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut modules = Self(BTreeMap::new());
        for (file, parsed) in tree.parsed().iter().filter(|(_, parsed)| !parsed.is_for_tests) {
            if file != "src/main.rs" && !file.starts_with("src/bin/") {
                modules.add(file, module_path(file), &parsed.file.items);
            }
        }
        modules
    }

    fn add(&mut self, file: &str, path: Path, items: &[Item]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items {
            match item {
                Item::Mod(syn::ItemMod { ident, vis, content, .. }) => {
                    let inner = path.iter().cloned().chain([ident.to_string()]).collect();
                    if let Some((_, inside)) = content {
                        self.add(file, inner, inside);
                    }
                    module.modules.push((ident.to_string(), vis.clone()));
                }
                Item::Use(item) => module.leaves(&item.tree, &[], &item.vis),
                item => {
                    module.read(item.to_token_stream());
                    match item {
                        Item::Impl(block) => module.blocks.push(block.clone()),
                        item => module.items.push(item.clone()),
                    }
                }
            }
        }
        self.0.insert(path, module);
    }

    /// Where `path`, written in `from`, leads; `None` out of the crate.
    pub(crate) fn target(&self, from: &[String], path: &[String]) -> Option<Target> {
        self.walk(from, path, 16)
    }

    fn walk(&self, from: &[String], path: &[String], depth: usize) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Target::Module(Vec::new()),
            "self" => Target::Module(from.to_vec()),
            "super" => {
                let mut up = from.split_last()?.1;
                while rest.first().is_some_and(|name| name == "super") {
                    (up, rest) = (up.split_last()?.1, &rest[1..]);
                }
                Target::Module(up.to_vec())
            }
            name => self.look_up(from, name, rest.is_empty(), depth)?,
        };
        while let Some((name, after)) = rest.split_first() {
            at = match at {
                Target::Module(module) => match self.look_up(&module, name, after.is_empty(), depth) {
                    Some(target) => target,
                    None if self.imports_from_elsewhere(&module, name) => return None,
                    // What no item of the module is called comes out of a macro of it.
                    None => Target::Item(module, name.clone()),
                },
                item @ Target::Item(..) => return Some(item),
            };
            rest = after;
        }
        Some(at)
    }

    /// What `name` means in `module`. A module and an item may have one name; at the end of a path the item is meant.
    fn look_up(&self, module: &[String], name: &str, is_last: bool, depth: usize) -> Option<Target> {
        let depth = depth.checked_sub(1)?;
        let child: Path = module.iter().cloned().chain([name.to_owned()]).collect();
        let is_module = self.0.contains_key(&child);
        let child = is_module.then_some(Target::Module(child));
        if is_module && !is_last {
            return child;
        }
        let node = self.0.get(module)?;
        if node.items.iter().any(|item| item_name(item).is_some_and(|own| own == name)) {
            return Some(Target::Item(module.to_vec(), name.to_owned()));
        }
        if let Some(import) = node.imports.iter().find(|import| import.name == name) {
            // A name that is imported from a crate of the same name leads out.
            let leads_out = import.path[0] == name && !is_module;
            return if leads_out { None } else { self.walk(module, &import.path, depth) }.or(child);
        }
        let all = node.imports.iter().filter(|import| import.name == "*");
        let mut found = all.filter_map(|import| match self.walk(module, &import.path, depth)? {
            Target::Module(all) => self.look_up(&all, name, is_last, depth),
            Target::Item(..) => None,
        });
        child.or_else(|| found.next())
    }

    fn imports_from_elsewhere(&self, module: &[String], name: &str) -> bool {
        self.0.get(module).is_some_and(|node| node.imports.iter().any(|import| import.name == name))
    }

    /// What `module` needs, with the line that says so: what it names, and what it imports unless that is only passed on.
    pub(crate) fn needs(&self, path: &[String]) -> Vec<(Target, usize)> {
        let Some(module) = self.0.get(path) else { return Vec::new() };
        let mut needs = Vec::new();
        for import in &module.imports {
            let target = self.target(path, &import.path);
            match target {
                Some(Target::Module(all)) if import.name == "*" => {
                    let named = module.names.iter().filter_map(|name| self.look_up(&all, name, true, 16));
                    needs.extend(named.map(|target| (target, import.line)));
                }
                Some(target) if !import.is_passed_on || module.names.contains(&import.name) => {
                    needs.push((target, import.line));
                }
                _ => {}
            }
        }
        for (named, line) in &module.paths {
            needs.extend(self.target(path, named).map(|target| (target, *line)));
        }
        needs
    }

    pub(crate) fn file_of(&self, target: &Target) -> Option<&str> {
        self.0.get(target.module()).map(|module| module.file.as_str())
    }
}

fn module_path(file: &str) -> Path {
    let inside = module_folder(file);
    inside.split('/').skip(1).map(str::to_owned).collect()
}

/// Name of an item that has one.
pub(crate) fn item_name(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

impl Module {
    /// Takes in what is imported and named, inside of macro calls too.
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at += match &tokens[at] {
                TokenTree::Ident(word) if *word == "use" => self.import(&tokens[at..]),
                TokenTree::Ident(word) if *word == "pub" && is_parenthesis(tokens.get(at + 1)) => 2,
                TokenTree::Ident(_) => self.path(&tokens[at..]),
                TokenTree::Group(group) => {
                    self.read(group.stream());
                    1
                }
                TokenTree::Punct(_) if is_twice('.', &tokens[at..]) => 2,
                // What follows is a member of something, or of another crate.
                TokenTree::Punct(dot) if dot.as_char() == '.' => 1 + usize::from(is_name(tokens.get(at + 1))),
                TokenTree::Punct(_) if is_twice(':', &tokens[at..]) => {
                    2 + usize::from(is_name(tokens.get(at + 2)))
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => 1,
            };
        }
    }

    /// Reads `use …;` inside of a function and gives the number of its tokens.
    fn import(&mut self, tokens: &[TokenTree]) -> usize {
        let is_end = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ';');
        let Some(end) = tokens.iter().position(is_end) else { return 1 };
        // In a bound, `use<…>` is no import.
        if let Ok(tree) = syn::parse2(tokens[1..end].iter().cloned().collect()) {
            self.leaves(&tree, &[], &Visibility::Inherited);
            return end;
        }
        1
    }

    fn leaves(&mut self, tree: &UseTree, before: &[String], visibility: &Visibility) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (path, name, line) = match tree {
            UseTree::Path(path) => return self.leaves(&path.tree, &with(&path.ident), visibility),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.leaves(tree, before, visibility));
            }
            UseTree::Glob(glob) => (before.to_vec(), "*".to_owned(), glob.star_token.span.start().line),
            UseTree::Name(leaf) if leaf.ident == "self" && !before.is_empty() => {
                (before.to_vec(), before[before.len() - 1].clone(), leaf.ident.span().start().line)
            }
            UseTree::Name(leaf) => {
                (with(&leaf.ident), leaf.ident.to_string(), leaf.ident.span().start().line)
            }
            UseTree::Rename(leaf) => {
                let path = if leaf.ident == "self" { before.to_vec() } else { with(&leaf.ident) };
                (path, leaf.rename.to_string(), leaf.ident.span().start().line)
            }
        };
        let is_passed_on = !matches!(visibility, Visibility::Inherited);
        let is_public = matches!(visibility, Visibility::Public(_));
        self.imports.push(Import { path, name, is_passed_on, is_public, line });
    }

    /// Reads a path and gives the number of its tokens.
    fn path(&mut self, tokens: &[TokenTree]) -> usize {
        let (mut names, mut at) = (Vec::new(), 0);
        while let Some(TokenTree::Ident(name)) = tokens.get(at) {
            names.push(name.to_string());
            at += 1;
            if !(is_twice(':', &tokens[at..]) && is_name(tokens.get(at + 2))) {
                break;
            }
            at += 2;
        }
        self.names.insert(names[0].clone());
        if names.len() > 1 {
            self.paths.push((names, tokens[0].span().start().line));
        }
        at
    }
}

fn is_name(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Ident(_)))
}

fn is_parenthesis(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
}

fn is_twice(character: char, tokens: &[TokenTree]) -> bool {
    let is_one = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == character);
    tokens.len() > 1 && tokens[..2].iter().all(is_one)
}
