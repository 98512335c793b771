//! Commands and their arguments.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{bench, bench_step, doctor};

#[derive(Parser)]
#[command(
    name = "kaizen",
    version,
    about = "Learns new classes on the device without forgetting the old ones"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What will really run here: adapters, engine, ONNX Runtime, providers, models
    Doctor(doctor::Arguments),
    /// The bake-off: every method on the same features, with a report
    Bench(Box<bench::Arguments>),
    /// Times whole training steps at the shapes of tools/peer_torch_step.py
    BenchStep(bench_step::Arguments),
}

/// Parses the command line and runs the command.
///
/// # Errors
/// Whatever the command reports; `main` prints it.
pub fn run() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BenchStep(arguments) => bench_step::run(&arguments),
    }
}
