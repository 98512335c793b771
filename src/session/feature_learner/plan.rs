//! What a consolidation trains: decided once, before anything is fitted.

use std::collections::BTreeMap;

use super::FeatureLearner;
use super::gathered::Gathered;
use crate::heads::Tail;
use crate::learn::closed_form::distinct;
use crate::learn::trainer::{Recipe, step_bytes};
use crate::session::embedder::VIEWS;
use crate::session::settings::Consolidate;
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
            let is_due = !gathered.is_removal || self.trained.is_to_be_retrained();
            let is_asked = gathered.trains && is_due && self.settings.recipe.steps > 0;
            return Ok(if is_asked {
                Plan::Adapter(self.settings.recipe.clone())
            } else {
                Plan::ClosedForms
            });
        };
        if gathered.is_removal || self.settings.tail.recipe.steps == 0 {
            return Ok(Plan::ClosedForms);
        }
        if !gathered.trains {
            return Ok(match self.settings.consolidate {
                Consolidate::Never => Plan::ClosedForms,
                Consolidate::Lesson | Consolidate::Idle => Plan::TailStays {
                    reason: "it waits until `serve` has nothing else to do; `--consolidate lesson` trains it"
                        .to_owned(),
                },
            });
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
        let fresh = match self.trained.begins_anew {
            true => gathered.training.len(),
            false => gathered.labelled.len() + self.learned.untrained().len(),
        };
        let open = self.open_samples(&gathered.unlabelled).count() + self.learned.untrained_open().len();
        let input = tail.extractor.input;
        let latent = ((1 + VIEWS) * (input.elements() + 2 * input.channels)) as u64;
        let classes: Vec<_> = gathered.training.iter().filter_map(|sample| sample.class).collect();
        let architecture = self.settings.tail_architecture(&tail.extractor, distinct(&classes).len().max(1));
        let teacher = self.trained.parameters.as_ref().filter(|_| !self.trained.begins_anew);
        let teacher = teacher.map(|(architecture, _)| architecture.classes());
        let most = self.most_to_replay(gathered);
        let objective = |recipe: &Recipe| {
            let is_whole = recipe.steps * recipe.replay_rows >= most * self.trained.columns.len();
            self.settings.tail.objective_for(fresh + open, open, is_whole)
        };
        let bytes = |recipe: &Recipe| {
            let teacher = teacher.filter(|_| recipe.objective.distils());
            // Besides the engine's own: what training starts from, the teacher there, what the
            // engine gives back, and that in half precision and back again.
            let copies = if teacher.is_some() { 4 } else { 3 };
            let state = copies * 4 * (tail.parameters.elements() as u64);
            Ok(state + step_bytes(&architecture, recipe, teacher)?)
        };
        let (features, counts) = (architecture.features(), self.memory.counts()?);
        self.settings.tail_recipe(features, &counts, fresh + open, latent, objective, bytes)
    }

    /// The number of samples to train on again of the old class that has the most.
    fn most_to_replay(&self, gathered: &Gathered) -> usize {
        if self.trained.begins_anew {
            return 0;
        }
        let mut counts = BTreeMap::new();
        for class in self.learned.trained(&gathered.training).into_iter().filter_map(|sample| sample.class) {
            *counts.entry(class).or_insert(0) += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }
}
