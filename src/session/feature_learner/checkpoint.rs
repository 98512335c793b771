//! Checkpoints of a training: a process that ends in the middle goes on from the last one, to the
//! same bits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Result;
use crate::heads::Parameters;
use crate::memory::Memory;

/// Prefix of the frozen copies, which are made anew and not stored.
const TEACHER: &str = "teacher.";

/// The checkpoints of one training.
pub(super) struct Checkpoints {
    /// What tells this training from any other: samples, targets, start, recipe, seed.
    identity: String,
    every: Duration,
    last: Instant,
}

impl Checkpoints {
    /// Checkpoints of the training that `identity` tells from others, one in each span of `every`.
    pub(super) fn new(identity: String, every: Duration) -> Self {
        Self { identity, every, last: Instant::now() }
    }

    /// The steps taken and the state after them, if the memory has a checkpoint of this training.
    /// The teacher comes from the state that the training `start`ed from.
    pub(super) fn load(&self, memory: &Memory, start: &Parameters) -> Result<Option<(usize, Parameters)>> {
        let Some(bytes) = memory.load_checkpoint()? else { return Ok(None) };
        // A checkpoint that another program wrote in another form is of another training.
        let Ok(metadata) = Parameters::metadata(&bytes) else { return Ok(None) };
        if metadata.get("identity") != Some(&self.identity) {
            return Ok(None);
        }
        let Some(step) = metadata.get("step").and_then(|step| step.parse().ok()) else { return Ok(None) };
        let mut state = Parameters::from_safetensors(&bytes)?;
        state.extend(start.copied(&[TEACHER], ""));
        Ok(Some((step, state)))
    }

    /// Whether it is time for another one.
    pub(super) fn is_due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// Stores the state after `step` steps, in place of the last checkpoint; not where the quota
    /// has no room for it.
    pub(super) fn save(&mut self, memory: &mut Memory, step: usize, mut state: Parameters) -> Result<()> {
        state.drop_prefixed(&[TEACHER]);
        let metadata = BTreeMap::from([
            ("identity".to_owned(), self.identity.clone()),
            ("step".to_owned(), step.to_string()),
        ]);
        let bytes = state.to_safetensors(&metadata)?;
        if memory.holds_change(bytes.len()) {
            match memory.save_checkpoint(&bytes) {
                Ok(()) | Err(crate::Error::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.last = Instant::now();
        Ok(())
    }
}
