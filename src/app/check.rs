//! `kaizen check`: every row of the state verified, and repaired where that can be.

use std::path::PathBuf;

use serde_json::json;

use super::outcome::Outcome;
use super::output;
use crate::memory::Memory;
use crate::session::{self, LearnerSettings, PublishedHead};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// State file
    state: PathBuf,
    /// The result as one JSON line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let mut memory = Memory::open_existing(&arguments.state)?;
    let report = memory.check()?;
    let finished = memory.removals().unwrap_or_default();
    if report.is_repaired() && !finished.is_empty() {
        drop(memory);
        memory = session::open_to_read(&arguments.state)?;
    }
    let head = PublishedHead::restore(&memory, &LearnerSettings::default());
    let counts = memory.counts()?;
    let (outcome, verdict) = match (report.is_sound(), report.is_repaired() && head.is_ok()) {
        (true, true) => (Outcome::Done, "sound"),
        (false, true) => (Outcome::InPart, "repaired"),
        (true | false, false) => (Outcome::Damaged, "damaged"),
    };
    let head = head.map(|head| head.map(|head| head.kind().name())).map_err(|error| error.to_string());
    let value = json!({
        "sound": outcome == Outcome::Done, "repaired": outcome != Outcome::Damaged, "rows": report.rows,
        "damages": report.damages, "counts": counts,
        "finished": finished.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "serves": head.as_ref().ok(), "serves_not": head.as_ref().err(),
    });
    let text = || {
        let damages = report.damages.iter().map(|damage| {
            format!("{}: {}\n", if damage.repaired { "repaired" } else { "DAMAGED" }, damage.what)
        });
        let serves = match &head {
            Ok(Some(kind)) => format!("{kind} answers"),
            Ok(None) => "nothing learned yet".to_owned(),
            Err(error) => format!("the published version does not load: {error}"),
        };
        format!(
            "{}{}{verdict}: {} rows verified; {} classes, {} labels, {} versions; {serves}",
            damages.collect::<String>(),
            finished.iter().map(|removal| format!("finished: {removal}\n")).collect::<String>(),
            report.rows,
            counts.classes,
            counts.labels,
            counts.versions
        )
    };
    output::result(arguments.json, &value, text)?;
    Ok(outcome)
}
