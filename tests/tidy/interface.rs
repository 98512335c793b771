//! What a user of the library meets without `low_level` stays few: items that `src/lib.rs` passes on by name, with their
//! public methods and constants, and the methods of traits. Fields and variants do not count.

use std::collections::BTreeSet;

use syn::{ImplItem, Item, TraitItem, Visibility};

use super::modules::{Module, Modules, Path, Target, item_name};
use super::source::Tree;

const MOST: usize = 120;
/// The one public module. Its content may change in any release.
const LOW_LEVEL: &str = "low_level";

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    faults_by(MOST, tree)
}

fn faults_by(most: usize, tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let reached = reached(tree, &mut faults);
    if reached.len() > most {
        let listed: Vec<_> = reached.iter().map(String::as_str).collect();
        faults.push(format!(
            "{} items are reached from outside, {most} allowed:\n    {}",
            reached.len(),
            listed.join("\n    ")
        ));
    }
    faults
}

/// `item` and `item::method` of all that is public.
fn reached(tree: &Tree, faults: &mut Vec<String>) -> BTreeSet<String> {
    let modules = Modules::of(tree);
    let root: &[String] = &[];
    let Some(Module { imports, items, modules: declared, .. }) = modules.0.get(root) else {
        faults.push("src/lib.rs: is not there".to_owned());
        return BTreeSet::new();
    };
    for (name, visibility) in declared {
        if matches!(visibility, Visibility::Public(_)) && name != LOW_LEVEL {
            faults.push(format!("src/lib.rs: `{name}` is public as a whole: pass its items on by name"));
        }
    }
    let own = items.iter().filter(|item| is_public(item)).filter_map(item_name);
    let mut reached: BTreeSet<String> = own.map(ToString::to_string).collect();
    for import in imports.iter().filter(|import| import.is_public) {
        let place = format!("src/lib.rs:{}", import.line);
        match modules.target(&[], &import.path) {
            Some(Target::Item(path, name)) if import.name != "*" => {
                reached.insert(import.name.clone());
                let members = members(&modules, &path, &name);
                reached.extend(members.into_iter().map(|member| format!("{}::{member}", import.name)));
            }
            _ => faults.push(format!("{place}: passes on what is no item: name the items")),
        }
    }
    reached
}

/// Names of what is public in the `impl` blocks and in the trait of that name.
fn members(modules: &Modules, path: &Path, name: &str) -> Vec<String> {
    let mut members = Vec::new();
    let target = Some(Target::Item(path.clone(), name.to_owned()));
    for (place, module) in modules.0.iter().filter(|(place, _)| place.first() == path.first()) {
        for block in module.blocks.iter().filter(|block| block.trait_.is_none()) {
            let syn::Type::Path(of) = block.self_ty.as_ref() else { continue };
            let of: Path = of.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if modules.target(place, &of) == target {
                members.extend(block.items.iter().filter_map(public_member));
            }
        }
    }
    for item in modules.0.get(path).into_iter().flat_map(|module| &module.items) {
        if let Item::Trait(item) = item
            && item.ident == name
        {
            members.extend(item.items.iter().filter_map(trait_member));
        }
    }
    members
}

fn public_member(item: &ImplItem) -> Option<String> {
    let (visibility, name) = match item {
        ImplItem::Fn(item) => (&item.vis, &item.sig.ident),
        ImplItem::Const(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    matches!(visibility, Visibility::Public(_)).then(|| name.to_string())
}

fn trait_member(item: &TraitItem) -> Option<String> {
    match item {
        TraitItem::Fn(item) => Some(item.sig.ident.to_string()),
        TraitItem::Const(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

#[cfg(test)]
mod controls {
    use super::*;

    const FILES: &[(&str, &str)] = &[
        (
            "src/lib.rs",
            "mod a; pub mod low_level; pub use a::{Cup, Drink as Sip}; pub(crate) use a::Hidden; pub fn run() {}",
        ),
        ("src/low_level.rs", "pub use crate::a::Hidden;"),
        (
            "src/a/mod.rs",
            "mod cup; pub use cup::Cup; pub struct Hidden; impl Hidden { pub fn not_counted() {} }
            pub trait Drink { const LITRES: f32; fn sip(&self); }",
        ),
        (
            "src/a/cup.rs",
            "pub struct Cup { pub size: u8 } impl Cup { pub const MOST: u8 = 1; pub fn new() {} fn own() {} }
            impl Clone for Cup { fn clone(&self) {} }",
        ),
        (
            "src/a/more.rs",
            "use super::Cup; impl Cup { pub fn fill(&self) {} #[cfg(test)] pub fn try_out() {} }
            mod other { pub struct Cup; impl Cup { pub fn of_another() {} } }",
        ),
    ];

    #[test]
    fn items_methods_and_constants_are_counted_wherever_they_are_written() {
        let mut faults = Vec::new();
        let reached = reached(&Tree::of(FILES), &mut faults);
        let expected = ["Cup", "Cup::MOST", "Cup::fill", "Cup::new", "Sip", "Sip::LITRES", "Sip::sip", "run"];
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn too_many_and_whole_modules_are_found() {
        assert_eq!(faults_by(8, &Tree::of(FILES)), Vec::<String>::new());
        let faults = faults_by(7, &Tree::of(FILES));
        assert!(faults.len() == 1 && faults[0].contains("\n    Cup::fill\n"), "{faults:?}");
        let whole = [("src/lib.rs", "pub mod a; pub use a::*;"), ("src/a.rs", "")];
        let faults = faults_by(7, &Tree::of(&whole));
        assert!(faults.len() == 2 && faults[1].starts_with("src/lib.rs:1"), "{faults:?}");
    }
}
