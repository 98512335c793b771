//! How much memory the program takes on a small board, as docs/jetson.md states it.

use std::process::{Command, Stdio};
use std::time::Duration;

use kaizen_edge::backbone::{self, BackboneOptions, Provider};
use kaizen_edge::memory::{Memory, NewSample};
use kaizen_edge::rng::Rng;
use kaizen_edge::session::identity;

use crate::support;

const MODEL: &str = "efficientnet-lite0-features-224";
const CLASSES: usize = 100;
const SAMPLES: usize = 5000;
const CEILING_MB: f64 = 250.0;

/// A row about the middle of its class, none negative, as pooled activations are.
fn row(class: usize, width: usize, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::named(7, &format!("footprint {class}"));
    (0..width).map(|_| (middle.normal() + 0.5 * rng.normal()).abs()).collect()
}

fn fill(memory: &mut Memory, width: usize) {
    let mut rng = Rng::named(7, "footprint");
    let thumbnail = vec![7; 3000];
    for from in (0..SAMPLES).step_by(500) {
        let rows: Vec<_> = (from..from + 500)
            .map(|number| {
                let (class, name) = (number % CLASSES, format!("{number}.jpg"));
                let views: Vec<_> = (0..2).map(|_| row(class, width, &mut rng)).collect();
                // One in five has a label.
                let label = (number / CLASSES % 5 == 0).then(|| format!("class {class}"));
                (row(class, width, &mut rng), views, label, name)
            })
            .collect();
        let samples: Vec<_> = rows
            .iter()
            .map(|(features, views, label, name)| NewSample {
                features,
                views,
                thumbnail: Some(&thumbnail),
                name,
                timestamp_millis: 0,
                label: label.as_deref(),
            })
            .collect();
        memory.add_samples(&samples).unwrap();
    }
}

/// Most resident memory of a run of the program, in megabytes.
fn peak_mb(arguments: &[&str], state: &str) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaizen"));
    command.args(arguments).args(["--state", state, "--provider", "tract", "--engine", "cpu", "--quiet"]);
    let mut child =
        command.current_dir(support::repository()).stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0.0;
    let status = loop {
        let about = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let high = about.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = high.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok()) {
            peak = kib * 1024.0 / 1e6;
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{arguments:?}: {status}");
    assert!(peak > 10.0, "no figure for {arguments:?}");
    println!("{arguments:?}: {peak:.0} MB");
    peak
}

#[test]
fn a_hundred_classes_and_five_thousand_samples_fit_into_250_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.kaizen");
    let options =
        BackboneOptions { model: Some(MODEL.to_owned()), provider: Provider::Tract, ..BackboneOptions::default() };
    let options = BackboneOptions { models_dir: Some(support::repository().join("models")), ..options };
    let backbone = backbone::load(&options).unwrap();
    let width = backbone.spec().feature_width;
    let mut memory = Memory::open(Some(&path), &identity(backbone.as_ref())).unwrap();
    fill(&mut memory, width);
    drop((memory, backbone));
    let state = path.to_str().unwrap();
    let picture = support::data("recording-fashion").join("000000.png");
    let picture = picture.to_str().unwrap();
    let peaks = [
        peak_mb(&["learn", "--steps", "0"], state),
        peak_mb(&["predict", picture, "--json"], state),
        peak_mb(&["teach", "class 1", picture], state),
        peak_mb(&["learn", "--steps", "16"], state),
    ];
    assert!(peaks.iter().all(|&peak| peak < CEILING_MB), "{peaks:?} MB");
}
