//! Commands and their arguments.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

#[cfg(feature = "tract")]
use super::export;
use super::options::CommonOptions;
use super::outcome::{EXIT_CODES, Outcome};
#[cfg(feature = "serve")]
use super::serve;
use super::{
    backup, bench_step, check, doctor, export_data, history, learn, log, manual, output, predict, rebase,
    record, teach, unknowns, warmup,
};
use crate::error::sentence;

#[derive(Parser)]
#[command(
    name = "kaizen",
    version,
    about = "Learns new classes on the device without forgetting the old ones",
    after_help = EXIT_CODES
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
    Import(teach::ImportArguments),
    /// Trains on what is new, judges the heads on held-out images, and publishes or rolls back
    Learn(learn::LearnArguments),
    /// Class, probability and novelty of images; `unknown` is an answer. The state is only read
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
    /// A verified copy of a state in one file, also while `serve` writes the state
    Backup(backup::Arguments),
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
    /// The options of a command on a state, and whether its results are for programs.
    fn options(&mut self) -> Option<(&mut CommonOptions, bool)> {
        let on = match self {
            Self::Teach(arguments) => &mut arguments.images.on,
            Self::Observe(arguments) => &mut arguments.on,
            Self::Import(arguments) => &mut arguments.on,
            Self::Learn(arguments) => &mut arguments.on,
            Self::Predict(arguments) => &mut arguments.on,
            Self::Undo(arguments) => &mut arguments.on,
            Self::Forget(arguments) => &mut arguments.on,
            Self::Rebase(arguments) => &mut arguments.on,
            #[cfg(feature = "tract")]
            Self::Export(arguments) => &mut arguments.on,
            #[cfg(feature = "serve")]
            Self::Serve(arguments) => {
                arguments.options.give_server(std::mem::take(&mut arguments.server));
                return Some((&mut arguments.options, false));
            }
            Self::Unknowns(_)
            | Self::Name(_)
            | Self::History(_)
            | Self::Check(_)
            | Self::Backup(_)
            | Self::ExportData(_)
            | Self::Record(_)
            | Self::Doctor(_)
            | Self::Warmup(_)
            | Self::Bench { .. }
            | Self::BenchStep(_)
            | Self::Completions(_)
            | Self::Man(_) => return None,
        };
        Some((&mut on.options, on.json))
    }

    fn run(&self) -> anyhow::Result<Outcome> {
        match self {
            Self::Teach(arguments) => teach::teach(arguments),
            Self::Observe(arguments) => teach::observe(arguments),
            Self::Import(arguments) => teach::import(arguments),
            Self::Learn(arguments) => learn::learn(arguments),
            Self::Predict(arguments) => predict::run(arguments),
            Self::Unknowns(arguments) => unknowns::list(arguments),
            Self::Name(arguments) => unknowns::name(arguments),
            Self::History(arguments) => history::run(arguments),
            Self::Undo(arguments) => learn::undo(arguments),
            Self::Forget(arguments) => learn::forget(arguments),
            Self::Check(arguments) => check::run(arguments),
            Self::Backup(arguments) => backup::run(arguments),
            Self::ExportData(arguments) => export_data::run(arguments),
            Self::Rebase(arguments) => rebase::run(arguments),
            Self::Record(arguments) => record::run(arguments),
            #[cfg(feature = "serve")]
            Self::Serve(arguments) => serve::run(arguments),
            #[cfg(feature = "tract")]
            Self::Export(arguments) => export::run(arguments),
            Self::Doctor(arguments) => doctor::run(arguments),
            Self::Warmup(arguments) => warmup::run(arguments),
            Self::Bench { arguments } => anyhow::bail!(
                "the bake-off is a program of its own: `kaizen-bench {}` (`cargo run --release -p kaizen-bench -- …`)",
                arguments.join(" ")
            ),
            Self::BenchStep(arguments) => bench_step::run(arguments),
            Self::Completions(arguments) => manual::completions(arguments, Arguments::command()),
            Self::Man(arguments) => manual::pages(arguments, Arguments::command()),
        }
    }
}

