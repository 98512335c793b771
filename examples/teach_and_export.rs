//! Teach, learn, predict, export: the learner as a library, on the recording of garments.
//!
//!     cargo run --release --example teach_and_export [-- OUT.onnx]

#![allow(clippy::print_stdout, reason = "the figures are the example's output")]

use anyhow::Context as _;
use kaizen_edge::backbone::{self, BackboneOptions};
use kaizen_edge::event::Discard;
use kaizen_edge::export::graft;
use kaizen_edge::learn::engine::{self, EngineChoice};
use kaizen_edge::memory::Memory;
use kaizen_edge::session::{self, FrameReader, Learner, LearnerSettings, Observation};
use kaizen_edge::vision::{self, SourceOptions, Split};

fn main() -> anyhow::Result<()> {
    let root = env!("CARGO_MANIFEST_DIR");
    let models_dir = Some(std::path::Path::new(root).join("models"));
    let mut backbone = backbone::load(&BackboneOptions { models_dir, ..BackboneOptions::default() })?;
    println!("{}", backbone.provider().line());

    // A state without file; `Memory::open(Some(path), …)` keeps it.
    let memory = Memory::open(None, &session::identity(backbone.as_ref()))?;
    let (engine, line) = engine::open(EngineChoice::Auto)?;
    println!("{line}");
    let mut learner = Learner::new(LearnerSettings::default(), memory, engine)?;

    // Teach the training frames, put the others aside.
    let source =
        vision::open(&format!("recording://{root}/tests/data/recording-objects"), &SourceOptions::default())?;
    let mut reader = FrameReader::start(source, &backbone.spec().clone(), 2, 1)?;
    let mut tests = Vec::new();
    loop {
        let batch = reader.next_batch(backbone.as_mut(), 8)?;
        if batch.is_empty() {
            break;
        }
        for embedded in batch {
            let embedded = embedded?;
            if embedded.frame.split == Split::Test {
                tests.push(embedded);
                continue;
            }
            let stored = learner.observe(&Observation {
                features: embedded.features,
                views: embedded.views,
                thumbnail: embedded.frame.thumbnail,
                name: embedded.frame.name,
                timestamp_millis: i64::try_from(embedded.frame.timestamp_millis)?,
                label: embedded.frame.label,
            })?;
            // The label can be taken back by its id: `learner.undo(label, …)`.
            let _label = stored.label;
        }
    }

    // Learn: train, hold the candidates against held-out frames, publish the best.
    let outcome = learner.consolidate(&mut Discard)?;
    println!("published: {}, head {}", outcome.published, outcome.head.name());

    // Predict.
    let predictor = learner.predictor_now().context("something was learned")?;
    let mut right = 0;
    for test in &tests {
        let answer = predictor.predict(&test.features)?.remove(0);
        right += usize::from(Some(&answer.name) == test.frame.label.as_ref());
    }
    println!("{right} of {} test frames are right", tests.len());

    // Export: backbone and heads in one ONNX file.
    let spec = backbone.spec();
    let onnx = std::fs::read(&spec.path)?;
    let labels = serde_json::to_string(&predictor.column_names())?;
    let file = graft(spec, &onnx, &predictor.tail(), &[("classes", labels)])?;
    println!("{} bytes of ONNX", file.len());
    if let Some(out) = std::env::args().nth(1) {
        std::fs::write(&out, file).context(out)?;
    }
    Ok(())
}
