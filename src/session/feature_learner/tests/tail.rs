use super::*;
use crate::heads::{Extractor, MapShape, Node, NodeOp, Tensor};
use crate::latent::LatentTable;
use crate::learn::inference;
use crate::reference::activation::Activation;
use crate::session::settings::Consolidate;

const SHAPE: MapShape = MapShape { size: [2, 2], channels: 6 };

/// A tail of two layers and the mean.
fn own_tail() -> Tail {
    let node = |name: &str, input, op| Node {
        name: format!("tail.{name}"),
        input,
        op,
        residual: None,
        activation: if op == NodeOp::AveragePool { Activation::None } else { Activation::Relu },
    };
    let nodes = vec![
        node("a", 0, NodeOp::Linear { outputs: 16 }),
        node("b", 1, NodeOp::Linear { outputs: WIDTH }),
        node("mean", 2, NodeOp::AveragePool),
    ];
    let extractor = Extractor { input: SHAPE, nodes };
    let mut rng = Rng::new(4, 0);
    let parameters = extractor.parameters().unwrap().into_iter().map(|(name, shape)| {
        let data = (0..shape.iter().product()).map(|_| 0.1 + 0.4 * rng.normal()).collect();
        (name, Tensor::new(&shape, data).unwrap())
    });
    Tail { parameters: parameters.collect(), extractor }
}

/// A labelled sample of one of several classes, with the latents of its frame and of two views.
fn sample(class: usize, number: usize) -> Sample {
    let mut rng = Rng::named(9, &format!("{class} {number}"));
    let mut latents = LatentTable::new(SHAPE.positions(), SHAPE.channels);
    for _ in 0..3 {
        let values = (0..SHAPE.elements())
            .map(|at| if at % 6 == class { 2.0 } else { 0.5 } + 0.6 * rng.normal().abs());
        latents.push(&values.collect::<Vec<_>>()).unwrap();
    }
    let tail = own_tail();
    let mut own = Vec::new();
    latents.append_to(0, &mut own);
    let features = inference::extract(&tail.extractor, &tail.parameters, &own).unwrap();
    Sample { features, latents: Some(latents), ..frame(class, number, true) }
}

fn learner_on(memory: Memory, engine: impl Into<EngineSlot>) -> FeatureLearner {
    let mut settings = LearnerSettings::default();
    settings.tail.checkpoint_secs = 0;
    settings.tail.recipe.steps_per_submit = 2;
    FeatureLearner::new(settings, memory, engine).unwrap().with_tail(Some(Arc::new(own_tail()))).unwrap()
}

fn taught(classes: std::ops::Range<usize>) -> FeatureLearner {
    let FeatureLearner { memory, .. } = learner();
    let mut learner = learner_on(memory, EngineChoice::Cpu);
    for number in 0..18 {
        for class in classes.clone() {
            learner.add(&[sample(class, number)]).unwrap();
        }
    }
    learner
}

fn learn(learner: &mut FeatureLearner) -> (Consolidation, Vec<Event>) {
    let mut events = Vec::new();
    let mut keep = |event: &Event| events.push(event.clone());
    let outcome = learner.consolidate(&mut TrainingControl::new(&mut keep)).unwrap();
    (outcome, events)
}

fn steps_taken(events: &[Event]) -> Option<usize> {
    events.iter().rev().find_map(|event| match event {
        Event::Trained { step, .. } => Some(*step),
        _ => None,
    })
}

fn published(learner: &FeatureLearner) -> Vec<u8> {
    learner.memory().published().unwrap().unwrap().heads.unwrap()
}

/// The CPU engine of a machine that goes down after some submits.
struct GoesDown(Box<dyn Engine>, usize);

impl Engine for GoesDown {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn device(&self) -> String {
        self.0.device()
    }

    fn load(&mut self, problem: Problem, state: &Parameters) -> crate::Result<()> {
        self.0.load(problem, state)
    }

    fn step(&mut self, inputs: &[StepInput]) -> crate::Result<Vec<Terms>> {
        match self.1.checked_sub(1) {
            Some(left) => self.1 = left,
            None => return Err(Error::not_ready("machine", "it went down", "switch it on")),
        }
        self.0.step(inputs)
    }

    fn snapshot(&mut self) -> crate::Result<Parameters> {
        self.0.snapshot()
    }

    fn trained(&mut self) -> crate::Result<Parameters> {
        self.0.trained()
    }

