//! What a check of a state found.

use serde::{Deserialize, Serialize};

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What was wrong, and what was done about it.
    pub what: String,
    /// Whether the state is sound again in this respect.
    pub repaired: bool,
}

/// What [`super::Memory::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Rows whose checksum was verified.
    pub rows: u64,
    /// What was wrong; empty for a sound state.
    pub damages: Vec<Damage>,
}

impl CheckReport {
    /// Returns whether nothing was wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }

    /// Returns whether everything that was wrong is repaired.
    #[must_use]
    pub fn is_repaired(&self) -> bool {
        self.damages.iter().all(|damage| damage.repaired)
    }

    pub(super) fn note(&mut self, repaired: bool, what: String) {
        self.damages.push(Damage { what, repaired });
    }
}
