//! States that are read, beside whatever writes them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::embedder::Embedder;
use super::feature_learner::ServingHead;
use super::learner::Learner;
use super::options::Options;
use super::predictor::{Predictor, nothing_learned};
use super::published_head::PublishedHead;
use crate::memory::Memory;
use crate::{Error, Result};

/// The longest that a reader waits for a removal that another process is finishing.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two looks.
const NAP: Duration = Duration::from_millis(100);

impl Predictor {
    /// A predictor by the head that the state of `options` serves now. The state is only read, also
    /// beside a process that writes it; but an undo or a forgetting that was cut short is finished
    /// first.
    ///
    /// # Errors
    /// [`Error::State`] if there is no such state, [`Error::NotReady`] if nothing was learned in
    /// it, and others from the backbone.
    pub fn open(options: &Options) -> Result<Self> {
        let (memory, embedder) = open_reader(options)?;
        let head = restore(&memory, options)?;
        Ok(Self::new(embedder, ServingHead::of(head)))
    }
}

/// The state of `options` for reading, and the backbone that made its features.
pub(crate) fn open_reader(options: &Options) -> Result<(Memory, Embedder)> {
    let state = options.state.as_deref().ok_or_else(|| {
        Error::not_ready("predictor", "no state was named", "name one with `Options::state`")
    })?;
    let memory = open_to_read(state)?;
    let embedder = options.load(Some(&memory))?;
    memory.require(&embedder.identity())?;
    // Loading takes seconds, in which another removal may have begun.
    Ok((open_to_read(state)?, embedder))
}

/// The head that `memory` serves.
pub(crate) fn restore(memory: &Memory, options: &Options) -> Result<PublishedHead> {
    PublishedHead::restore(memory, &options.settings)?.ok_or_else(nothing_learned)
}

/// The state at `path` for reading, in which no removal is under way: one that was cut short is
/// finished first, and one that another process is at is awaited.
///
/// # Errors
/// [`Error::State`] if it cannot be read, or if a removal cannot be finished.
pub(crate) fn open_to_read(path: &Path) -> Result<Memory> {
    let started = Instant::now();
    loop {
        let memory = Memory::open_read_only(path)?;
        let removals = memory.removals()?;
        let Some(removal) = removals.first() else { return Ok(memory) };
        drop(memory);
        // The process that writes the state finishes it, if there is one; else this one does.
        match Learner::open(Options::new().state(path)) {
            Ok(_) => {}
            Err(Error::State { .. }) if started.elapsed() < PATIENCE => std::thread::sleep(NAP),
            Err(error) => {
                let reason = format!("{removal} is not finished, and cannot be finished here: {error}");
                return Err(Error::State { path: path.to_path_buf(), reason });
            }
        }
    }
}
