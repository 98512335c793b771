//! Rules of the house that no compiler checks: floors, shader rows, sizes, banned words, model hashes. Needs no
//! device and no crate: it reads the tree as text. Each rule collects every fault before it fails, and each has a
//! control that must find a fault in text made for it.

#![allow(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/models.rs"]
mod models;
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
fn every_shader_has_its_host_its_definition_and_its_test() {
    report("shader rows", &rows::faults(&Tree::of_repository()));
}

#[test]
fn files_keep_to_their_sizes() {
    report("sizes", &sizes::faults(&Tree::of_repository()));
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
