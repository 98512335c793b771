//! The example as a program: its outputs, and every kind of bad input by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support;

fn example() -> PathBuf {
    let kaizen = Path::new(env!("CARGO_BIN_EXE_kaizen"));
    let example = kaizen.parent().unwrap().join("examples/camera_stream");
    assert!(example.is_file(), "build the examples first: {}", example.display());
    example
}

fn program() -> Command {
    let mut command = Command::new(example());
    command.current_dir(support::repository()).args(["--quiet", "--provider", "tract", "--engine", "cpu"]);
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Fails, names all of `words`, and does not panic.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// A small recording of two classes from the committed one, both for learning and for testing.
fn small_recording(folder: &Path, header: &str) -> PathBuf {
    let from = support::data("recording-fashion");
    let rows = fs::read_to_string(from.join("labels.csv")).unwrap();
    let mut csv = format!("{header}\n");
    let (mut train, mut test) = (0, 0);
    for row in rows.lines().skip(1) {
        let fields: Vec<_> = row.split(',').collect();
        let is_train = fields[3] == "train";
        let counter = if is_train { &mut train } else { &mut test };
        if *counter < 24 {
            *counter += 1;
            fs::copy(from.join(fields[0]), folder.join(fields[0])).unwrap();
            csv += &format!("{row}\n");
        }
    }
    fs::write(folder.join("labels.csv"), csv).unwrap();
    folder.to_owned()
}

const HEADER: &str = "frame,timestamp_millis,label,split";

fn uri(folder: &Path) -> String {
    format!("recording://{}", folder.display())
}

#[test]
fn a_short_run_writes_json_report_and_state_that_goes_on() {
    let temporary = TempDir::new().unwrap();
    let recording = small_recording(temporary.path(), HEADER);
    let path = |name: &str| temporary.path().join(name).display().to_string();
    let (json, report, state) = (path("out.json"), path("report"), path("state.db"));
    let source = uri(&recording);
    let arguments = ["--source", &source, "--json", &json, "--report", &report, "--state", &state];
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!((&figures["engine"], &figures["provider"]), (&"cpu".into(), &"tract".into()));
    assert_eq!(figures["frames"], 48);
    assert!(figures["adapter"].is_string() && figures["frames_per_sec"].as_f64().unwrap() > 0.0);
    for method in ["kaizen", "naive", "slda"] {
        for key in ["accuracy_matrix", "final", "continual", "forgetting"] {
            assert!(!figures["methods"][method][key].is_null(), "{method} {key}");
        }
    }
    let page = fs::read_to_string(Path::new(&report).join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("kaizen"));
    // A second run on the same state answers its first frame with a class of the first run; one
    // without the state has nothing to answer with.
    let classes: Vec<_> =
        figures["tasks"].as_array().unwrap().iter().flat_map(|task| task.as_array().unwrap()).collect();
    assert_eq!(classes.len(), 2, "{figures}");
    let unlabelled = without_labels(&recording);
    let goes_on = first_frame(&["--source", &unlabelled, "--state", &state]);
    assert!(classes.iter().any(|class| goes_on.contains(class.as_str().unwrap())), "{goes_on}");
    let begins = first_frame(&["--source", &unlabelled]);
    assert!(begins.contains("nothing learned yet"), "{begins}");
}

/// The same recording with no label in its table.
fn without_labels(recording: &Path) -> String {
    let table = recording.join("labels.csv");
    let rows = fs::read_to_string(&table).unwrap();
    let blank = |row: &str| {
        let fields: Vec<_> = row.split(',').collect();
        format!("{},{},,{}", fields[0], fields[1], fields[3])
    };
    let rows: Vec<_> = rows.lines().skip(1).map(blank).collect();
    fs::write(&table, format!("{HEADER}\n{}\n", rows.join("\n"))).unwrap();
    uri(recording)
}

/// What a run says of its first frame.
fn first_frame(arguments: &[&str]) -> String {
    let mut command = Command::new(example());
    command.current_dir(support::repository()).args(["--provider", "tract", "--engine", "cpu"]);
    let output = command.args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find(|line| line.starts_with("frame ")).unwrap().to_owned()
}

#[test]
fn sources_that_are_missing_or_empty_are_named() {
    let temporary = TempDir::new().unwrap();
    let nowhere = temporary.path().join("nowhere");
    refused(&run(&["--source", &uri(&nowhere)]), &["nowhere"]);
    refused(&run(&["--source", nowhere.to_str().unwrap()]), &["nowhere"]);
    let empty = temporary.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refused(&run(&["--source", empty.to_str().unwrap()]), &["empty"]);
    refused(&run(&["--source", &uri(&empty)]), &["labels.csv"]);
    refused(&run(&["--source", "rtsp://127.0.0.1/stream"]), &["rtsp"]);
}

#[test]
fn an_unknown_label_column_is_named() {
    let temporary = TempDir::new().unwrap();
    let recording = small_recording(temporary.path(), "frame,timestamp_millis,class,split");
    refused(&run(&["--source", &uri(&recording)]), &["class", "label"]);
}

#[test]
fn a_recording_without_test_frames_has_dashes_for_accuracies() {
    let folder = TempDir::new().unwrap();
    small_recording(folder.path(), HEADER);
    let labels = folder.path().join("labels.csv");
    let rows = fs::read_to_string(&labels).unwrap();
    let (train, test): (Vec<_>, Vec<_>) = rows.lines().partition(|row| !row.ends_with(",test"));
    assert!(!test.is_empty());
    fs::write(&labels, train.join("\n")).unwrap();
    let output = run(&["--source", &uri(folder.path())]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("0 test frames"), "{text}");
    assert!(text.contains('–') && !text.contains(" 0.0%"), "{text}");
}

#[test]
fn a_corrupt_frame_is_named_and_the_others_are_learned() {
    let temporary = TempDir::new().unwrap();
    let recording = small_recording(temporary.path(), HEADER);
    let json = temporary.path().join("out.json");
    fs::write(recording.join("000003.png"), b"not a picture").unwrap();
    let output = run(&["--source", &uri(&recording), "--json", json.to_str().unwrap()]);
    refused(&output, &["1 frames could not be used", "000003.png"]);
    let figures: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!((&figures["frames"], &figures["rejected"]), (&47.into(), &1.into()));
}

#[test]
fn a_decompression_bomb_is_named() {
    let temporary = TempDir::new().unwrap();
    let recording = small_recording(temporary.path(), HEADER);
    // A PNG whose header claims 60 000 x 60 000 pixels.
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0".to_vec();
    bomb.extend(crc_of_header(&bomb[12..]).to_be_bytes());
    bomb.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    fs::write(recording.join("000003.png"), bomb).unwrap();
    refused(&run(&["--source", &uri(&recording)]), &["000003.png", "60000"]);
}

fn crc_of_header(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A copy of the models folder's manifest with one model file, changed by `spoil`.
fn spoiled_models(
    folder: &Path,
    manifest: impl Fn(&str) -> String,
    spoil: impl Fn(Vec<u8>) -> Vec<u8>,
) -> PathBuf {
    let from = support::repository().join("models");
    let file = "efficientnet-lite0-features-160.onnx";
    fs::write(folder.join(file), spoil(fs::read(from.join(file)).unwrap())).unwrap();
    let text = fs::read_to_string(from.join("manifest.toml")).unwrap();
    fs::write(folder.join("manifest.toml"), manifest(&text)).unwrap();
    folder.to_owned()
}

#[test]
fn models_with_a_wrong_hash_cut_short_or_of_another_shape_are_named() {
    let temporary = TempDir::new().unwrap();
    let with = |models: &Path| run(&["--models-dir", models.to_str().unwrap()]);
    let keep = |text: &str| text.to_owned();
    let flipped = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    refused(
        &with(&spoiled_models(temporary.path(), keep, flipped)),
        &["efficientnet-lite0-features-160.onnx", "SHA-256"],
    );
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() / 3].to_vec();
    let rehash = |bytes: &[u8]| {
        use sha2::Digest as _;
        sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let original =
        fs::read(support::repository().join("models/efficientnet-lite0-features-160.onnx")).unwrap();
    let (right, of_cut) = (rehash(&original), rehash(&cut(original.clone())));
    let manifest = |text: &str| text.replace(&right, &of_cut);
    refused(
        &with(&spoiled_models(temporary.path(), manifest, cut)),
        &["efficientnet-lite0-features-160.onnx"],
    );
    let manifest = |text: &str| text.replace("input_size = 160", "input_size = 192");
    refused(&with(&spoiled_models(temporary.path(), manifest, |bytes| bytes)), &["192"]);
}

#[test]
fn providers_and_engines_asked_for_by_name_are_got_or_refused() {
    let bare = || {
        let mut command = Command::new(example());
        command.current_dir(support::repository()).arg("--quiet");
        command
    };
    let provider = |name: &str| bare().args(["--provider", name]).output().unwrap();
    refused(&provider("cuda"), &["cuda"]);
    refused(&provider("tensorrt"), &["tensorrt"]);
    let mut no_adapter = bare();
    no_adapter.args(["--provider", "tract", "--engine", "gpu"]);
    for variable in ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"] {
        no_adapter.env(variable, "/dev/null");
    }
    refused(&no_adapter.output().unwrap(), &["GPU", "--engine cpu"]);
    let no_library = bare().args(["--provider", "cpu", "--ort-lib", "/nowhere/libonnxruntime.so"]).output();
    refused(&no_library.unwrap(), &["/nowhere/libonnxruntime.so"]);
    refused(&run(&["--model", "no-such-model"]), &["no-such-model"]);
}

#[test]
fn outputs_that_cannot_be_written_are_named_before_anything_runs() {
    let temporary = TempDir::new().unwrap();
    let file = temporary.path().join("file");
    fs::write(&file, b"").unwrap();
    let below = file.join("out.json");
    refused(&run(&["--json", below.to_str().unwrap()]), &["file"]);
    refused(&run(&["--report", below.to_str().unwrap()]), &["file"]);
    refused(&run(&["--state", below.to_str().unwrap()]), &["file"]);
    refused(&run(&["--json", temporary.path().to_str().unwrap()]), &["folder"]);
    let foreign = temporary.path().join("foreign.db");
    fs::write(&foreign, b"this is no state file, and must stay as it is").unwrap();
    refused(&run(&["--state", foreign.to_str().unwrap()]), &["foreign.db"]);
    assert_eq!(fs::read(&foreign).unwrap(), b"this is no state file, and must stay as it is");
}
