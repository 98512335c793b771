//! The commands on a state, as a user types them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{support, tiny_model};

/// A folder with a state, the one-layer backbone, and pictures by class.
pub(crate) struct Desk {
    folder: TempDir,
}

/// Whether a command of the program takes the options of a backbone.
fn takes_a_backbone(command: &str) -> bool {
    !["backup", "history", "unknowns", "name", "export-data"].contains(&command)
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::on(tiny_model::write)
    }

    /// A desk with the backbone that `write` writes into a folder.
    pub(crate) fn on(write: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().unwrap();
        write(&folder.path().join("models"));
        let from = support::data("recording-fashion");
        for row in fs::read_to_string(from.join("labels.csv")).unwrap().lines().skip(1) {
            let fields: Vec<_> = row.split(',').collect();
            let class = folder.path().join(fields[3]).join(fields[2].replace('/', "-"));
            fs::create_dir_all(&class).unwrap();
            fs::copy(from.join(fields[0]), class.join(fields[0])).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    /// Folders of the training pictures, by class.
    pub(crate) fn classes(&self) -> Vec<PathBuf> {
        sorted(&self.folder.path().join("train"))
    }

    pub(crate) fn test_of(&self, class: &Path) -> PathBuf {
        self.folder.path().join("test").join(class.file_name().unwrap())
    }

    /// The program with `--state`, and the options that keep it fast.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.telling(arguments);
        if takes_a_backbone(arguments[0]) {
            command.arg("--quiet");
        }
        command
    }

    /// A command that says what it does.
    pub(crate) fn telling(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
        command.current_dir(self.folder.path()).args(arguments).arg("--state").arg(self.state());
        if takes_a_backbone(arguments[0]) {
            command.args(["--provider", "tract", "--engine", "cpu", "--models-dir", "models"]);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Teaches a folder's pictures and gives the label ids.
    #[track_caller]
    pub(crate) fn teach(&self, name: &str, folder: &Path) -> Vec<i64> {
        let lines = self.lines(&["teach", name, folder.to_str().unwrap()]);
        lines.iter().map(|line| line["label_id"].as_i64().unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn predict(&self, folder: &Path) -> Vec<Value> {
        self.lines(&["predict", folder.to_str().unwrap(), "--json"])
    }

    /// Label ids in the history.
    #[track_caller]
    pub(crate) fn history(&self) -> (BTreeSet<i64>, Value) {
        let record = self.lines(&["history", "--json"]).remove(0);
        let labels = record["labels"].as_array().unwrap();
        (labels.iter().map(|label| label["label_id"].as_i64().unwrap()).collect(), record)
    }

    pub(crate) fn check(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kaizen")).arg("check").arg(self.state()).output().unwrap()
    }
}

/// The entries of a folder, by name.
fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

pub(crate) fn nearest(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["nearest"].as_str().unwrap()).collect()
}

#[test]
fn what_is_taught_is_learned_answered_and_kept_across_processes() {
    let desk = Desk::new();
    let classes = desk.classes();
    let mut acknowledged = BTreeSet::new();
    for (name, folder) in ["one", "two"].iter().zip(&classes) {
        acknowledged.extend(desk.teach(name, folder));
    }
    desk.lines(&["observe", classes[2].to_str().unwrap()]);
    assert_eq!(desk.history().0, acknowledged);
    let learned = desk.lines(&["learn", "--json"]).remove(0);
    assert_eq!(learned["published"], true, "{learned}");
    let again = desk.lines(&["learn", "--json", "--steps", "0"]).remove(0);
    assert_eq!((&again["published"], &again["candidates"]), (&false.into(), &Value::Array(Vec::new())));
    let first = desk.predict(&desk.test_of(&classes[0]));
    let right = nearest(&first).iter().filter(|name| **name == "one").count();
    assert!(2 * right > first.len(), "{right} of {}", first.len());
    // Another process, the same bits; and an unlearned label changes nothing until it is learned.
    assert_eq!(first, desk.predict(&desk.test_of(&classes[0])));
    desk.teach("three", &classes[3]);
    assert_eq!(first, desk.predict(&desk.test_of(&classes[0])));
    assert!(desk.check().status.success());
    let (_, record) = desk.history();
    let figures = record["versions"][0]["figures"]["classes"].as_array().unwrap();
    assert_eq!(figures.len(), 2, "{record}");
    assert!(figures.iter().all(|class| class["after"].is_number() && class["before"].is_null()));
}

/// Compares what a release recorded of a state with what this program makes of it.
fn answers_as_recorded(name: &str, models: impl FnOnce(&Path)) -> Desk {
    let desk = Desk::on(models);
    let recorded = |ending: &str| support::data("states").join(format!("{name}.{ending}"));
    fs::copy(recorded("db"), desk.state()).unwrap();
    let few = desk.folder.path().join("few");
    for class in desk.classes() {
        let tests = desk.test_of(&class);
        let folder = few.join(tests.file_name().unwrap());
        fs::create_dir_all(&folder).unwrap();
        for picture in sorted(&tests).into_iter().take(4) {
            fs::copy(&picture, folder.join(picture.file_name().unwrap())).unwrap();
        }
    }
    let folders: Vec<_> = sorted(&few).iter().map(|folder| folder.to_str().unwrap().to_owned()).collect();
    let words = ["predict"].into_iter().chain(folders.iter().map(String::as_str)).chain(["--json"]);
    let answers = desk.lines(&words.collect::<Vec<_>>());
    let lines = fs::read_to_string(recorded("jsonl")).unwrap();
    let wanted: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((answers.len(), wanted.len()), (40, 40));
    for (answer, wanted) in answers.iter().zip(&wanted) {
        for key in ["name", "class", "unknown", "nearest"] {
            assert_eq!(answer[key], wanted[key], "{name}: {answer}, recorded {wanted}");
        }
        for key in ["probability", "novelty"] {
            let difference = answer[key].as_f64().unwrap() - wanted[key].as_f64().unwrap();
            assert!(difference.abs() < 1e-6, "{name}: {answer}, recorded {wanted}");
        }
    }
    assert!(desk.check().status.success(), "{:?}", desk.check());
    desk
}

/// Teaches a class that the state does not know and learns it.
fn goes_on(desk: &Desk, name: &str, class: usize) -> Value {
    let (_, before) = desk.history();
    let taught = desk.teach(name, &desk.classes()[class]);
    let learned = desk.run(&["learn", "--json", "--steps", "20"]);
    // The guard may well turn down what twenty steps have learned.
    assert!(matches!(learned.status.code(), Some(0 | 3)), "{learned:?}");
    let (labels, after) = desk.history();
    assert!(taught.iter().all(|label| labels.contains(label)));
    let count = |record: &Value| record["versions"].as_array().unwrap().len();
    assert!(count(&after) > count(&before), "{after}");
    assert!(desk.check().status.success(), "{:?}", desk.check());
    after
}

#[test]
fn a_state_of_the_last_release_answers_as_it_did_and_goes_on() {
    let desk = answers_as_recorded("ensemble", tiny_model::write);
    let text = fs::read_to_string(support::data("states").join("ensemble.history.json")).unwrap();
    assert_eq!(desk.history().1, serde_json::from_str::<Value>(&text).unwrap());
    goes_on(&desk, "bag", 1);
}

#[test]
fn a_trained_state_of_the_last_release_answers_as_it_did_and_goes_on() {
    let desk = answers_as_recorded("trained", tiny_model::write);
    let (labels, record) = desk.history();
    assert_eq!((labels.len(), record["versions"].as_array().unwrap().len()), (30, 1));
    let record = goes_on(&desk, "trouser", 9);
    assert_eq!(record["versions"][0]["head_kind"], "kaizen", "a trained head was called so");
}

#[test]
fn a_state_with_a_trained_tail_of_the_last_release_answers_as_it_did_and_goes_on() {
    let desk = answers_as_recorded("tail", |folder| tiny_model::write_cut(folder, Some("latent")));
    let text = fs::read_to_string(support::data("states").join("tail.history.json")).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(desk.history().1, recorded);
    assert_eq!(recorded["versions"][0]["head_kind"], "blend");
    let old = desk.state().with_file_name("state.db.schema-2");
    goes_on(&desk, "sneaker", 7);
    assert!(old.exists(), "it is kept as it was");
    let copied =
        Command::new(env!("CARGO_BIN_EXE_kaizen")).args(["history", "--json", "--state"]).arg(&old).output();
    assert_eq!(serde_json::from_slice::<Value>(&copied.unwrap().stdout).unwrap(), recorded);
}

#[test]
fn undoing_labels_gives_the_state_that_would_have_been() {
    let desk = Desk::new();
    let classes = desk.classes();
    desk.teach("one", &classes[0]);
    desk.teach("two", &classes[1]);
    desk.lines(&["learn", "--json", "--steps", "0"]);
    let tests = desk.test_of(&classes[0]);
    let before = desk.predict(&tests);
    // Wrong labels: pictures of a third class taught as the first.
    let few = desk.folder.path().join("few");
    fs::create_dir(&few).unwrap();
    for picture in sorted(&classes[2]).into_iter().take(4) {
        fs::copy(&picture, few.join(picture.file_name().unwrap())).unwrap();
    }
    let wrong = desk.teach("one", &few);
    let learned = desk.run(&["learn", "--json", "--steps", "0"]);
    assert!(learned.status.success(), "{}", String::from_utf8_lossy(&learned.stderr));
    assert_ne!(before, desk.predict(&tests), "the wrong labels matter");
    for label in &wrong {
        desk.lines(&["undo", &label.to_string(), "--json"]);
    }
    assert_eq!(before, desk.predict(&tests));
    assert!(!desk.run(&["undo", &wrong[0].to_string()]).status.success(), "it is undone already");
}

#[test]
fn a_forgotten_class_is_never_named_again() {
    let desk = Desk::new();
    let classes = desk.classes();
    for (name, folder) in ["one", "two", "three"].iter().zip(&classes) {
        desk.teach(name, folder);
    }
    desk.lines(&["learn", "--json"]);
    let tests = desk.test_of(&classes[1]);
    assert!(nearest(&desk.predict(&tests)).contains(&"two"));
    let outcome = desk.lines(&["forget", "two", "--json"]).remove(0);
    assert_eq!(outcome["learned_anew"], true);
    assert!(!nearest(&desk.predict(&tests)).contains(&"two"));
    let output = desk.run(&["forget", "four"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("one, three"), "{output:?}");
    for name in ["one", "three"] {
        desk.lines(&["forget", name, "--json"]);
    }
    let output = desk.run(&["predict", tests.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(desk.check().status.success());
}

#[test]
fn a_second_writer_is_refused_by_process_id_and_readers_are_not() {
    let desk = Desk::new();
    let classes = desk.classes();
    desk.teach("one", &classes[0]);
    // Holds the state open: raw frames that never come.
    let mut writer: Child = desk
        .command(&["observe", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lock = PathBuf::from(format!("{}.lock", desk.state().display()));
    let holds = || fs::read_to_string(&lock).is_ok_and(|pid| pid == writer.id().to_string());
    let waited = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        holds()
    });
    let output = desk.run(&["teach", "two", classes[1].to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = output.status.code() == Some(1) && text.contains(&format!("process {}", writer.id()));
    let reader = desk.predict(&desk.test_of(&classes[0]));
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(waited && refused && !reader.is_empty(), "{waited} {text}");
}

#[test]
fn wrong_paths_and_pictures_are_named_with_the_code_for_it() {
    let desk = Desk::new();
    let output = desk.run(&["teach", "one", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere") && !desk.state().exists());
    let folder = desk.classes().remove(0);
    fs::write(folder.join("bad.png"), b"no picture").unwrap();
    let output = desk.run(&["teach", "one", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad.png"));
    assert_eq!(desk.run(&["predict"]).status.code(), Some(2));
}
