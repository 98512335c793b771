//! What a consolidation trains: decided once, before anything is fitted.

use super::FeatureLearner;
use super::gathered::Gathered;
use crate::heads::Tail;
use crate::learn::closed_form::distinct;
use crate::learn::trainer::{Recipe, step_bytes};
use crate::session::embedder::VIEWS;
use crate::{Error, Result};

/// What a consolidation trains.
pub(super) enum Plan {
    /// Nothing: only closed forms are fitted.
    ClosedForms,
    /// The tail of the backbone.
    Tail(Recipe),
    /// Nothing, though a tail was to be trained.
    TailStays {
        /// The reason, with the way out.
        reason: String,
    },
    /// An adapter behind a backbone that is not cut.
    Adapter(Recipe),
}

impl Plan {
    /// Training steps.
    pub(super) fn steps(&self) -> usize {
        match self {
            Self::ClosedForms | Self::TailStays { .. } => 0,
            Self::Tail(recipe) | Self::Adapter(recipe) => recipe.steps,
        }
    }
}

impl FeatureLearner {
    /// What is to be trained on what was gathered. What was taken back is trained anew at once with
    /// an adapter; a tail waits for the next consolidation.
    ///
    /// # Errors
    /// [`Error::State`] from the memory, [`Error::Config`] for settings out of range.
    pub(super) fn plan(&self, gathered: &Gathered) -> Result<Plan> {
        let Some(tail) = &self.tail else {
            let trains = !gathered.is_removal || self.trained.is_to_be_retrained();
            let is_asked = trains && self.settings.recipe.steps > 0;
            return Ok(if is_asked {
                Plan::Adapter(self.settings.recipe.clone())
            } else {
                Plan::ClosedForms
            });
        };
        if gathered.is_removal || self.settings.tail.recipe.steps == 0 {
            return Ok(Plan::ClosedForms);
        }
        let without = gathered.without_latents;
        if without > 0 {
            let reason = format!(
                "{without} labelled samples have no latents and no picture to make them from; `kaizen rebase` leaves \
                 such samples behind"
            );
            return Ok(Plan::TailStays { reason });
        }
        let head = 4 * (self.inputs.0.features() + 2) * self.inputs.0.features();
        let bytes = 2 * tail.parameters.elements() + head;
        if !self.memory.holds_change(bytes) {
            let reason = format!(
                "a version with it takes about {bytes} bytes, more than an eighth of the quota: raise the quota"
            );
            return Ok(Plan::TailStays { reason });
        }
        match self.tail_recipe(tail, gathered) {
            Ok(recipe) => Ok(Plan::Tail(recipe)),
            // The batch does not fit into the memory limit.
            Err(error @ Error::Config { .. }) => Ok(Plan::TailStays { reason: error.to_string() }),
            Err(error) => Err(error),
        }
    }

    /// The recipe of a tail's training for what was gathered, within the memory limit if there is
    /// one.
    fn tail_recipe(&self, tail: &Tail, gathered: &Gathered) -> Result<Recipe> {
        let fresh = if self.trained.begins_anew { &gathered.training } else { &gathered.labelled };
        let open = self.open_samples(&gathered.unlabelled).count();
        let input = tail.extractor.input;
        let latent = ((1 + VIEWS) * (input.elements() + 2 * input.channels)) as u64;
        let classes: Vec<_> = gathered.training.iter().filter_map(|sample| sample.class).collect();
        let architecture = self.settings.tail_architecture(&tail.extractor, distinct(&classes).len().max(1));
        let teacher = self.trained.parameters.as_ref().filter(|_| !self.trained.begins_anew);
        let teacher = teacher.map(|(architecture, _)| architecture.classes());
        // The state is held where it came from, by the engine, and as what it gives back.
        let state = 3 * 4 * (tail.parameters.elements() as u64);
        let counts = self.memory.counts()?;
        self.settings.tail_recipe(architecture.features(), &counts, fresh.len() + open, latent, |recipe| {
            Ok(state + step_bytes(&architecture, recipe, teacher)?)
        })
    }
}
