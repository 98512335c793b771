//! The main job on the recordings: new classes are learned, old ones kept, while a naive fine-tune
//! of the same frames forgets.

use kaizen_bench::stream::{StreamOutcome, StreamSettings, run_stream};
use kaizen_edge::low_level::backbone::{self, BackboneOptions};
use kaizen_edge::low_level::event::Discard;
use kaizen_edge::low_level::heads::{Architecture, Parameters};
use kaizen_edge::low_level::learn::inference;
use kaizen_edge::low_level::memory::{FeatureIdentity, Memory, Sample};
use kaizen_edge::low_level::session::{
    Embedded, Embedder, FeatureLearner, Inputs, LearnerSettings, TrainingControl,
};
use kaizen_edge::low_level::vision::{self, FrameSource, SourceOptions};
use kaizen_edge::{EngineChoice, Error, Provider, Split};

use crate::support;

/// ONNX Runtime where it is there (and required), else tract: the same weights, the same features
/// within 1e-4.
fn provider() -> Provider {
    let found = backbone::find_onnx_runtime(None);
    assert!(found.is_ok() || !support::required("ort"), "KAIZEN_REQUIRE names ort: {found:?}");
    if found.is_ok() { Provider::Cpu } else { Provider::Tract }
}

fn source(recording: &str) -> Box<dyn FrameSource> {
    let uri = format!("recording://{}", support::data(recording).display());
    vision::open(&uri, &SourceOptions::default()).unwrap()
}

fn embedder(seed: u64) -> Embedder {
    let models_dir = Some(support::repository().join("models"));
    let options = BackboneOptions { models_dir, provider: provider(), ..BackboneOptions::default() };
    Embedder::new(backbone::load(&options).unwrap(), seed).unwrap()
}

fn play(recording: &str, settings: &StreamSettings) -> StreamOutcome {
    let mut embedder = embedder(settings.learner.seed);
    let memory = Memory::open(None, &embedder.identity()).unwrap();
    let learner = FeatureLearner::new(settings.learner.clone(), memory, EngineChoice::Cpu).unwrap();
    run_stream(source(recording), &mut embedder, learner, settings, &mut Discard).unwrap()
}

fn holds(outcome: &StreamOutcome) {
    let [kaizen, naive, joint] = ["kaizen", "naive", "joint"].map(|name| &outcome.methods[name]);
    println!(
        "kaizen {:.3} (forgetting {:.3}), naive {:.3}, joint {:.3}",
        kaizen.final_accuracy, kaizen.forgetting, naive.final_accuracy, joint.final_accuracy
    );
    assert!(kaizen.final_accuracy >= joint.final_accuracy - 0.05, "{kaizen:?} against {joint:?}");
    assert!(kaizen.forgetting <= 0.10, "{kaizen:?}");
    assert!(naive.final_accuracy <= 0.50, "{naive:?}");
    // The control: held to the same bar, the naive fine-tune fails.
    assert!(naive.final_accuracy < joint.final_accuracy - 0.05 && naive.forgetting > 0.10, "{naive:?}");
}

#[test]
fn garments_are_learned_task_by_task_and_kept_on_the_cpu_engine() {
    let settings = StreamSettings::default();
    let first = play("recording-fashion", &settings);
    assert_eq!((first.tasks.len(), first.frames, first.test_frames), (5, 900, 300));
    holds(&first);
    let again = play("recording-fashion", &settings);
    assert_eq!(first.methods, again.methods, "same seed, same result");
}

#[test]
fn objects_filmed_one_after_the_other_are_kept() {
    let outcome = play("recording-objects", &StreamSettings::default());
    assert_eq!(outcome.tasks, [["box"], ["cup"], ["tree"], ["pedestrians"]]);
    let [kaizen, joint] = ["kaizen", "joint"].map(|name| &outcome.methods[name]);
    assert!(kaizen.final_accuracy >= joint.final_accuracy - 0.05, "{kaizen:?} against {joint:?}");
    assert!(kaizen.forgetting <= 0.10, "{kaizen:?}");
}

/// The recording's samples in their order, those to learn from and the features of those to test
/// on.
fn embedded(recording: &str) -> (Vec<Sample>, Vec<Vec<f32>>, FeatureIdentity) {
    let mut embedder = embedder(1);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    embedder
        .embed_source(source(recording), 2, |frame| {
            let Embedded { sample, split, .. } = frame?;
            match split {
                Split::Train => train.push(sample),
                Split::Test => test.push(sample.features),
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    (train, test, embedder.identity())
}

/// Logits on `test` of the heads that an engine has trained in a few steps a task, a task a class.
fn trained_logits(
    (train, test, identity): &(Vec<Sample>, Vec<Vec<f32>>, FeatureIdentity),
    choice: EngineChoice,
    seed: u64,
) -> Vec<f32> {
    let mut settings = LearnerSettings { seed, ..LearnerSettings::default() };
    (settings.recipe.steps, settings.recipe.warmup_steps) = (6, 1);
    let inputs = Inputs::of(&settings, identity.feature_width).unwrap();
    let memory = Memory::open(None, identity).unwrap();
    let mut learner = FeatureLearner::new(settings, memory, choice).unwrap();
    for task in train.chunk_by(|a, b| a.label == b.label) {
        learner.add(task).unwrap();
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    }
    let state = learner.memory().load_training().unwrap().unwrap();
    let parameters = Parameters::from_safetensors(&state).unwrap();
    let architecture = &Parameters::metadata(&state).unwrap()["architecture"];
    let architecture: Architecture = serde_json::from_str(architecture).unwrap();
    let mapped: Vec<f32> = test.iter().flat_map(|features| inputs.apply(features).unwrap()).collect();
    inference::logits(&architecture, &parameters, &mapped).unwrap()
}

/// Largest difference as a share of the largest logit.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0_f32, |m, v| m.max(v.abs()));
    largest(&mut a.iter().zip(b).map(|(a, b)| a - b)) / largest(&mut a.iter().copied())
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn both_engines_train_the_same_heads_on_objects() {
    const TOLERANCE: f32 = 1e-3;
    let frames = embedded("recording-objects");
    let cpu = trained_logits(&frames, EngineChoice::Cpu, 1);
    let gpu = trained_logits(&frames, EngineChoice::Gpu, 1);
    assert!(apart(&cpu, &gpu) <= TOLERANCE, "the engines' heads are {} apart", apart(&cpu, &gpu));
    // The control: heads of another seed are not within the tolerance.
    let other = apart(&cpu, &trained_logits(&frames, EngineChoice::Cpu, 2));
    assert!(other > 10.0 * TOLERANCE, "another seed's heads are {other} apart");
    println!("engines {:e} apart, seeds {other:e}", apart(&cpu, &gpu));
}
