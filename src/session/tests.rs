use super::*;
use crate::event::Discard;
use crate::heads::Parameters;
use crate::ids::ClassId;
use crate::learn::cpu::CpuEngine;
use crate::learn::engine::{Engine, Problem, StepInput, Terms};
use crate::memory::{FeatureIdentity, Memory, Rows};
use crate::rng::Rng;

const WIDTH: usize = 12;

fn learner() -> Learner {
    let identity = FeatureIdentity {
        backbone_name: "none".to_owned(),
        backbone_sha256: "0".repeat(64),
        feature_width: WIDTH,
        feature_class: "fp32".to_owned(),
        preprocessing: "none".to_owned(),
    };
    let mut settings = LearnerSettings::default();
    settings.recipe.steps = 0;
    let memory = Memory::open(None, &identity).unwrap();
    Learner::new(settings, memory, Box::new(CpuEngine::new(0))).unwrap()
}

/// An engine whose device is gone.
struct Gone;

impl Engine for Gone {
    fn name(&self) -> &'static str {
        "gone"
    }

    fn device(&self) -> String {
        self.name().to_owned()
    }

    fn load(&mut self, _: Problem, _: &Parameters) -> crate::Result<()> {
        Err(crate::Error::Device { adapter: self.device(), reason: "lost".to_owned() })
    }

    fn step(&mut self, _: &[StepInput]) -> crate::Result<Vec<Terms>> {
        Ok(Vec::new())
    }

    fn snapshot(&mut self) -> crate::Result<Parameters> {
        Ok(Parameters::default())
    }

    fn unload(&mut self) {}
}

#[test]
fn what_was_taught_is_learned_though_the_engine_fails() {
    let mut learner = learner();
    learner.engine = Box::new(Gone);
    learner.settings.recipe.steps = 4;
    for number in 0..20 {
        for class in 0..2 {
            learner.observe(&frame(class, number, true)).unwrap();
        }
    }
    let consolidation = learner.consolidate(&mut Discard).unwrap();
    assert!(consolidation.published && consolidation.head != HeadKind::Kaizen, "{consolidation:?}");
    assert_eq!(
        learner.predictor_now().unwrap().predict(&frame(1, 500, false).features).unwrap()[0].name,
        "class 1"
    );
}

/// A frame of one of several well separated classes.
fn frame(class: usize, number: usize, label: bool) -> Observation {
    let mut rng = Rng::named(7, &format!("{class} {number}"));
    let features = (0..WIDTH).map(|at| if at % 4 == class { 4.0 } else { 1.0 } + 0.3 * rng.normal().abs());
    Observation {
        features: features.collect(),
        views: Vec::new(),
        thumbnail: None,
        name: format!("{class}-{number}-{label}"),
        timestamp_millis: 0,
        label: label.then(|| format!("class {class}")),
    }
}

#[test]
fn unlabelled_samples_with_the_held_out_mark_are_not_learned() {
    let mut learner = learner();
    // The mark alone decides.
    learner.settings.ensemble.stranger_quantile = None;
    for number in 0..20 {
        for class in 0..2 {
            learner.observe(&frame(class, number, true)).unwrap();
            learner.observe(&frame(class, 100 + number, false)).unwrap();
        }
    }
    let unlabelled = learner.memory().samples(Rows::Unlabelled).unwrap();
    let marked: Vec<_> = unlabelled.iter().filter(|s| s.held_out).map(|s| s.id).collect();
    assert!(!marked.is_empty() && marked.len() < unlabelled.len(), "the marks of 40 samples");
    learner.consolidate(&mut Discard).unwrap();
    let shared = learner.learned.shared();
    assert_eq!(shared.len(), unlabelled.len() - marked.len());
    assert!(marked.iter().all(|id| !shared.contains(id)), "{marked:?}");
}

/// A learner with trained heads of two classes, and the label of one of its samples.
fn trained() -> (Learner, crate::memory::LabelId) {
    let mut learner = learner();
    (learner.settings.recipe.steps, learner.settings.recipe.warmup_steps) = (4, 1);
    let mut label = None;
    for number in 0..20 {
        for class in 0..2 {
            let sample = Observation {
                views: vec![frame(class, 200 + number, true).features],
                ..frame(class, number, true)
            };
            label = learner.observe(&sample).unwrap().label.or(label);
        }
    }
    learner.consolidate(&mut Discard).unwrap();
    assert!(learner.trained.is_some());
    (learner, label.unwrap())
}

