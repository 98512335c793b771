//! A state file cut or with bytes changed anywhere: opening, restoring and predicting never panics, and what it answers
//! is what it answered before, or a refusal. Checking and repairing never panics either.
//!
//! Input: bytes 0..2 a length to cut to (0: whole), then triples of position (16 bits, times 3) and value to XOR.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kaizen_edge::event::Discard;
use kaizen_edge::learn::engine::{self, EngineChoice};
use kaizen_edge::memory::{FeatureIdentity, Memory, Rows};
use kaizen_edge::rng::Rng;
use kaizen_edge::session::{Learner, LearnerSettings, Observation, Prediction, Predictor};
use libfuzzer_sys::fuzz_target;

const WIDTH: usize = 8;

struct Original {
    bytes: Vec<u8>,
    probes: Vec<f32>,
    answers: Vec<Prediction>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let path = file();
    let _old = std::fs::remove_file(&path);
    learn(&path);
    let mut rng = Rng::new(2, 0);
    let probes: Vec<f32> = (0..3).flat_map(|class| row(class, &mut rng)).collect();
    let answers = answers(&path, &probes).expect("a sound state").expect("a learned state");
    Original { bytes: std::fs::read(&path).expect("the state"), probes, answers }
});

fn file() -> PathBuf {
    std::env::temp_dir().join(format!("kaizen-fuzz-{}.db", std::process::id()))
}

fn identity() -> FeatureIdentity {
    FeatureIdentity {
        backbone_name: "tiny".to_owned(),
        backbone_sha256: "ab".repeat(32),
        feature_width: WIDTH,
        feature_class: "fp32".to_owned(),
        preprocessing: "none".to_owned(),
    }
}

fn row(class: u64, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::new(class, 7);
    (0..WIDTH).map(|_| (3.0 + middle.normal() + 0.4 * rng.normal()).max(0.0)).collect()
}

fn learn(path: &Path) {
    let mut settings = LearnerSettings::default();
    (settings.recipe.steps, settings.recipe.warmup_steps) = (0, 0);
    let (engine, _) = engine::open(EngineChoice::Cpu).expect("the CPU engine");
    let memory = Memory::open(Some(path), &identity()).expect("a new state");
    let mut learner = Learner::new(settings, memory, engine).expect("a learner");
    let mut rng = Rng::new(3, 0);
    for classes in [0..2, 2..3] {
        for number in 0..8 {
            for class in classes.clone() {
                let observation = Observation {
                    features: row(class, &mut rng),
                    views: vec![row(class, &mut rng)],
                    thumbnail: Some(vec![9; 20]),
                    name: number.to_string(),
                    timestamp_millis: 0,
                    label: Some(format!("class {class}")),
                };
                learner.observe(&observation).expect("room");
            }
        }
        assert!(learner.consolidate(&mut Discard).expect("learned").published);
    }
}

fn answers(path: &Path, probes: &[f32]) -> kaizen_edge::Result<Option<Vec<Prediction>>> {
    let memory = Memory::open_read_only(path)?;
    memory.require(&identity())?;
    Predictor::restore(&memory, &LearnerSettings::default())?
        .map(|predictor| predictor.predict(probes))
        .transpose()
}

fuzz_target!(|input: &[u8]| {
    let original = &*ORIGINAL;
    let mut bytes = original.bytes.clone();
    let [low, high, changes @ ..] = input else { return };
    let cut = 3 * usize::from(u16::from_le_bytes([*low, *high]));
    for change in changes.chunks_exact(3) {
        let at = 3 * usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    if cut > 0 {
        bytes.truncate(cut);
    }
    let path = file();
    for suffix in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::write(&path, &bytes).expect("room for the state");
    match answers(&path, &original.probes) {
        Ok(Some(now)) => assert_eq!(now, original.answers, "another answer, unsaid"),
        Ok(None) => panic!("what was learned is silently gone"),
        Err(_) => {}
    }
    if let Ok(mut memory) = Memory::open_existing(&path) {
        for rows in [Rows::Training, Rows::HeldOut, Rows::Unlabelled] {
            let _samples = memory.samples(rows);
        }
        let _report = memory.check();
        let _answers = answers(&path, &original.probes);
    }
});
