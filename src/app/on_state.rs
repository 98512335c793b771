//! The state that a command works on.

use std::path::PathBuf;

use serde::Serialize;

use super::options::{CommonOptions, announce};
use super::output;
use crate::Result;
use crate::memory::Memory;
use crate::session::{self, Embedder, Learner, PublishedHead};

/// The state of a command that needs neither a backbone nor an engine.
#[derive(clap::Args)]
pub(super) struct ReadState {
    /// State file; it is only read, also beside a process that writes it
    #[arg(long)]
    pub(super) state: PathBuf,
    /// The result as one JSON line
    #[arg(long)]
    pub(super) json: bool,
}

/// The state of a command that computes features or learns, and its options.
#[derive(clap::Args)]
pub(super) struct OnState {
    /// State file
    #[arg(long)]
    pub(super) state: PathBuf,
    /// Results as JSON lines, and nothing else but warnings
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

impl OnState {
    /// The state opened for reading, with its backbone and the head that answers.
    pub(super) fn reader(&self) -> Result<(Memory, Embedder, PublishedHead)> {
        let options = self.options.on(&self.state, None);
        let (memory, embedder) = session::open_reader(&options)?;
        announce(&embedder);
        let head = session::restore(&memory, &options)?;
        Ok((memory, embedder, head))
    }

    /// The learner on the state, with `steps` of training if they are given.
    pub(super) fn learner(&self, steps: Option<usize>) -> Result<Learner> {
        Learner::open(self.options.on(&self.state, steps))
    }

    /// Writes the result of the command.
    pub(super) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        output::result(self.json, value, text)
    }
}