/// Runs the `kaizen` program: parses the command line, runs the command, and says on standard error
/// why it failed. A command whose standard output was closed ends quietly, with success.
#[must_use]
pub fn run() -> ExitCode {
    let error = match run_command(Arguments::parse().command) {
        Ok(outcome) => return outcome.into(),
        Err(error) if error.is::<output::Closed>() => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    // Nobody can be told if standard error is closed as well.
    let _ = writeln!(std::io::stderr(), "kaizen: {}", sentence(error.as_ref()));
    ExitCode::FAILURE
}

fn run_command(mut command: Command) -> anyhow::Result<Outcome> {
    match command.options() {
        Some((options, is_for_programs)) => {
            options.settle()?;
            if options.print_config {
                output::bytes(options.configuration()?.as_bytes())?;
                return Ok(Outcome::Done);
            }
            options.start_log(is_for_programs);
        }
        None => log::start(log::LogFormat::Text, false, 0),
    }
    command.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(commands: &'a clap::Command, name: &str) -> &'a clap::Command {
        commands.find_subcommand(name).unwrap_or_else(|| panic!("there is no command {name}"))
    }

    fn has_option(command: &clap::Command, name: &str) -> bool {
        name == "help" || command.get_arguments().any(|argument| argument.get_long() == Some(name))
    }

    #[test]
    fn every_command_with_a_configuration_file_obeys_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kaizen.toml").display().to_string();
        let lines = ["model = \"filed\"", "provider = \"tract\"", "quota-bytes = 77", "memory-limit = 300"];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let mut obeyed = Vec::new();
        for command in Arguments::command().get_subcommands().filter(|command| has_option(command, "config"))
        {
            let mut words = vec!["kaizen".to_owned(), command.get_name().to_owned()];
            for argument in command.get_arguments().filter(|argument| argument.is_required_set()) {
                words.extend(argument.get_long().map(|long| format!("--{long}")));
                words.push("1".to_owned());
            }
            words.extend(["--config".to_owned(), file.clone(), "--print-config".to_owned()]);
            let mut parsed =
                Arguments::try_parse_from(&words).unwrap_or_else(|error| panic!("{error}")).command;
            let (options, _) = parsed.options().unwrap_or_else(|| panic!("{words:?}: no options"));
            options.settle().unwrap();
            assert!(options.print_config);
            let printed = options.configuration().unwrap();
            assert!(lines.iter().all(|line| printed.contains(line)), "{words:?}: {printed}");
            obeyed.push(words.swap_remove(1));
        }
        let serve = if cfg!(feature = "serve") { "serve" } else { "learn" };
        for name in ["teach", "observe", "import", "learn", "predict", "undo", "forget", "rebase", serve] {
            assert!(obeyed.iter().any(|obeyed| obeyed == name), "{name} is not in {obeyed:?}");
        }
    }

    #[test]
    fn the_package_names_only_commands_and_options_that_exist() {
        let commands = Arguments::command();
        let mut names = 0;
        for file in ["kaizen.toml", "kaizen.env", "kaizen.service"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file);
            let text = std::fs::read_to_string(path).unwrap().replace("\n# ", " ");
            for quoted in text.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("kaizen ")) {
                let mut words = quoted.split(' ');
                let command = named(&commands, words.next().unwrap());
                for option in words.filter_map(|word| word.strip_prefix("--")) {
                    assert!(has_option(command, option), "{file}: `kaizen {quoted}`");
                }
                names += 1;
            }
        }
        assert!(names >= 4, "{names}");
    }

    #[cfg(feature = "serve")]
    #[test]
    fn the_unit_starts_the_program_as_it_can_be_started() {
        let unit = include_str!("../../packaging/kaizen.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let line = line.replace("${KAIZEN_LISTEN}", "127.0.0.1:8080");
        assert!(!line.contains("--source"), "a camera's password is read from the environment");
        let words = line.split(' ').chain(["--source", "x"]);
        let parsed = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(parsed.command, Command::Serve(_)));
    }
}
