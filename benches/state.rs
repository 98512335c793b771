//! Years of labels: how a large state opens, takes a sample and answers, beside a small one, how large its file is, and
//! whether memory stays flat over a long run.
//!
//!     cargo bench --bench state -- scale [SAMPLES CLASSES]     100000 1000
//!     cargo bench --bench state -- learner [SAMPLES CLASSES]   the same, and opening a learner on it
//!     cargo bench --bench state -- soak [FRAMES]               200000

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench prints and stops at the first error"
)]

use std::path::Path;
use std::time::Instant;

use kaizen_edge::low_level::backbone::{self, BackboneOptions};
use kaizen_edge::low_level::event::Discard;
use kaizen_edge::low_level::memory::{FeatureIdentity, Memory, Sample};
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::session::{FeatureLearner, LearnerSettings, PublishedHead, TrainingControl};
use kaizen_edge::{EngineChoice, Provider};

#[path = "../tests/it/synthetic.rs"]
#[expect(dead_code, reason = "samples with latents are for tests")]
mod synthetic;
use synthetic::{THUMBNAIL_BYTES, VIEWS, row};

const WIDTH: usize = 1280;
/// Samples of each class that the heads are fitted to; the rest comes later.
const LEARNED_OF_A_CLASS: usize = 3;
const PAGE: usize = 4096;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, otherwise: usize| words.get(at).map_or(otherwise, |text| text.parse().unwrap());
    match words.first().map(String::as_str) {
        Some("soak") => soak(number(1, 200_000)),
        Some("learner") => scale(number(1, 100_000), number(2, 1000), true),
        _ => scale(number(1, 100_000), number(2, 1000), false),
    }
}

fn identity(width: usize) -> FeatureIdentity {
    FeatureIdentity {
        backbone_name: "bench".to_owned(),
        backbone_sha256: "00".repeat(32),
        feature_width: width,
        feature_class: "fp32".to_owned(),
        preprocessing: "none".to_owned(),
        cut: None,
    }
}

/// Bytes of a row with `payload` bytes in a table that grows at its end: leaf pages share the rows that fit whole, the
/// rest is in overflow pages (SQLite file format, section 1.6).
fn row_bytes(payload: usize) -> f64 {
    let (most, least) = (PAGE - 35, (PAGE - 12) * 32 / 255 - 23);
    let (local, overflow) = if payload <= most {
        (payload, 0)
    } else {
        let fitting = least + (payload - least) % (PAGE - 4);
        let local = if fitting <= most { fitting } else { least };
        (local, (payload - local).div_ceil(PAGE - 4))
    };
    let a_page = (PAGE - 8) / (local + if overflow > 0 { 13 } else { 9 });
    PAGE as f64 / a_page as f64 + (overflow * PAGE) as f64
}

/// The formula of docs/state.md.
fn formula(samples: usize, heads: u64) -> f64 {
    let content = row_bytes(2 * WIDTH + THUMBNAIL_BYTES + 8);
    let views = VIEWS as f64 * (row_bytes(2 * WIDTH + 16) + 24.0);
    samples as f64 * (content + views + 400.0) + heads as f64
}

fn millis(times: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| work());
    start.elapsed().as_secs_f64() * 1e3 / times as f64
}

fn add(memory: &mut Memory, numbers: std::ops::Range<usize>, classes: usize) {
    synthetic::add(memory, numbers, classes, |_| true);
}

fn learner(memory: Memory, steps: usize) -> FeatureLearner {
    let mut settings = LearnerSettings::default();
    settings.recipe.steps = steps;
    settings.recipe.warmup_steps = settings.recipe.warmup_steps.min(steps);
    FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap()
}

/// A state that learned `classes` classes and then got more samples, `samples` in all.
fn fill(path: &Path, samples: usize, classes: usize) {
    let mut memory = Memory::open(Some(path), &identity(WIDTH)).unwrap();
    let learned = (LEARNED_OF_A_CLASS * classes).min(samples);
    for start in (0..learned).step_by(500) {
        add(&mut memory, start..learned.min(start + 500), classes);
    }
    let mut learner = learner(memory, 0);
    assert!(learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap().published);
    drop(learner);
    let mut memory = Memory::open_existing(path).unwrap();
    for start in (learned..samples).step_by(500) {
        add(&mut memory, start..samples.min(start + 500), classes);
    }
}

