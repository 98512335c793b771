//! What a consolidation works with once closed forms are fitted.

use super::gathered::Gathered;
use crate::learn::closed_form::LdaModel;
use crate::session::candidate::{Candidate, Score};
use crate::session::published_head::HeadKind;

/// What was gathered, and the discriminant behind the novelty that was fitted to it.
pub(super) struct Stage {
    pub(super) gathered: Gathered,
    pub(super) model: LdaModel,
}

/// A candidate with its score.
pub(super) struct Scored {
    pub(super) score: Score,
    pub(super) candidate: Candidate,
    /// Whether it stands on the tail that was trained now, and not on the one that serves.
    pub(super) is_tuned: bool,
}

impl Scored {
    /// The first of those with the highest score.
    pub(super) fn best<'a>(scored: impl DoubleEndedIterator<Item = &'a Self>) -> Option<&'a Self> {
        scored.rev().max_by(|a, b| a.score.balanced().total_cmp(&b.score.balanced()))
    }

    /// The candidate in figures: its kind and its accuracy.
    pub(super) fn figure(&self) -> (HeadKind, f64) {
        (self.candidate.kind, self.score.balanced())
    }

    /// Its name among the candidates.
    pub(super) fn name(&self) -> &'static str {
        match (self.candidate.kind, self.is_tuned) {
            (HeadKind::Ensemble, true) => "tail-ensemble",
            (HeadKind::Trained, true) => "tail-trained",
            (kind, _) => kind.name(),
        }
    }
}
