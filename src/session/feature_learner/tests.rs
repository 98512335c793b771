mod removal;
mod tail;

use super::*;
use crate::event::{Discard, Event};
use crate::heads::Parameters;
use crate::ids::ClassId;
use crate::learn::engine::{Engine, Problem, StepInput, Terms};
use crate::learn::engine_choice::EngineChoice;
use crate::memory::{FeatureIdentity, NewVersion, Rows, VersionFigures};
use crate::number::real;
use crate::rng::Rng;
use crate::session::memory_limit::MemoryLimit;
use crate::session::published_head::{Head, HeadKind};
use crate::session::training_control::TrainingControl;

const WIDTH: usize = 12;

fn learner() -> FeatureLearner {
    let identity = FeatureIdentity {
        backbone_name: "none".to_owned(),
        backbone_sha256: "0".repeat(64),
        feature_width: WIDTH,
        feature_class: "fp32".to_owned(),
        preprocessing: "none".to_owned(),
        cut: None,
    };
    let mut settings = LearnerSettings::default();
    settings.recipe.steps = 0;
    let memory = Memory::open(None, &identity).unwrap();
    FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap()
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

    fn trained(&mut self) -> crate::Result<Parameters> {
        self.snapshot()
    }

    fn unload(&mut self) {}
}

#[test]
fn what_was_taught_is_learned_though_the_engine_fails() {
    let mut learner = learner();
    let gone: Box<dyn Engine> = Box::new(Gone);
    learner.engine = gone.into();
    learner.settings.recipe.steps = 4;
    for number in 0..20 {
        for class in 0..2 {
            learner.add(&[frame(class, number, true)]).unwrap();
        }
    }
    let consolidation = learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    assert!(consolidation.published && consolidation.head != Some(HeadKind::Trained), "{consolidation:?}");
    assert_eq!(
        learner.serving().now().unwrap().predict(&frame(1, 500, false).features).unwrap()[0].nearest,
        "class 1"
    );
}

