//! Teaches two classes, learns them, predicts, and writes one ONNX file.
//!
//!     cargo run --release --example teach_and_export [-- OUT.onnx]

#![allow(clippy::print_stdout, reason = "the answers are the example's output")]

use kaizen_edge::{Frame, Learner, Options, Result, Split, frames};

fn main() -> Result<()> {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut learner = Learner::open(Options::new().models_dir(format!("{root}/models")))?;

    let recording = format!("recording://{root}/tests/data/recording-objects");
    let all = frames(&recording)?.collect::<Result<Vec<Frame>>>()?;
    let of = |name: &'static str, split: Split| {
        all.iter().filter(move |frame| frame.label.as_deref() == Some(name) && frame.split == split)
    };
    learner.teach("box", of("box", Split::Train))?;
    learner.teach("cup", of("cup", Split::Train))?;
    let outcome = learner.learn()?;
    println!("published: {}, head: {:?}", outcome.published, outcome.head);

    for frame in of("cup", Split::Test).take(3) {
        let prediction = learner.predict(frame)?;
        println!("{}: {}, novelty {:.1}", frame.name, prediction.nearest, prediction.novelty);
    }
    if let Some(out) = std::env::args().nth(1) {
        learner.export(&out)?;
        println!("wrote {out}");
    }
    Ok(())
}
