//! The `kaizen-bench` program.

use std::process::ExitCode;

use clap::Parser as _;
use kaizen_bench::bake_off::{self, Arguments};

fn main() -> ExitCode {
    let Err(error) = bake_off::run(&Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    // Some errors name their cause themselves.
    let mut text = error.to_string();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("kaizen-bench: {text}");
    ExitCode::FAILURE
}
