//! How much memory the program takes on a small board, as docs/jetson.md states it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kaizen_edge::backbone::{self, BackboneOptions, Provider};
use kaizen_edge::memory::Memory;
use kaizen_edge::session::identity;
use serde_json::json;

use crate::serve::{Server, Setting};
use crate::support;
use crate::synthetic;

const MODEL: &str = "efficientnet-lite0-features-224";
const CLASSES: usize = 100;
const SAMPLES: usize = 5000;
/// As packaging/kaizen.service has it: by default glibc keeps large blocks that were freed.
const MALLOC: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");
/// With closed forms alone, with training, and serving while it trains: two backbones and the pictures are in it.
const CEILINGS_MB: [f64; 3] = [250.0, 300.0, 370.0];

/// Most resident memory of a process so far, in megabytes; `None` when it is gone.
fn peak_mb(process: u32) -> Option<f64> {
    let about = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let high = about.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(high.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// Most resident memory of a run of the program.
fn peak_of(arguments: &[&str], state: &Path) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(arguments).arg("--state").arg(state);
    command.args(["--provider", "tract", "--engine", "cpu", "--quiet"]).env(MALLOC.0, MALLOC.1);
    let mut child = command.current_dir(support::repository()).stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0.0;
    let status = loop {
        peak = peak_mb(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success() && peak > 10.0, "{arguments:?}: {status}, {peak} MB");
    println!("{arguments:?}: {peak:.0} MB");
    peak
}

#[test]
fn a_hundred_classes_and_five_thousand_samples_fit_into_a_small_board() {
    let setting = Setting::real(format!("recording://{}", support::data("recording-fashion").display()));
    let state = setting.folder.path().join("state.db");
    let options = BackboneOptions {
        model: Some(MODEL.to_owned()),
        models_dir: Some(setting.models.clone()),
        provider: Provider::Tract,
        ..BackboneOptions::default()
    };
    let backbone = backbone::load(&options).unwrap();
    let mut memory = Memory::open(Some(&state), &identity(backbone.as_ref())).unwrap();
    for from in (0..SAMPLES).step_by(500) {
        // One in five has a label.
        let is_labelled = |number: usize| (number / CLASSES).is_multiple_of(5);
        synthetic::add(&mut memory, from..from + 500, CLASSES, is_labelled);
    }
    drop((memory, backbone));
    let picture = support::data("recording-fashion").join("000000.png");
    let picture = picture.to_str().unwrap();
    for arguments in
        [&["learn", "--steps", "0"][..], &["predict", picture, "--json"], &["teach", "class 1", picture]]
    {
        let peak = peak_of(arguments, &state);
        assert!(peak < CEILINGS_MB[0], "{arguments:?}: {peak} MB");
    }
    let peak = peak_of(&["learn", "--steps", "16"], &state);
    assert!(peak < CEILINGS_MB[1], "with training: {peak} MB");
    let server = Server::start(setting.command(&["--loop", "--steps", "16"]).env(MALLOC.0, MALLOC.1));
    server.wait("frames", |status| status["live"]["recent"].as_u64() >= Some(5));
    assert_eq!(server.post("/api/v1/teach", &json!({ "name": "class 2", "frames": 5 })).status, 200);
    server.learn();
    let peak = peak_mb(server.process()).unwrap();
    println!("serve: {peak:.0} MB");
    assert!(peak < CEILINGS_MB[2], "serving: {peak} MB");
}
