//! `kaizen check`: every blob of the state verified, and repaired where that can be.

use std::path::PathBuf;
use std::process::ExitCode;

use super::options::{DAMAGED, IN_PART};
use crate::memory::Memory;
use crate::session::{LearnerSettings, PublishedHead};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// State file
    state: PathBuf,
    /// As one JSON line
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the report is the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut memory = Memory::open_existing(&arguments.state)?;
    let report = memory.check()?;
    let serves = PublishedHead::restore(&memory, &LearnerSettings::default());
    let counts = memory.counts()?;
    let code = match (report.is_sound(), report.is_repaired() && serves.is_ok()) {
        (true, true) => 0,
        (false, true) => IN_PART,
        _ => DAMAGED,
    };
    let serves = serves.map(|head| head.map(|head| head.kind().name()));
    if arguments.json {
        let serves = serves.map_err(|error| error.to_string());
        let value = serde_json::json!({
            "sound": code == 0, "repaired": code != DAMAGED, "rows": report.rows, "damages": report.damages,
            "counts": counts, "serves": serves.as_ref().ok(), "serves_not": serves.as_ref().err(),
        });
        println!("{value}");
        return Ok(ExitCode::from(code));
    }
    for damage in &report.damages {
        println!("{}: {}", if damage.repaired { "repaired" } else { "DAMAGED" }, damage.what);
    }
    let serves = match serves {
        Ok(Some(kind)) => format!("{kind} answers"),
        Ok(None) => "nothing learned yet".to_owned(),
        Err(error) => format!("the published version does not load: {error}"),
    };
    println!(
        "{}: {} rows verified; {} classes, {} labels, {} versions; {serves}",
        if code == 0 {
            "sound"
        } else if code == IN_PART {
            "repaired"
        } else {
            "damaged"
        },
        report.rows,
        counts.classes,
        counts.labels,
        counts.versions
    );
    Ok(ExitCode::from(code))
}