    fn unload(&mut self) {
        self.0.unload();
    }
}

#[test]
fn a_training_that_was_cut_off_goes_on_from_its_checkpoint_to_the_same_bits() {
    let [mut whole, mut other] = [taught(0..2), taught(1..3)];
    learn(&mut whole);
    learn(&mut other);
    for submits in [1, 3, 6] {
        let mut cut = taught(0..2);
        let engine = crate::learn::engine_choice::open(EngineChoice::Cpu).unwrap().0;
        let engine: Box<dyn Engine> = Box::new(GoesDown(engine, submits));
        cut.engine = engine.into();
        cut.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap_err();
        let FeatureLearner { memory, .. } = cut;
        let mut next = learner_on(memory, EngineChoice::Cpu);
        let (_, events) = learn(&mut next);
        let step = events.iter().find_map(|event| match event {
            Event::Resumed { step, .. } => Some(*step),
            _ => None,
        });
        assert_eq!(step, Some(2 * submits));
        let [there, here] = [&next, &whole].map(|learner| {
            let heads = published(learner);
            (Parameters::from_safetensors(&heads).unwrap().digest(), Parameters::metadata(&heads).unwrap())
        });
        assert_eq!(there, here, "after {submits} submits");
        // The control: what was trained on other samples is not the same.
        assert_ne!(here.0, Parameters::from_safetensors(&published(&other)).unwrap().digest());
        assert_eq!(next.memory().load_checkpoint().unwrap(), None);
    }
}

#[test]
fn a_checkpoint_of_other_samples_is_not_gone_on_from() {
    let mut cut = taught(0..2);
    let engine = crate::learn::engine_choice::open(EngineChoice::Cpu).unwrap().0;
    let engine: Box<dyn Engine> = Box::new(GoesDown(engine, 3));
    cut.engine = engine.into();
    cut.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap_err();
    let FeatureLearner { memory, .. } = cut;
    let mut next = learner_on(memory, EngineChoice::Cpu);
    next.add(&[sample(1, 99)]).unwrap();
    let (_, events) = learn(&mut next);
    assert!(!events.iter().any(|event| matches!(event, Event::Resumed { .. })), "{events:?}");
    // What is forgotten is in no checkpoint either.
    next.memory_mut().save_checkpoint(b"trained on what is forgotten").unwrap();
    next.forget("class 1", &mut TrainingControl::new(&mut Discard)).unwrap();
    assert_eq!(next.memory().load_checkpoint().unwrap(), None);
}

#[test]
fn going_back_to_a_version_goes_back_to_its_tail_and_learning_goes_on_from_there() {
    let mut learner = taught(0..2);
    learn(&mut learner);
    let first = learner.memory().published().unwrap().unwrap().entry.id;
    let before = learner.serving_tail().unwrap();
    for number in 0..18 {
        learner.add(&[sample(2, number)]).unwrap();
    }
    learn(&mut learner);
    let second = learner.memory().published().unwrap().unwrap().entry.id;
    assert_ne!(*learner.serving_tail().unwrap(), *before);
    assert_eq!(learner.roll_back(second).unwrap(), Some(first));
    assert_eq!(*learner.serving_tail().unwrap(), *before);
    for number in 20..30 {
        learner.add(&[sample(1, number)]).unwrap();
    }
    let (outcome, events) = learn(&mut learner);
    assert!(outcome.published, "{events:?}");
    // As another process would: what is stored is enough.
    let head = published(&learner);
    let FeatureLearner { memory, .. } = learner;
    let reopened = learner_on(memory, EngineChoice::Cpu);
    assert!(published(&reopened) == head && reopened.serving().now().is_some());
}

