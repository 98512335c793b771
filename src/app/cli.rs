//! Commands and their arguments.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

#[cfg(feature = "tract")]
use super::export;
use super::failure::sentence;
#[cfg(feature = "serve")]
use super::serve;
use super::{
    bench_step, check, doctor, export_data, history, import, learn, manual, options, predict, rebase, record,
    teach, unknowns, warmup,
};

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
    /// Adds data sets, each image with the label that it comes with
    Import(import::Arguments),
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
    /// Stored thumbnails as class folders or labels.csv
    ExportData(export_data::Arguments),
    /// Another backbone for the same samples, from their thumbnails
    Rebase(rebase::Arguments),
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
    /// Does now what the first start would wait for, above all TensorRT's engine
    Warmup(warmup::Arguments),
    /// Says where the bake-off went
    #[command(hide = true, disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Times whole training steps at the shapes of tools/peer_torch_step.py
    BenchStep(bench_step::Arguments),
    /// Completions for a shell, on standard output
    Completions(manual::Completions),
    /// Manual pages into a folder
    Man(manual::Pages),
}

impl Command {
    /// The options that the commands on a state share.
    fn options(&mut self) -> Option<&mut options::CommonOptions> {
        Some(match self {
            Self::Teach(arguments) => &mut arguments.images.options,
            Self::Observe(arguments) => &mut arguments.options,
            Self::Import(arguments) => &mut arguments.options,
            Self::Learn(arguments) => &mut arguments.on.options,
            Self::Predict(arguments) => &mut arguments.options,
            Self::Undo(arguments) => &mut arguments.on.options,
            Self::Forget(arguments) => &mut arguments.on.options,
            Self::Rebase(arguments) => &mut arguments.options,
            #[cfg(feature = "tract")]
            Self::Export(arguments) => &mut arguments.options,
            #[cfg(feature = "serve")]
            Self::Serve(arguments) => &mut arguments.options,
            Self::Unknowns(_)
            | Self::Name(_)
            | Self::History(_)
            | Self::Check(_)
            | Self::ExportData(_)
            | Self::Record(_)
            | Self::Doctor(_)
            | Self::Warmup(_)
            | Self::Bench { .. }
            | Self::BenchStep(_)
            | Self::Completions(_)
            | Self::Man(_) => return None,
        })
    }
}

/// Runs the `kaizen` program: parses the command line, runs the command, and says on standard error why it failed.
#[must_use]
pub fn run() -> ExitCode {
    run_command().unwrap_or_else(|error| {
        eprintln!("kaizen: {}", sentence(&error));
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "the configuration is asked for")]
fn run_command() -> anyhow::Result<ExitCode> {
    let mut command = Arguments::parse().command;
    if let Some(options) = command.options() {
        options.settle()?;
        if options.print_config {
            print!("{}", options.configuration()?);
            return Ok(ExitCode::SUCCESS);
        }
    }
    match command {
        Command::Import(arguments) => import::run(&arguments),
        Command::ExportData(arguments) => export_data::run(&arguments),
        Command::Rebase(arguments) => rebase::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments, Arguments::command()),
        Command::Man(arguments) => manual::pages(&arguments, Arguments::command()),
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
        Command::Warmup(arguments) => warmup::run(&arguments),
        Command::Bench { arguments } => anyhow::bail!(
            "the bake-off is a program of its own: `kaizen-bench {}` (`cargo run --release -p kaizen-bench -- …`)",
            arguments.join(" ")
        ),
        Command::BenchStep(arguments) => bench_step::run(&arguments),
    }
}
