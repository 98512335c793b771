//! Rules of the house that no compiler checks: floors, circles, shader rows, sizes, what is public, columns, banned
//! words, model hashes. Needs no device and no crate: it reads the tree, Rust files by `syn`. Each rule collects every
//! fault before it fails, and each has a control that must find a fault in text made for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a file that cannot be read fails the test")]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/columns.rs"]
mod columns;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/interface.rs"]
mod interface;
#[path = "tidy/models.rs"]
mod models;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/rows.rs"]
mod rows;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use source::Tree;

#[test]
fn modules_import_only_from_floors_below() {
    report("floors", &floors::faults(&Tree::of_repository()));
}

#[test]
fn files_of_a_module_need_one_another_in_one_direction() {
    report("circles", &circles::faults(&Tree::of_repository()));
}

#[test]
fn every_shader_has_its_host_its_definition_and_its_test() {
    report("shader rows", &rows::faults(&Tree::of_repository()));
}

#[test]
fn files_keep_to_their_sizes() {
    report("sizes", &sizes::faults(&Tree::of_repository()));
}

#[test]
fn what_is_public_can_be_learned_in_an_afternoon() {
    report("interface", &interface::faults(&Tree::of_repository()));
}

#[test]
fn prose_keeps_to_its_columns() {
    report("columns", &columns::faults(&Tree::of_repository()));
}

#[test]
fn text_is_free_of_banned_words() {
    report("banned words", &words::faults(&Tree::of_repository()));
}

#[test]
fn every_dependency_has_a_reason_and_a_use() {
    report("dependencies", &dependencies::faults(&Tree::of_repository()));
}

#[test]
fn models_are_what_the_manifest_says() {
    report("models", &models::faults(&source::repository().join("models")));
}

fn report(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}: {} fault(s)\n  {}\n", faults.len(), faults.join("\n  "));
}