#[test]
fn a_label_taken_back_trains_the_heads_anew_without_it() {
    let (mut learner, label) = trained();
    let parameters = |learner: &Learner| learner.trained.as_ref().unwrap().1.clone();
    let before = parameters(&learner);
    let (_, consolidation) = learner.undo(label, &mut Discard).unwrap();
    let candidates = consolidation.unwrap().candidates;
    assert!(candidates.iter().any(|(kind, _)| *kind == HeadKind::Kaizen), "{candidates:?}");
    assert_ne!(parameters(&learner), before);
}

/// Found by the crash test: there were no samples to train on for no steps.
#[test]
fn a_label_taken_back_without_training_leaves_only_closed_forms() {
    let (mut learner, label) = trained();
    learner.settings.recipe.steps = 0;
    let (_, consolidation) = learner.undo(label, &mut Discard).unwrap();
    let candidates = consolidation.unwrap().candidates;
    assert!(!candidates.iter().any(|(kind, _)| *kind == HeadKind::Kaizen), "{candidates:?}");
    assert!(learner.trained.is_none() && learner.predictor_now().is_some());
}

#[test]
fn an_ensemble_with_covariances_is_restored_bit_for_bit() {
    let mut learner = learner();
    for number in 0..30 {
        for class in 0..2 {
            learner.observe(&frame(class, number, true)).unwrap();
        }
    }
    assert_eq!(learner.consolidate(&mut Discard).unwrap().head, HeadKind::Ensemble);
    let restored = Predictor::restore(learner.memory(), &learner.settings).unwrap().unwrap();
    let live = learner.predictor_now().unwrap();
    let has_curvature = |predictor: &Predictor| matches!(&predictor.answer, super::predictor::Answer::Ensemble(head) if head.curvature.is_some());
    assert!(has_curvature(&live) && has_curvature(&restored));
    let rows: Vec<f32> = (0..20).flat_map(|number| frame(number % 3, 900 + number, false).features).collect();
    assert_eq!(restored.answers(&rows).unwrap(), live.answers(&rows).unwrap());
}

#[test]
fn statistics_gathered_anew_give_the_same_head_bit_for_bit() {
    let mut learner = learner();
    for task in 0..2 {
        for number in 0..15 {
            for class in [2 * task, 2 * task + 1] {
                learner.observe(&frame(class, number, true)).unwrap();
                learner.observe(&frame(class, 100 + number, false)).unwrap();
            }
        }
        learner.consolidate(&mut Discard).unwrap();
    }
    let answer = |learner: &mut Learner| {
        let [training, unlabelled] =
            [Rows::Training, Rows::Unlabelled].map(|rows| learner.memory().samples(rows).unwrap());
        let statistics = learner.statistics(learner.ensemble().unwrap(), &training, &unlabelled).unwrap();
        let head = statistics.ensemble.fit().unwrap().head;
        learner.statistics = Some(statistics);
        head.scores(&frame(1, 500, false).features).unwrap()
    };
    let kept = answer(&mut learner);
    learner.statistics = None;
    assert_eq!(kept, answer(&mut learner));
    // The control: without one of the unlabelled rows the head is another.
    learner.statistics = None;
    let mut live = learner.memory().live_classes().unwrap();
    live.insert(*learner.learned.shared().first().unwrap(), ClassId(0));
    assert!(learner.learned.drop_stale(&live));
    assert_ne!(kept, answer(&mut learner));
}

#[test]
fn a_class_is_forgotten_though_learning_does_not_fit_into_the_memory_limit() {
    let mut learner = learner();
    for number in 0..20 {
        for class in 0..3 {
            learner.observe(&frame(class, number, true)).unwrap();
        }
    }
    learner.consolidate(&mut Discard).unwrap();
    assert!(learner.has_room().unwrap());
    learner.settings.memory_limit = Some(MemoryLimit { bytes: 1, besides: 0 });
    assert!(!learner.has_room().unwrap());
    learner.observe(&frame(1, 99, true)).unwrap();
    let refused = learner.consolidate(&mut Discard).unwrap_err().to_string();
    assert!(refused.contains("memory limit"), "{refused}");
    let names = |learner: &Learner| -> Vec<String> {
        let head = learner.predictor_now().unwrap();
        head.classes().iter().map(|(_, name)| name.clone()).collect()
    };
    let before = names(&learner);
    learner.forget(&before[0], &mut Discard).unwrap();
    assert_eq!(names(&learner), before[1..]);
}
