//! How much memory the program takes on a small board, as docs/jetson.md states it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kaizen_edge::low_level::backbone::{self, BackboneOptions, Provider};
use kaizen_edge::low_level::memory::Memory;
use kaizen_edge::low_level::session::{Network, identity};
use serde_json::{Value, json};

use crate::serve::{Server, Setting};
use crate::support;
use crate::synthetic;

const MODEL: &str = "efficientnet-lite0-features-224";
/// The default, which is cut.
const CUT_MODEL: &str = "efficientnet-lite0-features-160";
const CLASSES: usize = 100;
const SAMPLES: usize = 5000;
/// As packaging/kaizen.service has it: by default glibc keeps large blocks that were freed.
const MALLOC: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");
/// Of every command without a limit, and of `serve` with as many frames of 640x480 at hand as it
/// holds.
const CEILING_MB: f64 = 250.0;
const SERVE_CEILING_MB: f64 = 370.0;

/// Most resident memory of a process so far, in megabytes; `None` when it is gone.
fn peak_mb(process: u32) -> Option<f64> {
    let about = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let high = about.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(high.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// Most resident memory of a run of the program.
fn peak_of(arguments: &[&str], state: &Path) -> f64 {
    peak_and_log_of(arguments, state).0
}

/// Most resident memory of a run of the program, and what it said.
fn peak_and_log_of(arguments: &[&str], state: &Path) -> (f64, String) {
    let log = state.with_extension("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(arguments).arg("--state").arg(state);
    // It only reads, and takes no backbone.
    if arguments != ["unknowns"] {
        command.args(["--provider", "tract", "--engine", "cpu"]);
    }
    command.env(MALLOC.0, MALLOC.1);
    command.current_dir(support::repository()).stdout(Stdio::null());
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut peak = 0.0;
    let status = loop {
        peak = peak_mb(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success() && peak > 10.0, "{arguments:?}: {status}, {peak} MB, {said}");
    println!("{arguments:?}: {peak:.0} MB");
    (peak, said)
}

fn in_tract(model: &str) -> BackboneOptions {
    BackboneOptions {
        model: Some(model.to_owned()),
        models_dir: Some(support::repository().join("models")),
        provider: Provider::Tract,
        ..BackboneOptions::default()
    }
}

/// A state of 5000 samples, one in so many with a label, none of them learned, and a source of
/// frames of 640x480.
fn small_board(folder: &Path, labelled_one_in: usize) -> (PathBuf, PathBuf) {
    let (state, frames) = (folder.join("state.db"), folder.join("frames"));
    let backbone = backbone::load(&in_tract(MODEL)).unwrap();
    let mut memory = Memory::open(Some(&state), &identity(backbone.as_ref())).unwrap();
    for from in (0..SAMPLES).step_by(500) {
        let is_labelled = |number: usize| (number / CLASSES).is_multiple_of(labelled_one_in);
        synthetic::add(&mut memory, from..from + 500, CLASSES, is_labelled);
    }
    std::fs::create_dir(&frames).unwrap();
    for number in 0..100_u32 {
        let shade = |x: u32, y: u32| [x + number, y, x ^ y].map(|value| u8::try_from(value % 256).unwrap());
        let picture = image::RgbImage::from_fn(640, 480, |x, y| image::Rgb(shade(x, y)));
        picture.save(frames.join(format!("{number:03}.jpg"))).unwrap();
    }
    (state, frames)
}

/// Serves the frames, teaches a class, learns; gives the most resident memory and the account.
fn serving(frames: &Path, state: &Path, more: &[&str]) -> (f64, String) {
    let mut setting = Setting::real(frames.display().to_string());
    std::fs::copy(state, setting.folder.path().join("state.db")).unwrap();
    setting.models = support::repository().join("models");
    let server = Server::start(setting.command(&[&["--loop"], more].concat()).env(MALLOC.0, MALLOC.1));
    // As many frames at hand as there is room for.
    let held = |status: &Value| status["live"]["recent"].as_u64();
    let before = Cell::new(None);
    server.wait("frames", |status| {
        std::thread::sleep(Duration::from_millis(800));
        let now = held(status);
        before.replace(now) == now && now > Some(5)
    });
    // The second lesson has a head that answers beside the ones that it tries.
    for class in ["class 2", "class 3"] {
        assert_eq!(server.post("/api/v1/teach", &json!({ "name": class, "frames": 5 })).status, 200);
        server.learn();
    }
    let peak = peak_mb(server.process()).unwrap();
    println!("serve {more:?}, {:?} frames at hand: {peak:.0} MB", before.get());
    let account = server.stop().1;
    account.lines().filter(|line| line.contains("random features")).for_each(|line| println!("{line}"));
    (peak, account)
}

#[test]
fn a_hundred_classes_and_five_thousand_samples_fit_into_a_small_board() {
    let folder = tempfile::tempdir().unwrap();
    let (state, frames) = small_board(folder.path(), 5);
    let picture = support::data("recording-fashion").join("000000.png");
    let picture = picture.to_str().unwrap();
    for (limit, ceiling) in [(Some("250"), CEILING_MB), (None, SERVE_CEILING_MB)] {
        let more: Vec<&str> = limit.iter().flat_map(|limit| ["--memory-limit", limit]).collect();
        let (peak, account) = serving(&frames, &state, &more);
        assert!(peak < ceiling, "serving, {more:?}: {peak} MB");
        assert!(account.contains("published"), "{account}");
        assert_eq!(account.contains("random features"), limit.is_some(), "{account}");
    }
    let copy = folder.path().join("closed.db");
    std::fs::copy(&state, &copy).unwrap();
    let peak = peak_of(&["learn", "--steps", "0"], &copy);
    assert!(peak < CEILING_MB, "closed forms alone: {peak} MB");
    for arguments in [&["learn"][..], &["predict", picture, "--json"], &["teach", "class 1", picture]] {
        let peak = peak_of(arguments, &state);
        assert!(peak < CEILING_MB, "{arguments:?}: {peak} MB");
    }
    let (peak, account) = serving(&frames, &state, &["--memory-limit", "150"]);
    assert!(
        account.contains("memory limit") && account.contains("at least") && peak < 150.0,
        "{peak} MB, {account}"
    );
}

#[test]
fn a_memory_limit_holds_where_every_sample_has_a_label() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = small_board(folder.path(), 1);
    for (limit, ceiling) in [("200", 200.0), ("170", 170.0)] {
        let copy = folder.path().join(format!("{limit}.db"));
        std::fs::copy(&state, &copy).unwrap();
        let peak = peak_of(&["learn", "--memory-limit", limit], &copy);
        assert!(peak < ceiling, "{limit} MB: {peak} MB");
    }
}

/// A state of 5000 labelled samples with the latents at the cut of the backbone, none of them
/// learned.
fn with_latents(folder: &Path) -> PathBuf {
    let state = folder.join("latents.db");
    let network = Network::load(&in_tract(CUT_MODEL), false).unwrap();
    let input = network.tail().unwrap().extractor.input;
    let mut memory = Memory::open(Some(&state), &network.identity()).unwrap();
    for from in (0..SAMPLES).step_by(500) {
        let shape = [input.positions(), input.channels];
        synthetic::add_with_latents(&mut memory, from..from + 500, CLASSES, shape);
    }
    state
}

#[test]
fn a_tail_is_trained_below_the_memory_limit_or_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let state = with_latents(folder.path());
    for (limit, trains) in [(250.0, false), (400.0, true)] {
        let copy = folder.path().join(format!("{limit}.db"));
        std::fs::copy(&state, &copy).unwrap();
        let limit_mb = limit.to_string();
        let arguments = ["learn", "--memory-limit", &limit_mb, "--model", CUT_MODEL];
        let (peak, said) = peak_and_log_of(&arguments, &copy);
        assert!(peak < limit, "{limit} MB: {peak} MB, {said}");
        assert_eq!(said.contains("step "), trains, "{limit} MB: {said}");
        assert_eq!(
            said.contains("the tail stays as it is: setting `memory limit`"),
            !trains,
            "{limit} MB: {said}"
        );
    }
}

#[test]
fn a_memory_limit_that_is_too_low_names_the_least() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = small_board(folder.path(), 5);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(["learn", "--engine", "cpu", "--memory-limit", "90", "--state"]).arg(&state);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("memory limit") && said.contains("at least"), "{said}");
}

