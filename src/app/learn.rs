//! `kaizen learn`, `kaizen undo` and `kaizen forget`: what changes the heads.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::console::Console;
use super::options::{CommonOptions, IN_PART};
use crate::Result;
use crate::memory::LabelId;
use crate::session::{Learner, TrainingControl};

#[derive(clap::Args)]
pub(super) struct LearnArguments {
    #[command(flatten)]
    pub(super) on: On,
    /// Training steps of adapter and classifier; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
}

#[derive(clap::Args)]
pub(super) struct UndoArguments {
    /// Label to take back, as `teach` and `history` name it
    label_id: i64,
    #[command(flatten)]
    pub(super) on: On,
}

#[derive(clap::Args)]
pub(super) struct ForgetArguments {
    /// Name of the class
    name: String,
    #[command(flatten)]
    pub(super) on: On,
}

#[derive(clap::Args)]
pub(super) struct On {
    /// State file
    #[arg(long)]
    state: PathBuf,
    /// The result as one JSON line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

impl On {
    fn learner(&self, steps: Option<usize>) -> Result<Learner> {
        Learner::open(self.options.training_on(&self.state, steps))
    }

    fn console(&self) -> Console {
        Console::new(self.options.quiet() || self.json)
    }

    #[expect(clippy::print_stdout, reason = "the result is the command's output")]
    fn result(&self, text: &str, value: &serde_json::Value) {
        if self.json {
            println!("{value}");
        } else {
            println!("{text}");
        }
    }
}

pub(super) fn learn(arguments: &LearnArguments) -> anyhow::Result<ExitCode> {
    let on = &arguments.on;
    let mut learner = on.learner(arguments.steps)?;
    let mut console = on.console();
    let outcome = learner.consolidate(&mut TrainingControl::new(&mut console))?;
    on.result(&console.verdict(), &serde_json::to_value(console.last())?);
    Ok(if console.was_rolled_back(&outcome) { ExitCode::from(IN_PART) } else { ExitCode::SUCCESS })
}

pub(super) fn undo(arguments: &UndoArguments) -> anyhow::Result<ExitCode> {
    let on = &arguments.on;
    let mut learner = on.learner(None)?;
    let mut console = on.console();
    let label = LabelId(arguments.label_id);
    let control = &mut TrainingControl::new(&mut console);
    let (class, relearned) = learner.core_mut().undo(label, control)?;
    let names = learner.core().memory().classes()?;
    let name = names.iter().find(|(id, _)| Some(*id) == class).map(|(_, name)| name);
    let mut text = match name {
        Some(name) => format!("label {} is taken back; the image is `{name}` again", arguments.label_id),
        None => format!("label {} is taken back; the image has no label now", arguments.label_id),
    };
    let relearned = relearned.is_some();
    if relearned {
        text += &format!("\n{}", console.verdict());
    }
    on.result(&text, &json!({ "undone": arguments.label_id, "class": name, "learned_anew": relearned }));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn forget(arguments: &ForgetArguments) -> anyhow::Result<ExitCode> {
    let on = &arguments.on;
    let mut learner = on.learner(None)?;
    let mut console = on.console();
    let control = &mut TrainingControl::new(&mut console);
    let (samples, relearned) = learner.core_mut().forget(&arguments.name, control)?;
    let mut text = format!("`{}` is forgotten: {samples} images erased", arguments.name);
    let relearned = relearned.is_some();
    if relearned {
        text += &format!("\n{}", console.verdict());
    }
    on.result(&text, &json!({ "forgotten": arguments.name, "samples": samples, "learned_anew": relearned }));
    Ok(ExitCode::SUCCESS)
}