/// Milliseconds to open for writing, for reading, to restore the head, to teach one image, to answer one image.
fn measure(path: &Path, classes: usize) -> [f64; 5] {
    let open = millis(5, || drop(Memory::open_existing(path).unwrap()));
    let read = millis(5, || drop(Memory::open_read_only(path).unwrap()));
    let mut memory = Memory::open_existing(path).unwrap();
    let settings = LearnerSettings::default();
    let restore = millis(3, || drop(PublishedHead::restore(&memory, &settings).unwrap().unwrap()));
    let mut number = 10_000_000;
    let teach = millis(100, || {
        number += 1;
        add(&mut memory, number..number + 1, classes);
    });
    let head = PublishedHead::restore(&memory, &settings).unwrap().unwrap();
    let probe = row(1, WIDTH, &mut Rng::new(9, 9));
    let predict = millis(50, || drop(head.predict(&probe).unwrap()));
    [open, read, restore, teach, predict]
}

/// Milliseconds to embed one image and its views by the default backbone in tract.
fn embedding() -> f64 {
    let models_dir = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    let options = BackboneOptions { models_dir, provider: Provider::Tract, ..BackboneOptions::default() };
    let mut backbone = backbone::load(&options).unwrap();
    let side = backbone.spec().input_size;
    let images = ndarray::Array4::<f32>::zeros((1 + VIEWS, 3, side, side));
    backbone.embed(images.view()).unwrap();
    millis(5, || drop(backbone.embed(images.view()).unwrap()))
}

fn scale(samples: usize, classes: usize, with_learner: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (large, small) = (folder.path().join("large.db"), folder.path().join("small.db"));
    let start = Instant::now();
    fill(&large, samples, classes);
    println!("{samples} samples, {classes} classes: filled in {:.1} s", start.elapsed().as_secs_f64());
    fill(&small, LEARNED_OF_A_CLASS * classes, classes);
    let bytes = std::fs::metadata(&large).unwrap().len();
    let memory = Memory::open_read_only(&large).unwrap();
    let heads = memory.published().unwrap().unwrap().heads.unwrap().len() as u64;
    drop(memory);
    let stated = formula(samples, heads);
    println!("file: {bytes} bytes, formula {stated:.0}, ratio {:.3}", bytes as f64 / stated);
    println!("embedding of one image and {VIEWS} views: {:.1} ms", embedding());
    println!("milliseconds: open, open to read, restore the head, teach one image, predict one image");
    for (name, path) in [("small", &small), ("large", &large)] {
        println!("{name}: {:.2?}", measure(path, classes));
    }
    let mut memory = Memory::open_existing(&large).unwrap();
    let check = millis(1, || assert!(memory.check().unwrap().is_sound()));
    println!("check: {:.1} s", check / 1e3);
    if with_learner {
        let start = Instant::now();
        let learner = learner(memory, 0);
        println!("opening a learner: {:.1} s, {learner:?}", start.elapsed().as_secs_f64());
    }
    assert!((0.9..1.1).contains(&(bytes as f64 / stated)), "the file is not within 10 % of the formula");
}

/// Resident memory of this process, MiB; Linux only.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn soak(frames: usize) {
    const SOAK_WIDTH: usize = 64;
    const QUOTA_BYTES: u64 = 32 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut memory = Memory::open(Some(&path), &identity(SOAK_WIDTH)).unwrap();
    memory.set_quota_bytes(QUOTA_BYTES).unwrap();
    let mut learner = learner(memory, 8);
    let mut rng = Rng::new(1, 3);
    let (mut warm, mut most, start) = (0.0_f64, 0.0_f64, Instant::now());
    for frame in 0..frames {
        let class = rng.below(10);
        let sample = Sample {
            features: row(class, SOAK_WIDTH, &mut rng),
            views: vec![row(class, SOAK_WIDTH, &mut rng)],
            latents: None,
            thumbnail: Some(vec![7; 1000]),
            name: format!("{frame}.jpg"),
            timestamp_millis: i64::try_from(frame).unwrap(),
            label: frame.is_multiple_of(50).then(|| format!("class {class}")),
        };
        learner.add(&[sample]).unwrap();
        if frame % 5000 == 4999 {
            learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
            let now = resident();
            if frame < frames / 4 {
                warm = warm.max(now);
            } else {
                most = most.max(now);
            }
            let bytes = learner.memory().bytes().unwrap();
            assert!(bytes <= QUOTA_BYTES, "{bytes} bytes");
            let secs = start.elapsed().as_secs_f64();
            println!("{} frames, {secs:.0} s: {now:.1} MiB resident, {bytes} bytes on disk", frame + 1);
        }
    }
    println!("warm {warm:.1} MiB, most after that {most:.1} MiB: {:+.1} %", 100.0 * (most / warm - 1.0));
    assert!(most <= 1.02 * warm, "resident memory is not flat");
}
