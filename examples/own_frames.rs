//! Learns from frames that the program has in memory, whatever library captured them.
//!
//!     cargo run --release --example own_frames

#![allow(clippy::print_stdout, reason = "the answers are the example's output")]

use kaizen_edge::{Frame, Learner, Options, Result};

/// Stands for a camera: RGB pixels `[240, 320, 3]` of a lamp that is on or off, in changing
/// daylight.
fn capture(is_on: bool, number: u32) -> Result<Frame> {
    let (width, height) = (320_u32, 240_u32);
    let pixels = (0..width * height).flat_map(|at| {
        let (column, row) = (at % width, at / width);
        let is_lamp = (column.abs_diff(160)).pow(2) + (row.abs_diff(80)).pow(2) < 40_u32.pow(2);
        let noise = (at.wrapping_mul(2_654_435_761) ^ number.wrapping_mul(40_503)) >> 27;
        let daylight = 20 + 7 * (number % 13) + row / (2 + number % 5);
        let light = if is_on && is_lamp { 220 } else { daylight } + noise;
        [light, light, light / 2].map(|value| u8::try_from(value).unwrap_or(u8::MAX))
    });
    Frame::new(width, height, pixels.collect(), format!("frame {number}"))
}

fn main() -> Result<()> {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    let mut learner = Learner::open(Options::new().models_dir(models).steps(0))?;

    learner.teach("on", (0..12).map(|number| capture(true, number)))?;
    learner.teach("off", (0..12).map(|number| capture(false, number)))?;
    learner.observe((12..24).map(|number| capture(number % 2 == 0, number)))?;
    learner.learn_with(|event| println!("{event:?}"))?;

    for is_on in [true, false] {
        let prediction = learner.predict(capture(is_on, 99)?)?;
        println!("lamp {is_on}: {} ({:.2})", prediction.nearest, prediction.probability);
    }
    Ok(())
}
