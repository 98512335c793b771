//! Data in and out of a state, another backbone for it, and what the program says of itself.

use std::fs;
use std::process::Command;

use kaizen_edge::low_level::memory::{Memory, Rows};
use serde_json::{Value, json};

use crate::state::Desk;
use crate::tiny_model;

/// Class of every labelled sample, sorted, and the number of samples without label.
fn contents(desk: &Desk) -> (Vec<String>, usize) {
    let (_, record) = desk.history();
    let labels = record["labels"].as_array().unwrap();
    let mut classes: Vec<_> =
        labels.iter().map(|label| label["class"].as_str().unwrap().to_owned()).collect();
    classes.sort();
    let memory = Memory::open_read_only(&desk.state()).unwrap();
    (classes, memory.samples(Rows::Unlabelled).unwrap().len())
}

#[test]
fn class_folders_and_tables_go_out_and_come_in_again() {
    let desk = Desk::new();
    let classes = desk.classes();
    let train = classes[0].parent().unwrap();
    desk.lines(&["import", train.to_str().unwrap(), "--json"]);
    let before = contents(&desk);
    assert!(before.0.len() > 300, "{before:?}");
    for layout in ["folders", "csv"] {
        let out = train.parent().unwrap().join(layout);
        let words = ["export-data", out.to_str().unwrap(), "--as", layout, "--json"];
        let figures = desk.lines(&words).remove(0);
        assert_eq!(figures["left_out"], 0, "{figures}");
        let again = desk.run(&words);
        assert_eq!(again.status.code(), Some(1), "the folder is not empty");
        let other = Desk::new();
        let lines = other.lines(&["import", out.to_str().unwrap(), "--json"]);
        assert_eq!(lines.len() as u64, figures["written"].as_u64().unwrap());
        // Small JPEGs of what were PNGs: some are near-duplicates only now, but every label is
        // there.
        assert_eq!(contents(&other).0, before.0, "{layout}");
    }
}

#[test]
fn unlabelled_samples_go_out_in_a_table_only() {
    let desk = Desk::new();
    let classes = desk.classes();
    desk.teach("one", &classes[0]);
    desk.lines(&["observe", classes[1].to_str().unwrap()]);
    let folder = desk.state().parent().unwrap().to_path_buf();
    let folders = desk.run(&["export-data", folder.join("f").to_str().unwrap(), "--json"]);
    assert_eq!(folders.status.code(), Some(3), "done in part");
    let table = desk.lines(&["export-data", folder.join("c").to_str().unwrap(), "--as", "csv", "--json"]);
    assert_eq!(table[0]["left_out"], 0);
    let rows = fs::read_to_string(folder.join("c/labels.csv")).unwrap();
    assert!(rows.lines().any(|row| row.contains(",,train")) && rows.contains(",one,train"), "{rows}");
}

#[test]
fn coco_boxes_are_taught_by_category() {
    let desk = Desk::new();
    let folder = desk.classes().remove(0);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    let images: Vec<Value> =
        (0..4).map(|id| json!({"id": id, "file_name": files[id].to_str().unwrap()})).collect();
    let boxes: Vec<Value> = (0..8)
        .map(|id| {
            let corner = if id < 4 { 0 } else { 12 };
            json!({"id": id, "image_id": id % 4, "category_id": id / 4, "bbox": [corner, 0, 14, 28]})
        })
        .collect();
    let document = json!({"images": images, "annotations": boxes,
        "categories": [{"id": 0, "name": "left half"}, {"id": 1, "name": "right half"}]});
    let file = desk.state().with_file_name("coco.json");
    fs::write(&file, document.to_string()).unwrap();
    let words = ["import", file.to_str().unwrap(), "--images", folder.to_str().unwrap(), "--json"];
    let lines = desk.lines(&words);
    assert_eq!(lines.len(), 8);
    assert_eq!(contents(&desk).0[3..5], ["left half", "right half"]);
    assert_eq!(desk.run(&words[..2]).status.code(), Some(3), "no picture beside the file");
}

