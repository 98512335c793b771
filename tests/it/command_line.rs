//! The program at its edges: what it does when nobody reads on, and what it says of commands that
//! moved.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use crate::state::Desk;

fn kaizen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(arguments).current_dir(crate::support::repository());
    command
}

/// Runs a command whose reader leaves after `lines` lines, as `head` does; it must end quietly, and
/// with success.
#[track_caller]
fn ends_quietly(mut command: Command, lines: usize) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::with_capacity(16, child.stdout.take().unwrap());
    let read = output.by_ref().lines().take(lines).map_while(Result::ok).count();
    drop(output);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(read, lines, "{command:?}: {said}");
    assert_eq!(status.code(), Some(0), "{command:?}: {said}");
    assert!(!said.contains("panicked") && !said.contains("kaizen: "), "{command:?}: {said}");
}

#[test]
fn every_command_ends_quietly_when_standard_output_is_closed() {
    let desk = Desk::new();
    let classes = desk.classes();
    let folders: Vec<_> = classes.iter().map(|folder| folder.to_str().unwrap()).collect();
    desk.teach("one", &classes[0]);
    desk.teach("two", &classes[1]);
    desk.lines(&["learn", "--json", "--steps", "0"]);
    for lines in [0, 1] {
        ends_quietly(desk.command(&["predict", folders[0]]), lines);
        ends_quietly(desk.command(&["predict", folders[0], "--json"]), lines);
        ends_quietly(desk.command(&["teach", "three", folders[2]]), lines);
        ends_quietly(kaizen(&["completions", "bash"]), lines);
    }
    for words in [&["history"][..], &["history", "--json"], &["unknowns"], &["unknowns", "--json"]] {
        ends_quietly(desk.command(words), 0);
    }
    ends_quietly(kaizen(&["doctor", "--json", "--provider", "tract", "--engine", "cpu"]), 0);
    assert!(desk.check().status.success());
}

#[test]
fn an_engine_that_is_asked_for_and_missing_is_an_error_though_nothing_is_new() {
    let desk = Desk::new();
    for class in &desk.classes()[..2] {
        desk.teach("either", class);
    }
    desk.lines(&["learn", "--json", "--steps", "0"]);
    let state = desk.state().display().to_string();
    let learn = |engine| {
        let mut command = kaizen(&["learn", "--state", &state, "--engine", engine]);
        let output = command.env("VK_ICD_FILENAMES", "/nowhere.json").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = learn("gpu");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Vulkan driver") && said.contains("--engine cpu"), "{said}");
    assert_eq!(learn("cpu").0, Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = kaizen(&["completions", "bash"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output") && !said.contains("panicked"), "{said}");
}

#[test]
fn the_log_says_as_much_as_is_asked_and_in_the_form_that_is_asked() {
    let desk = Desk::new();
    let classes = desk.classes();
    let folder = desk.state().parent().unwrap().to_path_buf();
    let said = |words: &[&str]| {
        let mut command = kaizen(words);
        command.current_dir(&folder).args([
            "--state",
            "state.db",
            "--engine",
            "cpu",
            "--models-dir",
            "models",
        ]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {text}");
        text
    };
    desk.teach("one", &classes[0]);
    let learn = ["learn", "--steps", "0", "--provider", "tract"];
    let json = said(&[&learn[..], &["--log-format", "json"]].concat());
    let entries: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        entries.iter().all(|entry| entry["at_millis"].is_u64() && entry["message"].is_string()),
        "{json}"
    );
    let started = entries.iter().find(|entry| entry["event"] == "task_started").unwrap();
    assert_eq!(started["classes"], serde_json::json!(["one"]), "{started}");
    desk.teach("two", &classes[1]);
    let plain = said(&learn);
    assert!(plain.lines().any(|line| line.starts_with("task 1: two;")), "{plain}");
    desk.teach("three", &classes[2]);
    assert_eq!(said(&[&learn[..], &["--quiet"]].concat()), "");
    let picture = std::fs::read_dir(&classes[0]).unwrap().next().unwrap().unwrap().path();
    let predict = ["predict", picture.to_str().unwrap()];
    let (usual, more) = (said(&predict), said(&[&predict[..], &["-v"]].concat()));
    assert!(usual.starts_with("model: tiny; ") && usual.lines().count() == 1, "{usual}");
    assert!(more.starts_with(&usual) && more.contains("does not run here"), "{more}");
}

#[test]
fn the_bake_off_that_moved_is_named() {
    let output = kaizen(&["bench", "--data", "cifar100:somewhere"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`kaizen-bench --data cifar100:somewhere`"), "{said}");
    assert!(output.stdout.is_empty());
    let help = kaizen(&["--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(!help.lines().any(|line| line.trim_start().starts_with("bench ")), "{help}");
}
