//! Removals that the process before this one did not finish.

use super::Learner;
use crate::Result;

impl Learner {
    /// Finishes what was being undone or forgotten when the process before this one ended, and logs
    /// it.
    pub(super) fn finish_removals(&mut self) -> Result<()> {
        if self.memory().removals()?.is_empty() {
            return Ok(());
        }
        for removal in self.restored()?.finish_removals()? {
            tracing::warn!(
                event = "removal_finished",
                removal = removal.to_string(),
                "{removal} was cut short: it is finished now"
            );
        }
        Ok(())
    }
}
