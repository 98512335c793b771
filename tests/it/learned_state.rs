//! A small state that learned twice, and what it answers: what damage is done to. Also a part of
//! the fuzz target.

use std::path::Path;

use kaizen_edge::low_level::event::Discard;
use kaizen_edge::low_level::memory::{FeatureIdentity, Memory, Sample};
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::session::{FeatureLearner, LearnerSettings, PublishedHead, TrainingControl};
use kaizen_edge::{EngineChoice, Prediction};

const WIDTH: usize = 12;
/// Classes that are taught, the last of them alone.
const CLASSES: u64 = 4;

fn identity() -> FeatureIdentity {
    FeatureIdentity {
        backbone_name: "tiny".to_owned(),
        backbone_sha256: "ab".repeat(32),
        feature_width: WIDTH,
        feature_class: "fp32".to_owned(),
        preprocessing: "none".to_owned(),
        cut: None,
    }
}

/// Rows about the middle of a class, `[WIDTH]` each.
fn row(class: u64, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::new(class, 7);
    (0..WIDTH).map(|_| (3.0 + middle.normal() + 0.4 * rng.normal()).max(0.0)).collect()
}

/// One new row of each class, `[CLASSES, WIDTH]`.
pub(crate) fn probes() -> Vec<f32> {
    let mut rng = Rng::new(5, 0);
    (0..CLASSES).flat_map(|class| row(class, &mut rng)).collect()
}

/// A state that learned twice: all classes but the last, then that one.
pub(crate) fn learned(path: &Path) {
    let mut settings = LearnerSettings::default();
    (settings.recipe.steps, settings.recipe.warmup_steps) = (0, 0);
    let memory = Memory::open(Some(path), &identity()).unwrap();
    let mut learner = FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap();
    let mut rng = Rng::new(3, 0);
    for classes in [0..CLASSES - 1, CLASSES - 1..CLASSES] {
        for number in 0..12 {
            for class in classes.clone() {
                let sample = Sample {
                    features: row(class, &mut rng),
                    views: vec![row(class, &mut rng)],
                    latents: None,
                    thumbnail: Some(vec![9; 60]),
                    name: format!("{class}-{number}.jpg"),
                    timestamp_millis: 0,
                    label: Some(format!("class {class}")),
                };
                learner.add(&[sample]).unwrap();
            }
        }
        assert!(learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap().published);
    }
}

/// What a program that opens the file to predict gets.
pub(crate) fn answers(path: &Path, probes: &[f32]) -> kaizen_edge::Result<Option<Vec<Prediction>>> {
    let memory = Memory::open_read_only(path)?;
    memory.require(&identity())?;
    PublishedHead::restore(&memory, &LearnerSettings::default())?.map(|head| head.predict(probes)).transpose()
}