#[test]
fn labelled_samples_without_latents_keep_the_tail_as_it_is_and_say_so() {
    let mut learner = taught(0..2);
    learner.add(&[Sample { latents: None, ..sample(0, 99) }]).unwrap();
    let (outcome, events) = learn(&mut learner);
    assert!(outcome.published && learner.serving_tail().is_none(), "{outcome:?}");
    let reason = events.iter().find_map(|event| match event {
        Event::TailStays { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("1 labelled sample")), "{reason:?}");
}

#[test]
fn a_memory_limit_narrows_the_batch_and_then_keeps_the_tail_as_it_is() {
    let steps = |learner: &mut FeatureLearner, bytes| {
        learner.settings.memory_limit = Some(MemoryLimit { bytes, besides: 0 });
        learn(learner)
    };
    let mut wide = taught(0..2);
    steps(&mut wide, 1_000_000_000);
    assert!(wide.serving_tail().is_some());
    let mut none = taught(0..2);
    // Enough for the closed forms, not for a step.
    let least = (20..400).find(|kilobytes| {
        none.settings.memory_limit = Some(MemoryLimit { bytes: 1000 * kilobytes, besides: 0 });
        none.closed_form_settings().is_ok()
    });
    let (outcome, events) = steps(&mut none, 1000 * least.unwrap());
    assert!(outcome.published && none.serving_tail().is_none());
    let says =
        |event: &Event| matches!(event, Event::TailStays { reason } if reason.contains("memory limit"));
    assert!(events.iter().any(says), "{events:?}");
}

#[test]
fn a_tail_whose_weights_run_away_is_dropped_with_its_reason_and_the_closed_forms_stand() {
    let mut learner = taught(0..2);
    learner.settings.tail.recipe.learning_rate = 1e30;
    let (outcome, events) = learn(&mut learner);
    assert!(outcome.published && learner.serving_tail().is_none(), "{outcome:?}");
    let failed = events.iter().any(|event| matches!(event, Event::CandidateFailed { head: "tail", .. }));
    assert!(failed, "{events:?}");
}

/// Unlabelled samples were counted in the steps that were announced, and not in those taken.
#[test]
fn as_many_steps_are_taken_as_were_announced() {
    let mut learner = taught(0..2);
    for number in 100..1100 {
        learner.add(&[Sample { label: None, ..sample(number % 2, number) }]).unwrap();
    }
    let (_, events) = learn(&mut learner);
    let announced = events.iter().find_map(|event| match event {
        Event::TaskStarted { steps, .. } => Some(*steps),
        _ => None,
    });
    let taken = steps_taken(&events);
    assert_eq!(announced, taken);
    assert!(taken > Some(learner.settings().tail.fewest_steps), "{taken:?}");
}

#[test]
fn in_idle_mode_a_lesson_is_answered_by_closed_forms_and_the_tail_is_trained_later() {
    let mut learner = taught(0..2);
    learner.settings.consolidate = Consolidate::Idle;
    let (lesson, events) = learn(&mut learner);
    assert!(lesson.published && learner.serving_tail().is_none(), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::TailStays { .. })), "{events:?}");
    let (again, _) = learn(&mut learner);
    assert!(!again.published && learner.waits());
    // As another process would.
    let FeatureLearner { memory, .. } = learner;
    let mut learner = learner_on(memory, EngineChoice::Cpu);
    learner.settings.consolidate = Consolidate::Idle;
    assert!(learner.waits());
    let trained = learner.train_waiting(&mut TrainingControl::new(&mut Discard)).unwrap();
    assert!(trained.published && learner.serving_tail().is_some(), "{trained:?}");
    assert!(!learner.waits());
    let nothing = learner.train_waiting(&mut TrainingControl::new(&mut Discard)).unwrap();
    assert_eq!(nothing.candidates, []);
}

#[test]
fn without_consolidation_nothing_is_trained_until_it_is_asked_for() {
    let mut learner = taught(0..2);
    learner.settings.consolidate = Consolidate::Never;
    let (lesson, events) = learn(&mut learner);
    assert!(lesson.published && learner.serving_tail().is_none(), "{events:?}");
    assert!(!learner.waits());
    learner.settings.consolidate = Consolidate::Lesson;
    let (lesson, _) = learn(&mut learner);
    assert!(lesson.published && learner.serving_tail().is_some());
}

#[cfg(feature = "serve")]
#[test]
fn a_training_that_was_cut_short_is_made_up_for_by_the_next() {
    use crate::session::power::Power;

    let mut learner = taught(0..2);
    let mut events = Vec::new();
    let mut keep = |event: &Event| events.push(event.clone());
    let control = TrainingControl::new(&mut keep);
    let threads = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    learner.consolidate(&mut control.beside_prediction(Power::Full, &|| true, &threads)).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::CutShort { .. })), "{events:?}");
    let (_, events) = learn(&mut learner);
    let taken = steps_taken(&events);
    assert_eq!(taken, Some(learner.settings().tail.fewest_steps));
    let (nothing, _) = learn(&mut learner);
    assert_eq!(nothing.candidates, []);
}