/// Unlabelled frames of months go through a quota; learning, clusters of unknown ones, and a start
/// must not take memory for all that were ever seen. `scripts/torture unlabelled` is the long form.
#[test]
fn a_flood_of_unlabelled_frames_keeps_to_the_quota_and_to_bounded_memory() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    let frames = number("KAIZEN_TORTURE_FRAMES").unwrap_or(20_000);
    // 300 000 frames for 200 MB.
    let quota = frames as u64 * 200_000_000 / 300_000;
    let setting = Setting::quick("recording-objects");
    let state = setting.folder.path().join("state.db");
    let options = BackboneOptions {
        models_dir: Some(setting.models.clone()),
        provider: Provider::Tract,
        ..BackboneOptions::default()
    };
    let identity = identity(backbone::load(&options).unwrap().as_ref());
    let mut memory = Memory::open(Some(&state), &identity).unwrap();
    memory.set_quota_bytes(quota).unwrap();
    synthetic::add(&mut memory, 0..100, 5, |_| true);
    let on_disk = || {
        let sizes = ["db", "db-wal", "db-shm"].map(|end| std::fs::metadata(state.with_extension(end)));
        sizes.into_iter().flatten().map(|about| about.len()).sum::<u64>()
    };
    let mut most = 0;
    for from in (100..frames).step_by(100) {
        if from % 5000 == 0 {
            // As after a restart.
            drop(memory);
            memory = Memory::open(Some(&state), &identity).unwrap();
            memory.set_quota_bytes(quota).unwrap();
        }
        synthetic::add_unlabelled(&mut memory, from..from + 100, 40);
        most = most.max(on_disk());
    }
    let counts = memory.counts().unwrap();
    drop(memory);
    println!("{frames} frames, quota {quota}: {most} bytes at most, {counts:?}");
    assert!(most <= quota && most > quota / 2, "{most} of {quota}");
    assert_eq!(counts.training + counts.held_out, 100, "no labelled one gives way to unlabelled ones");
    let models = setting.models.to_str().unwrap().to_owned();
    let quota = quota.to_string();
    let learn = ["learn", "--steps", "0", "--models-dir", &models, "--quota-bytes", &quota];
    for arguments in [&learn[..], &["unknowns"]] {
        let peak = peak_of(arguments, &state);
        assert!(peak < 150.0, "{arguments:?}: {peak} MB");
    }
    let server = setting.serve(&["--loop", "--quota-bytes", &quota]);
    server.wait("frames", |status| status["live"]["frames"].as_u64() >= Some(20));
    assert_eq!(server.get("/api/v1/unknowns").status, 200);
    let peak = peak_mb(server.process()).unwrap();
    println!("serve: {peak:.0} MB");
    assert!(peak < 200.0, "{peak} MB");
}
