//! The decision between candidates, and the figures that are kept of it.

use std::collections::BTreeMap;

use super::FeatureLearner;
use super::gathered::Gathered;
use super::stage::Scored;
use crate::Result;
use crate::memory::{ClassFigures, VersionFigures};
use crate::session::candidate::{Score, guard};

/// The candidate that was chosen.
pub(super) struct Chosen {
    pub(super) scored: Scored,
    /// By how much the accuracy of the old classes would fall, if the guard refuses it.
    pub(super) fall: Option<f64>,
}

impl FeatureLearner {
    /// Of the candidates that the guard lets pass the first that is not worse than the best by more
    /// than one standard error (Hastie, Tibshirani & Friedman, The Elements of Statistical
    /// Learning, 7.10): on a few held-out samples the best is often so by chance, and candidates
    /// come in the order in which they would be taken without evidence. If none passes, the best
    /// one with the fall that it would bring.
    pub(super) fn choose(&self, scored: Vec<Scored>, serving: &Score, is_guarded: bool) -> Option<Chosen> {
        let fall = |scored: &Scored| match guard(serving, &scored.score, self.settings.guard_margin) {
            Err(fall) if is_guarded => Some(fall),
            Ok(()) | Err(_) => None,
        };
        let (passing, refused): (Vec<_>, Vec<_>) =
            scored.into_iter().map(|scored| (fall(&scored), scored)).partition(|(fall, _)| fall.is_none());
        let best = passing.iter().map(|(_, scored)| scored.score.balanced()).fold(0.0, f64::max);
        let good = |scored: &Scored| scored.score.balanced() >= best - scored.score.standard_error();
        let chosen = passing.into_iter().find(|(_, scored)| good(scored));
        let chosen = chosen.or_else(|| {
            let better = |a: &Scored, b: &Scored| a.score.balanced().total_cmp(&b.score.balanced());
            refused.into_iter().rev().max_by(|(_, a), (_, b)| better(a, b))
        });
        chosen.map(|(fall, scored)| Chosen { scored, fall })
    }

    pub(super) fn figures(
        &self,
        chosen: &Chosen,
        serving: &Score,
        candidates: &[(&'static str, f64)],
        gathered: &Gathered,
    ) -> Result<VersionFigures> {
        let names: BTreeMap<_, _> = self.memory.classes()?.into_iter().collect();
        let score = &chosen.scored.score;
        let reason = match chosen.fall {
            Some(fall) => {
                let mut worse: Vec<_> = score.falls(serving).collect();
                worse.sort_by(|a, b| b.1.total_cmp(&a.1));
                let worse = worse
                    .iter()
                    .filter_map(|(class, fall)| Some(format!("{} {:.1}", names.get(class)?, 100.0 * fall)));
                let (fall, worse) = (100.0 * fall, worse.collect::<Vec<_>>().join(", "));
                format!("rolled back: the old classes would have lost {fall:.1} points ({worse})")
            }
            None if gathered.is_removal && gathered.tail.is_some() && self.trained.begins_anew => {
                "learned anew without what was taken back; the tail has a trace of it until it is trained anew by \
                 the next `learn`"
                    .to_owned()
            }
            None if gathered.is_removal => "learned anew without what was taken back".to_owned(),
            None => format!("best of the candidates on {} held-out samples", gathered.judges().len()),
        };
        let classes = score.classes.iter().map(|(class, (_, samples))| ClassFigures {
            class: names.get(class).cloned(),
            before: serving.accuracy(*class),
            after: score.accuracy(*class),
            samples: *samples as u64,
        });
        Ok(VersionFigures {
            reason,
            held_out: !gathered.held_out.is_empty(),
            candidates: candidates.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            classes: classes.collect(),
        })
    }
}
