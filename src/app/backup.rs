//! `kaizen backup`: a verified copy of a state, also while `kaizen serve` writes it.

use std::path::PathBuf;

use super::on_state::ReadState;
use super::outcome::Outcome;
use super::output;
use crate::memory::Memory;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// File to write; an earlier copy there is replaced
    out: PathBuf,
    #[command(flatten)]
    on: ReadState,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let report = Memory::open_read_only(&arguments.on.state)?.backup(&arguments.out)?;
    output::result(arguments.on.json, &report, || {
        format!(
            "{}: {} bytes, {} rows verified, {} rows of the label log",
            report.path.display(),
            report.bytes,
            report.rows,
            report.labels
        )
    })?;
    Ok(Outcome::Done)
}
