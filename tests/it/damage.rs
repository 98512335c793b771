//! A state file cut or with bytes flipped anywhere: what it then answers is what it answered before, or a refusal.

use std::fs;
use std::path::Path;

use kaizen_edge::event::Discard;
use kaizen_edge::learn::engine::{self, EngineChoice};
use kaizen_edge::memory::{FeatureIdentity, Memory};
use kaizen_edge::rng::Rng;
use kaizen_edge::session::{Learner, LearnerSettings, Observation, Prediction, Predictor};

const WIDTH: usize = 12;

fn identity() -> FeatureIdentity {
    FeatureIdentity {
        backbone_name: "tiny".to_owned(),
        backbone_sha256: "ab".repeat(32),
        feature_width: WIDTH,
        feature_class: "fp32".to_owned(),
        preprocessing: "none".to_owned(),
    }
}

/// Rows about the middle of a class, `[WIDTH]` each.
fn row(class: u64, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::new(class, 7);
    (0..WIDTH).map(|_| (3.0 + middle.normal() + 0.4 * rng.normal()).max(0.0)).collect()
}

/// A state that learned twice: three classes, then a fourth.
fn learned(path: &Path) {
    let mut settings = LearnerSettings::default();
    (settings.recipe.steps, settings.recipe.warmup_steps) = (0, 0);
    let (engine, _) = engine::open(EngineChoice::Cpu).unwrap();
    let mut learner = Learner::new(settings, Memory::open(Some(path), &identity()).unwrap(), engine).unwrap();
    let mut rng = Rng::new(3, 0);
    for classes in [0..3, 3..4] {
        for number in 0..12 {
            for class in classes.clone() {
                let observation = Observation {
                    features: row(class, &mut rng),
                    views: vec![row(class, &mut rng)],
                    thumbnail: Some(vec![9; 60]),
                    name: format!("{class}-{number}.jpg"),
                    timestamp_millis: 0,
                    label: Some(format!("class {class}")),
                };
                learner.observe(&observation).unwrap();
            }
        }
        assert!(learner.consolidate(&mut Discard).unwrap().published);
    }
}

/// What a program that opens the file to predict gets.
fn answers(path: &Path, probes: &[f32]) -> kaizen_edge::Result<Option<Vec<Prediction>>> {
    let memory = Memory::open_read_only(path)?;
    memory.require(&identity())?;
    Predictor::restore(&memory, &LearnerSettings::default())?
        .map(|predictor| predictor.predict(probes))
        .transpose()
}

#[test]
fn damaged_files_answer_as_before_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (path, damaged) = (folder.path().join("state.db"), folder.path().join("damaged.db"));
    learned(&path);
    let mut rng = Rng::new(5, 0);
    let probes: Vec<f32> = (0..4).flat_map(|class| row(class, &mut rng)).collect();
    let before = answers(&path, &probes).unwrap().unwrap();
    let sound = fs::read(&path).unwrap();
    let (mut same, mut refused) = (0, 0);
    for round in 0..1500 {
        let mut bytes = sound.clone();
        let what = if round % 10 == 0 {
            bytes.truncate(rng.below(sound.len()));
            format!("cut at {}", bytes.len())
        } else {
            // The first page holds the header and the schema.
            let at = rng.below(if round % 4 == 0 { 4096 } else { sound.len() });
            let mask = 1 << rng.below(8);
            bytes[at] ^= mask;
            format!("byte {at} ^ {mask}")
        };
        fs::write(&damaged, &bytes).unwrap();
        match answers(&damaged, &probes) {
            Ok(Some(now)) => {
                assert_eq!(now, before, "{what}");
                same += 1;
            }
            Ok(None) => panic!("{what}: what was learned is silently gone"),
            Err(_) => refused += 1,
        }
        for suffix in ["-wal", "-shm"] {
            let _absent = fs::remove_file(folder.path().join(format!("damaged.db{suffix}")));
        }
    }
    println!("{} bytes: as before {same}, refused {refused}", sound.len());
    assert!(same > 200 && refused > 200, "as before {same}, refused {refused}");
}
