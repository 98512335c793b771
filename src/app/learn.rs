//! `kaizen learn`, `kaizen undo` and `kaizen forget`: the commands that change the heads.

use serde_json::json;

use super::events::{Progress, was_rolled_back};
use super::on_state::OnState;
use super::outcome::Outcome;
use crate::memory::LabelId;
use crate::session::TrainingControl;

#[derive(clap::Args)]
pub(super) struct LearnArguments {
    #[command(flatten)]
    pub(super) on: OnState,
    /// Training steps of adapter and classifier; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
}

#[derive(clap::Args)]
pub(super) struct UndoArguments {
    /// Label to take back, as `teach` and `history` name it
    label_id: i64,
    #[command(flatten)]
    pub(super) on: OnState,
}

#[derive(clap::Args)]
pub(super) struct ForgetArguments {
    /// Name of the class
    name: String,
    #[command(flatten)]
    pub(super) on: OnState,
}

pub(super) fn learn(arguments: &LearnArguments) -> anyhow::Result<Outcome> {
    let on = &arguments.on;
    let mut progress = Progress::default();
    let control = &mut TrainingControl::new(&mut progress);
    let outcome = on.learner(arguments.steps)?.consolidate(control)?;
    on.result(&progress.last(), || progress.verdict())?;
    Ok(Outcome::of(!was_rolled_back(&outcome)))
}

pub(super) fn undo(arguments: &UndoArguments) -> anyhow::Result<Outcome> {
    let (on, id) = (&arguments.on, arguments.label_id);
    let mut learner = on.learner(None)?;
    let mut progress = Progress::default();
    let control = &mut TrainingControl::new(&mut progress);
    let (class, relearned) = learner.restored()?.undo(LabelId(id), control)?;
    let names = learner.memory().classes()?;
    let name = names.iter().find(|(id, _)| Some(*id) == class).map(|(_, name)| name);
    let text = match name {
        Some(name) => format!("label {id} is taken back; the image is `{name}` again"),
        None => format!("label {id} is taken back; the image has no label now"),
    };
    let value = json!({ "undone": id, "class": name, "learned_anew": relearned.is_some() });
    on.result(&value, || with_verdict(text, relearned.is_some(), &progress))?;
    Ok(Outcome::Done)
}

pub(super) fn forget(arguments: &ForgetArguments) -> anyhow::Result<Outcome> {
    let (on, name) = (&arguments.on, &arguments.name);
    let mut learner = on.learner(None)?;
    let mut progress = Progress::default();
    let control = &mut TrainingControl::new(&mut progress);
    let (samples, relearned) = learner.restored()?.forget(name, control)?;
    let text = format!("`{name}` is forgotten: {samples} images erased");
    let value = json!({ "forgotten": name, "samples": samples, "learned_anew": relearned.is_some() });
    on.result(&value, || with_verdict(text, relearned.is_some(), &progress))?;
    Ok(Outcome::Done)
}

/// The text of a result, with the verdict below it if the heads were learned anew.
fn with_verdict(text: String, is_learned_anew: bool, progress: &Progress) -> String {
    if is_learned_anew { format!("{text}\n{}", progress.verdict()) } else { text }
}
