//! The main job on the recordings: new classes are learned, old ones kept, while a naive fine-tune of the same frames
//! forgets.

use kaizen_bench::stream::{StreamOutcome, StreamSettings, run_stream};
use kaizen_edge::low_level::backbone::{self, BackboneOptions};
use kaizen_edge::low_level::event::Discard;
use kaizen_edge::low_level::memory::Memory;
use kaizen_edge::low_level::session::{Embedder, FeatureLearner};
use kaizen_edge::low_level::vision::{self, SourceOptions};
use kaizen_edge::{EngineChoice, Provider};

use crate::support;

/// ONNX Runtime where it is there (and required), else tract: the same weights, the same features within 1e-4.
fn provider() -> Provider {
    let found = backbone::find_onnx_runtime(None);
    assert!(found.is_ok() || !support::required("ort"), "KAIZEN_REQUIRE names ort: {found:?}");
    if found.is_ok() { Provider::Cpu } else { Provider::Tract }
}

fn play(recording: &str, choice: EngineChoice, settings: &StreamSettings) -> StreamOutcome {
    let uri = format!("recording://{}", support::data(recording).display());
    let source = vision::open(&uri, &SourceOptions::default()).unwrap();
    let models_dir = Some(support::repository().join("models"));
    let options = BackboneOptions { models_dir, provider: provider(), ..BackboneOptions::default() };
    let seed = settings.learner.seed;
    let mut embedder = Embedder::new(backbone::load(&options).unwrap(), seed).unwrap();
    let memory = Memory::open(None, &embedder.identity()).unwrap();
    let learner = FeatureLearner::new(settings.learner.clone(), memory, choice).unwrap();
    run_stream(source, &mut embedder, learner, settings, &mut Discard).unwrap()
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
    let first = play("recording-fashion", EngineChoice::Cpu, &settings);
    assert_eq!((first.tasks.len(), first.frames, first.test_frames), (5, 900, 300));
    holds(&first);
    let again = play("recording-fashion", EngineChoice::Cpu, &settings);
    assert_eq!(first.methods, again.methods, "same seed, same result");
}

#[test]
fn garments_are_learned_task_by_task_and_kept_on_the_gpu_engine() {
    if support::gpu().is_none() {
        return;
    }
    let settings = StreamSettings::default();
    let gpu = play("recording-fashion", EngineChoice::Gpu, &settings);
    holds(&gpu);
    let cpu = play("recording-fashion", EngineChoice::Cpu, &settings);
    let apart = (gpu.methods["kaizen"].final_accuracy - cpu.methods["kaizen"].final_accuracy).abs();
    assert!(apart <= 0.02, "engines are {apart} apart");
}

#[test]
fn objects_filmed_one_after_the_other_are_kept() {
    let outcome = play("recording-objects", EngineChoice::Cpu, &StreamSettings::default());
    assert_eq!(outcome.tasks, [["box"], ["cup"], ["tree"], ["pedestrians"]]);
    let [kaizen, joint] = ["kaizen", "joint"].map(|name| &outcome.methods[name]);
    assert!(kaizen.final_accuracy >= joint.final_accuracy - 0.05, "{kaizen:?} against {joint:?}");
    assert!(kaizen.forgetting <= 0.10, "{kaizen:?}");
}