#[test]
fn another_backbone_takes_over_what_thumbnails_hold() {
    let desk = Desk::new();
    let classes = desk.classes();
    desk.teach("one", &classes[0]);
    desk.teach("two", &classes[1]);
    desk.lines(&["learn", "--json", "--steps", "0"]);
    let before = contents(&desk);
    let same = desk.run(&["rebase", "--json"]);
    assert!(String::from_utf8_lossy(&same.stderr).contains("other than the state's own"), "{same:?}");
    tiny_model::write_another(&desk.state().with_file_name("models"));
    let bytes = fs::read(desk.state()).unwrap();
    let planned = desk.lines(&["rebase", "--model", "other", "--dry-run", "--json"]).remove(0);
    assert_eq!(planned["losses"]["versions"], 1, "{planned}");
    assert!(planned["losses"]["views"].as_u64() > Some(0) && planned["losses"]["without_thumbnail"] == 0);
    assert_eq!(bytes, fs::read(desk.state()).unwrap(), "a dry run changes nothing");
    let rebased = desk.lines(&["rebase", "--model", "other", "--steps", "0", "--json"]).remove(0);
    assert_eq!(rebased["rebased"]["labels"], before.0.len(), "{rebased}");
    assert_eq!(rebased["learned"]["published"], true, "{rebased}");
    assert_eq!(contents(&desk).0, before.0);
    let memory = Memory::open_read_only(&desk.state()).unwrap();
    assert_eq!((memory.identity().backbone_name.as_str(), memory.identity().feature_width), ("other", 24));
    drop(memory);
    let names: Vec<_> = fs::read_dir(desk.state().parent().unwrap()).unwrap().collect();
    assert!(!names.iter().any(|name| format!("{name:?}").contains("rebase")), "{names:?}");
    assert!(desk.check().status.success());
    desk.lines(&["predict", classes[0].to_str().unwrap(), "--json"]);
}

#[test]
fn options_come_from_flags_then_the_file_then_defaults() {
    let desk = Desk::new();
    let file = desk.state().with_file_name("kaizen.toml");
    let print = |more: &[&str]| {
        let state = desk.state();
        let words = ["observe", "x", "--state", state.to_str().unwrap(), "--print-config", "--config"];
        let output =
            Command::new(env!("CARGO_BIN_EXE_kaizen")).args(words).arg(&file).args(more).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    fs::write(&file, "provider = \"tract\"\nquota-bytes = 4000000\n").unwrap();
    let (code, text) = print(&["--provider", "cpu"]);
    assert_eq!(code, Some(0));
    for line in ["provider = \"cpu\"", "engine = \"auto\"", "quota-bytes = 4000000", "quiet = false"] {
        assert!(text.contains(line), "{text}");
    }
    fs::write(&file, "provder = \"tract\"\n").unwrap();
    let (code, text) = print(&[]);
    assert!(code == Some(1) && text.contains("provder"), "{text}");
}

#[test]
fn quota_given_on_the_command_line_holds() {
    let desk = Desk::new();
    let train = desk.classes()[0].parent().unwrap().to_path_buf();
    desk.lines(&["import", train.to_str().unwrap(), "--json", "--quota-bytes", "1100000"]);
    assert!(fs::metadata(desk.state()).unwrap().len() <= 1_100_000);
    let output = desk.run(&["observe", train.to_str().unwrap(), "--quota-bytes", "5"]);
    assert!(
        output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("quota_bytes")
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kaizen")).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let pages = run(&["man", folder.path().to_str().unwrap()]);
    let bash = run(&["completions", "bash"]);
    for command in ["teach", "unknowns", "rebase", "export-data", "bench-step"] {
        assert!(bash.contains(command) && pages.contains(&format!("kaizen-{command}.1")), "{command}");
    }
    let teach = fs::read_to_string(folder.path().join("kaizen-teach.1")).unwrap();
    assert!(teach.contains("labelled images") && teach.contains("\\-\\-state"), "{teach}");
}