/// A frame of one of several well separated classes.
fn frame(class: usize, number: usize, label: bool) -> Sample {
    let mut rng = Rng::named(7, &format!("{class} {number}"));
    let features = (0..WIDTH).map(|at| if at % 4 == class { 4.0 } else { 1.0 } + 0.3 * rng.normal().abs());
    Sample {
        features: features.collect(),
        views: Vec::new(),
        latents: None,
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
    learner.settings.ensemble.outlier_quantile = None;
    for number in 0..20 {
        for class in 0..2 {
            learner.add(&[frame(class, number, true)]).unwrap();
            learner.add(&[frame(class, 100 + number, false)]).unwrap();
        }
    }
    let unlabelled = learner.memory().samples(Rows::Unlabelled).unwrap();
    let marked: Vec<_> = unlabelled.iter().filter(|s| s.held_out).map(|s| s.id).collect();
    assert!(!marked.is_empty() && marked.len() < unlabelled.len(), "the marks of 40 samples");
    learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    let shared = learner.learned.shared();
    assert_eq!(shared.len(), unlabelled.len() - marked.len());
    assert!(marked.iter().all(|id| !shared.contains(id)), "{marked:?}");
}

/// A learner with trained heads of two classes, and the label of one of its samples.
fn trained() -> (FeatureLearner, LabelId) {
    let mut learner = learner();
    (learner.settings.recipe.steps, learner.settings.recipe.warmup_steps) = (4, 1);
    let mut label = None;
    for number in 0..20 {
        for class in 0..2 {
            let sample = Sample {
                views: vec![frame(class, 200 + number, true).features],
                ..frame(class, number, true)
            };
            label = learner.add(&[sample]).unwrap()[0].label.or(label);
        }
    }
    learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    assert!(learner.trained.parameters().is_some());
    (learner, label.unwrap())
}

#[test]
fn a_label_taken_back_trains_the_heads_anew_without_it() {
    let (mut learner, label) = trained();
    let parameters = |learner: &FeatureLearner| learner.trained.parameters().unwrap().clone();
    let before = parameters(&learner);
    let (_, consolidation) = learner.undo(label, &mut TrainingControl::new(&mut Discard)).unwrap();
    let candidates = consolidation.unwrap().candidates;
    assert!(candidates.iter().any(|(kind, _)| *kind == HeadKind::Trained), "{candidates:?}");
    assert_ne!(parameters(&learner), before);
}

/// Found by the crash test: there were no samples to train on for no steps.
#[test]
fn a_label_taken_back_without_training_leaves_only_closed_forms() {
    let (mut learner, label) = trained();
    learner.settings.recipe.steps = 0;
    let (_, consolidation) = learner.undo(label, &mut TrainingControl::new(&mut Discard)).unwrap();
    let candidates = consolidation.unwrap().candidates;
    assert!(!candidates.iter().any(|(kind, _)| *kind == HeadKind::Trained), "{candidates:?}");
    assert!(learner.trained.parameters().is_none() && learner.serving().now().is_some());
}

#[test]
fn an_ensemble_with_covariances_is_restored_bit_for_bit() {
    let mut learner = learner();
    for number in 0..30 {
        for class in 0..2 {
            learner.add(&[frame(class, number, true)]).unwrap();
        }
    }
    assert_eq!(
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap().head,
        Some(HeadKind::Ensemble)
    );
    let restored = PublishedHead::restore(learner.memory(), &learner.settings).unwrap().unwrap();
    let live = learner.serving().now().unwrap();
    let has_class_covariances = |published: &PublishedHead| match &published.head {
        Head::Ensemble(head) => head.class_covariances.is_some(),
        Head::Linear(_) | Head::Trained(_) | Head::Classifier(_) | Head::Blend(_) => false,
    };
    assert!(has_class_covariances(&live) && has_class_covariances(&restored));
    let rows: Vec<f32> = (0..20).flat_map(|number| frame(number % 3, 900 + number, false).features).collect();
    assert_eq!(restored.predict(&rows).unwrap(), live.predict(&rows).unwrap());
}

#[test]
fn statistics_gathered_anew_give_the_same_head_bit_for_bit() {
    let mut learner = learner();
    for task in 0..2 {
        for number in 0..15 {
            for class in [2 * task, 2 * task + 1] {
                learner.add(&[frame(class, number, true)]).unwrap();
                learner.add(&[frame(class, 100 + number, false)]).unwrap();
            }
        }
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    }
    let answer = |learner: &mut FeatureLearner| {
        let [training, unlabelled] =
            [Rows::Training, Rows::Unlabelled].map(|rows| learner.memory().samples(rows).unwrap());
        let statistics =
            learner.take_statistics(learner.closed_form_settings().unwrap(), &training, &unlabelled).unwrap();
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

/// A sixth of what was taught used to judge only.
#[test]
fn held_out_samples_are_learned_once_they_have_judged_and_unlearned_with_their_label() {
    let taught = |left_out: Option<usize>| {
        let mut learner = learner();
        learner.settings.recipe.steps = 0;
        let mut marked = None;
        for number in 0..20 {
            for class in (0..2).filter(|&class| class == 1 || Some(number) != left_out) {
                let stored = learner.add(&[frame(class, number, true)]).unwrap().remove(0);
                if class == 0 && stored.held_out {
                    marked = stored.label.map(|label| (number, label));
                }
            }
        }
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
        (learner, marked)
    };
    let rows: Vec<f32> = (0..20).flat_map(|number| frame(number % 3, 900 + number, false).features).collect();
    let answer = |learner: &FeatureLearner| learner.serving().now().unwrap().predict(&rows).unwrap();
    let (mut learner, marked) = taught(None);
    let (number, label) = marked.unwrap();
    let (without, _) = taught(Some(number));
    // The control: the sample counts.
    assert_ne!(answer(&learner), answer(&without));
    let (_, consolidation) = learner.undo(label, &mut TrainingControl::new(&mut Discard)).unwrap();
    assert!(consolidation.is_some());
    assert_eq!(answer(&learner), answer(&without));
}

/// The head that serves would otherwise be judged on samples that it was fitted to.
#[test]
fn the_head_that_serves_is_judged_by_what_it_scored_before_it_learned_the_held_out_samples() {
    let mut learner = learner();
    learner.settings.recipe.steps = 0;
    let teach = |learner: &mut FeatureLearner, class: usize, numbers: std::ops::Range<usize>| {
        for number in numbers {
            learner.add(&[frame(class, number, true)]).unwrap();
        }
    };
    let consolidate = |learner: &mut FeatureLearner| -> VersionFigures {
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
        learner.memory().history().unwrap().versions.pop().unwrap().figures.unwrap()
    };
    let of = |figures: &VersionFigures, class: &str| {
        figures.classes.iter().find(|figure| figure.class.as_deref() == Some(class)).cloned().unwrap()
    };
    (0..2).for_each(|class| teach(&mut learner, class, 0..40));
    let first = consolidate(&mut learner);
    assert_eq!([of(&first, "class 0").after, of(&first, "class 1").after], [Some(1.0); 2]);
    // As if none had been right before they were learned.
    let figures = learner.figures.as_mut().unwrap();
    figures.classes.iter_mut().for_each(|figure| figure.after = Some(0.0));
    // Held-out samples that come later do judge.
    teach(&mut learner, 1, 40..80);
    teach(&mut learner, 2, 0..20);
    let second = consolidate(&mut learner);
    assert_eq!(of(&second, "class 0").before, Some(0.0));
    let [then, now] = [&first, &second].map(|figures| of(figures, "class 1").samples);
    assert!(now > then, "{then} held out, then {now}");
    let later = real(usize::try_from(now - then).unwrap()) / real(usize::try_from(now).unwrap());
    let before = of(&second, "class 1").before.unwrap();
    assert!((before - later).abs() < 1e-12, "{before} before, {later} of the later ones");
}

#[test]
fn a_class_is_forgotten_though_learning_does_not_fit_into_the_memory_limit() {
    let mut learner = learner();
    for number in 0..20 {
        for class in 0..3 {
            learner.add(&[frame(class, number, true)]).unwrap();
        }
    }
    learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    assert!(learner.has_room().unwrap());
    learner.settings.memory_limit = Some(MemoryLimit { bytes: 1, besides: 0 });
    assert!(!learner.has_room().unwrap());
    learner.add(&[frame(1, 99, true)]).unwrap();
    let refused = learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap_err().to_string();
    assert!(refused.contains("memory limit"), "{refused}");
    let names = |learner: &FeatureLearner| -> Vec<String> {
        let head = learner.serving().now().unwrap();
        head.classes().iter().map(|(_, name)| name.clone()).collect()
    };
    let before = names(&learner);
    learner.forget(&before[0], &mut TrainingControl::new(&mut Discard)).unwrap();
    assert_eq!(names(&learner), before[1..]);
}

#[test]
fn samples_are_stored_though_what_was_learned_cannot_be_read() {
    let FeatureLearner { settings, mut memory, .. } = learner();
    let figures = VersionFigures::default();
    memory.publish(NewVersion { heads: b"no heads", head_kind: "slda", figures: &figures }).unwrap();
    let mut unread = FeatureLearner::unrestored(settings, memory, EngineChoice::Cpu.into()).unwrap();
    assert_eq!(unread.add(&[frame(0, 0, true)]).unwrap().len(), 1);
    let refused = unread.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    // The control: a learner that is to answer reads it at once.
    let FeatureLearner { settings, memory, .. } = unread;
    assert!(FeatureLearner::new(settings, memory, EngineChoice::Cpu).is_err());
}
