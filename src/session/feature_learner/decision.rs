//! The decision between candidates, and the figures that are kept of it.

use std::collections::BTreeMap;

use super::FeatureLearner;
use super::gathered::Gathered;
use crate::Result;
use crate::memory::{ClassFigures, VersionFigures};
use crate::session::candidate::{Candidate, Score, guard};
use crate::session::published_head::HeadKind;

/// The candidate that was chosen.
pub(super) struct Chosen {
    pub(super) candidate: Candidate,
    pub(super) score: Score,
    /// By how much the accuracy of the old classes would fall, if the guard refuses it.
    pub(super) fall: Option<f64>,
}

impl FeatureLearner {
    /// The best candidate that the guard lets pass, or else the best one with the fall that it
    /// would bring.
    pub(super) fn choose(
        &self,
        mut scored: Vec<(Score, Candidate)>,
        serving: &Score,
        is_guarded: bool,
    ) -> Option<Chosen> {
        // The sort is stable and closed forms come first: a trained head must be better, not equal.
        scored.sort_by(|(a, _), (b, _)| b.balanced().total_cmp(&a.balanced()));
        let mut refused = None;
        for (score, candidate) in scored {
            match guard(serving, &score, self.settings.guard_margin) {
                Err(fall) if is_guarded => {
                    refused.get_or_insert(Chosen { candidate, score, fall: Some(fall) });
                }
                Ok(()) | Err(_) => return Some(Chosen { candidate, score, fall: None }),
            }
        }
        refused
    }

    pub(super) fn figures(
        &self,
        score: &Score,
        serving: &Score,
        fall: Option<f64>,
        candidates: &[(HeadKind, f64)],
        gathered: &Gathered,
    ) -> Result<VersionFigures> {
        let names: BTreeMap<_, _> = self.memory.classes()?.into_iter().collect();
        let reason = match fall {
            Some(fall) => {
                let mut worse: Vec<_> = score.falls(serving).collect();
                worse.sort_by(|a, b| b.1.total_cmp(&a.1));
                let worse = worse
                    .iter()
                    .filter_map(|(class, fall)| Some(format!("{} {:.1}", names.get(class)?, 100.0 * fall)));
                let (fall, worse) = (100.0 * fall, worse.collect::<Vec<_>>().join(", "));
                format!("rolled back: the old classes would have lost {fall:.1} points ({worse})")
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
            candidates: candidates.iter().map(|(kind, value)| (kind.name().to_owned(), *value)).collect(),
            classes: classes.collect(),
        })
    }
}
