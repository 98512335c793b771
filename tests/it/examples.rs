//! The small examples as programs: each does what its first line says.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::tiny_model;

/// Runs an example and returns its standard output.
#[track_caller]
fn run(name: &str, arguments: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_kaizen")).parent().unwrap().join("examples").join(name);
    assert!(program.is_file(), "build the examples first: {}", program.display());
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_classes_are_taught_learned_and_exported() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cups.onnx");
    let text = run("teach_and_export", &[file.to_str().unwrap()]);
    assert!(text.contains("published: true") && text.matches(": cup, novelty").count() == 3, "{text}");
    assert!(file.metadata().unwrap().len() > 10_000_000, "backbone and head are in one file");
}

#[test]
fn frames_of_the_program_are_learned() {
    let text = run("own_frames", &[]);
    assert!(text.contains("lamp true: on") && text.contains("lamp false: off"), "{text}");
    assert!(text.contains("TaskStarted") && text.contains("Consolidated"), "progress is told: {text}");
}

#[test]
fn a_backbone_of_ones_own_is_learned_on() {
    let folder = TempDir::new().unwrap();
    tiny_model::write(folder.path());
    let classes = folder.path().join("classes");
    for (class, shade) in [("dark", 30), ("bright", 220)] {
        let of_class = classes.join(class);
        std::fs::create_dir_all(&of_class).unwrap();
        for number in 0..6_u8 {
            let picture =
                image::RgbImage::from_fn(20, 20, |x, _| image::Rgb([shade + number, shade, x as u8]));
            picture.save(of_class.join(format!("{number}.png"))).unwrap();
        }
    }
    let model = folder.path().join("tiny.onnx");
    let text = run("own_backbone", &[model.to_str().unwrap(), classes.to_str().unwrap()]);
    assert!(text.contains("dark: 6 pictures") && text.contains("published: true"), "{text}");
}

#[test]
fn another_thread_predicts_while_this_one_learns() {
    let text = run("live_thread", &[]);
    let changes: Vec<_> = text.lines().filter(|line| line.starts_with("answer ")).collect();
    assert!(changes.first().is_some_and(|line| line.ends_with("nothing learned yet")), "{text}");
    assert!(changes.last().is_some_and(|line| line.ends_with(": cup")), "{text}");
    let answers: usize = text.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(answers > 20, "{text}");
}
