//! The `kaizen-bench` program.

use std::process::ExitCode;

use clap::Parser as _;
use kaizen_bench::bake_off;

fn main() -> anyhow::Result<ExitCode> {
    bake_off::run(&bake_off::Arguments::parse())
}
