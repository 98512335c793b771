//! The `kaizen-bench` program.

use std::process::ExitCode;

use clap::Parser as _;
use kaizen_bench::bake_off::{self, Arguments};
use kaizen_edge::low_level::error::sentence;

fn main() -> ExitCode {
    let Err(error) = bake_off::run(&Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("kaizen-bench: {}", sentence(error.as_ref()));
    ExitCode::FAILURE
}
