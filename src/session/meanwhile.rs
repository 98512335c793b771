//! What goes on around a consolidation in a program that serves: frames to answer, and jobs that wait for the learner.

use std::sync::Arc;

use super::candidates::{Candidate, Score, guard};
use super::learner::Learner;
use super::predictor::Predictor;
use super::publish::{Trial, predictor};
use crate::Result;

/// Set by a thread that serves; a learner by itself has none.
#[derive(Clone)]
pub(super) struct Meanwhile {
    /// Whether something else waits for the learner: training ends with the steps taken so far.
    pub(super) is_awaited: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Takes a head to answer with until the consolidation is decided.
    pub(super) answer_with: Arc<dyn Fn(Predictor) + Send + Sync>,
}

impl Learner {
    /// Lets the best closed form answer while a trained head is in the making, if the guard lets it pass: it is ready
    /// seconds earlier. Nothing is written; the decision stands or falls with all candidates.
    pub(super) fn answer_meanwhile(&self, scored: &[(Score, Candidate)], trial: &Trial<'_>) -> Result<()> {
        let Some(meanwhile) = &self.meanwhile else { return Ok(()) };
        let old = self.published_score(trial.judges())?;
        let passing =
            scored.iter().filter(|(score, _)| guard(&old, score, self.settings.guard_margin).is_ok());
        // The first of equals, as in the decision.
        let best = passing.rev().max_by(|(a, _), (b, _)| a.balanced().total_cmp(&b.balanced()));
        if let Some((_, Candidate { kind, answer })) = best {
            let (names, samples) = (self.memory.classes()?, [trial.held_out, trial.training]);
            let model = trial.model.clone();
            let head = predictor(*kind, answer.clone(), &self.inputs, model, names, samples)?;
            (meanwhile.answer_with)(head);
        }
        Ok(())
    }
}
