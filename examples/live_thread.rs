//! Predicts on one thread while another one learns: what is learned answers as soon as it is
//! published.
//!
//!     cargo run --release --example live_thread

#![allow(clippy::print_stdout, reason = "the answers are the example's output")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kaizen_edge::{Error, Frame, Learner, Options, Result, frames};

fn main() -> Result<()> {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut learner = Learner::open(Options::new().models_dir(format!("{root}/models")))?;
    let recording = format!("recording://{root}/tests/data/recording-objects");
    let all = frames(&recording)?.collect::<Result<Vec<Frame>>>()?;
    let of = |name: &'static str| all.iter().filter(move |frame| frame.label.as_deref() == Some(name));

    let mut predictor = learner.predictor()?;
    let (watched, is_over) = (of("cup").next().cloned(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| -> Result<usize> {
            let Some(frame) = watched else { return Ok(0) };
            let (mut answers, mut last) = (0, String::new());
            while !is_over.load(Ordering::Relaxed) {
                let answer = match predictor.predict(&frame) {
                    Ok(prediction) => {
                        answers += 1;
                        prediction.class().unwrap_or("unknown").to_owned()
                    }
                    Err(Error::NotReady { .. }) => {
                        std::thread::sleep(Duration::from_millis(20));
                        "nothing learned yet".to_owned()
                    }
                    Err(error) => return Err(error),
                };
                if answer != last {
                    println!("answer {answers}: {answer}");
                    last = answer;
                }
            }
            Ok(answers)
        });
        let taught = ["box", "cup"].iter().try_for_each(|name| {
            learner.teach(name, of(name).take(20))?;
            learner.learn().map(drop)
        });
        std::thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        let answers = watching.join().map_err(|_| Error::Refused {
            what: "the watching thread".to_owned(),
            reason: "it panicked".to_owned(),
            way_out: "see its message above".to_owned(),
        })??;
        println!("{answers} answers while two lessons were learned");
        taught
    })
}
