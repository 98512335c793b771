//! Commands and their arguments.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "tract")]
use super::export;
#[cfg(feature = "serve")]
use super::serve;
use super::{bench, bench_step, check, doctor, history, learn, options, predict, record, teach, unknowns};

#[derive(Parser)]
#[command(
    name = "kaizen",
    version,
    about = "Learns new classes on the device without forgetting the old ones",
    after_help = options::EXIT_CODES
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Adds labelled images of a class; each is acknowledged by one JSON line once it is durable
    Teach(teach::TeachArguments),
    /// Adds unlabelled images
    Observe(teach::ObserveArguments),
    /// Trains on what came, holds the heads against held-out images, and publishes or rolls back
    Learn(learn::LearnArguments),
    /// Class, probability and novelty of images; `unknown` is an answer
    Predict(predict::Arguments),
    /// Unlabelled images unlike everything learned, in clusters of those that are alike
    Unknowns(unknowns::Arguments),
    /// Labels every image of a cluster that `unknowns` lists
    Name(unknowns::NameArguments),
    /// Labels that count, and versions of the heads with their figures
    History(history::Arguments),
    /// Takes one label back, exactly
    Undo(learn::UndoArguments),
    /// Erases a class and everything learned from it
    Forget(learn::ForgetArguments),
    /// Verifies every row of a state and repairs what can be
    Check(check::Arguments),
    /// Records a stream as a folder that `recording://` plays
    Record(record::Arguments),
    /// Watches a source, answers, and lets people teach it from a browser
    #[cfg(feature = "serve")]
    Serve(Box<serve::Arguments>),
    /// Backbone and heads as one ONNX file, compared with the live model before it is written
    #[cfg(feature = "tract")]
    Export(export::Arguments),
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
        Command::Teach(arguments) => teach::teach(&arguments),
        Command::Observe(arguments) => teach::observe(&arguments),
        Command::Learn(arguments) => learn::learn(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Unknowns(arguments) => unknowns::list(&arguments),
        Command::Name(arguments) => unknowns::name(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Undo(arguments) => learn::undo(&arguments),
        Command::Forget(arguments) => learn::forget(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(&arguments),
        #[cfg(feature = "tract")]
        Command::Export(arguments) => export::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BenchStep(arguments) => bench_step::run(&arguments),
    }
}
