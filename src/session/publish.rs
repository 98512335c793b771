//! The guard's verdict: which candidate serves, with what calibration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::candidates::{Candidate, Score, guard};
use super::learned::join;
use super::learner::{Consolidation, Learner};
use super::predictor::{Answer, HeadKind, Inputs, Predictor, fit_temperature};
use crate::Result;
use crate::event::{Event, EventSink};
use crate::ids::ClassId;
use crate::learn::closed_form::LdaModel;
use crate::memory::{NewVersion, StoredSample};

/// Versions whose heads are kept, to go back to.
const KEPT_HEADS: usize = 8;
/// Held-out samples from which the novelty scale is taken from them alone.
const ENOUGH_HELD_OUT: usize = 40;

/// What candidates are held against.
pub(super) struct Trial<'a> {
    pub(super) held_out: &'a [StoredSample],
    pub(super) training: &'a [StoredSample],
    /// The discriminant, for the geometry behind the sense of the unknown.
    pub(super) model: LdaModel,
    pub(super) start: Instant,
    /// Whether the old classes have a say; a removal stands whatever it costs.
    pub(super) guarded: bool,
}

impl<'a> Trial<'a> {
    /// The samples that decide: without held-out ones (very few labels) the training rows must do.
    pub(super) fn judges(&self) -> &'a [StoredSample] {
        if self.held_out.is_empty() { self.training } else { self.held_out }
    }
}

/// What is to happen with the best candidate.
struct Verdict {
    chosen: Candidate,
    score: Score,
    /// The fall of the old classes' accuracy, if it is refused.
    fall: Option<f64>,
}

impl Learner {
    /// Candidates with their scores on the samples that decide.
    pub(super) fn scored(
        &self,
        candidates: Vec<Candidate>,
        trial: &Trial<'_>,
    ) -> Result<Vec<(Score, Candidate)>> {
        let score = |candidate: Candidate| {
            Ok((Score::of(&candidate.answer, &self.inputs, trial.judges())?, candidate))
        };
        candidates.into_iter().map(score).collect()
    }

    pub(super) fn publish_best(
        &mut self,
        mut scored: Vec<(Score, Candidate)>,
        trial: Trial<'_>,
        events: &mut dyn EventSink,
    ) -> Result<Consolidation> {
        let judges = trial.judges();
        let figures: Vec<_> = scored.iter().map(|(score, c)| (c.kind, score.balanced())).collect();
        // The sort is stable and closed forms come first: a trained head must be better, not equal.
        scored.sort_by(|(a, _), (b, _)| b.balanced().total_cmp(&a.balanced()));
        let old = self.published_score(judges)?;
        let verdict = self.judge(scored, &old, trial.guarded);
        let start = trial.start;
        let (published, head, reason) = self.settle(verdict, &old, &figures, judges, trial)?;
        events.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published,
            head: head.name(),
            candidates: figures.iter().map(|(kind, value)| (kind.name(), *value)).collect(),
            held_out: judges.len(),
            reason,
            learning_secs: start.elapsed().as_secs_f64(),
        });
        self.learned.tasks += 1;
        self.store_training()?;
        Ok(Consolidation { published, head, candidates: figures })
    }

    /// How the published head does on the samples of the classes that it knows; no class without one.
    pub(super) fn published_score(&self, judges: &[StoredSample]) -> Result<Score> {
        let Some(published) = self.published.as_ref().filter(|_| !self.is_provisional) else {
            return Ok(Score { classes: BTreeMap::new() });
        };
        let is_known = |s: &&StoredSample| s.class.is_some_and(|c| published.answer.columns().contains(&c));
        let known: Vec<_> = judges.iter().filter(is_known).cloned().collect();
        Score::of(&published.answer, &self.inputs, &known)
    }

    /// The best candidate that the guard lets pass, or else the best one with the fall that it would bring.
    fn judge(&self, scored: Vec<(Score, Candidate)>, old: &Score, guarded: bool) -> Option<Verdict> {
        let mut refused = None;
        for (score, chosen) in scored {
            match guard(old, &score, self.settings.guard_margin) {
                Err(fall) if guarded => {
                    refused.get_or_insert(Verdict { chosen, score, fall: Some(fall) });
                }
                _ => return Some(Verdict { chosen, score, fall: None }),
            }
        }
        refused
    }

    fn settle(
        &mut self,
        verdict: Option<Verdict>,
        old: &Score,
        candidates: &[(HeadKind, f64)],
        judges: &[StoredSample],
        trial: Trial<'_>,
    ) -> Result<(bool, HeadKind, String)> {
        let Some(Verdict { chosen: Candidate { kind, answer }, score, fall }) = verdict else {
            return Ok((false, HeadKind::Slda, "no head could be fitted".to_owned()));
        };
        let names = self.memory.classes()?;
        let name_of =
            |class: &ClassId| names.iter().find(|(id, _)| id == class).map(|(_, name)| name.as_str());
        let reason = match fall {
            Some(fall) => {
                let mut worse: Vec<_> = score.falls(old).collect();
                worse.sort_by(|a, b| b.1.total_cmp(&a.1));
                let worse = worse
                    .iter()
                    .filter_map(|(class, fall)| Some(format!("{} {:.1}", name_of(class)?, 100.0 * fall)));
                let worse: Vec<_> = worse.collect();
                format!(
                    "rolled back: the old classes would have lost {:.1} points ({})",
                    100.0 * fall,
                    worse.join(", ")
                )
            }
            None if trial.guarded => format!("best of the candidates on {} held-out samples", judges.len()),
            None => "learned anew without what was taken back".to_owned(),
        };
        let accuracy = |of: &Score, class: &ClassId| of.accuracy(*class);
        let classes: Vec<_> = (score.classes.iter())
            .map(|(class, (_, samples))| {
                serde_json::json!({
                    "class": name_of(class), "before": accuracy(old, class), "after": accuracy(&score, class),
                    "samples": samples,
                })
            })
            .collect();
        let candidates: BTreeMap<_, _> =
            candidates.iter().map(|(kind, value)| (kind.name(), value)).collect();
        let figures = serde_json::json!({
            "reason": reason, "held_out": !trial.held_out.is_empty(), "candidates": candidates, "classes": classes,
        });
        let head_kind = kind.name();
        if fall.is_some() {
            self.memory.record_rolled_back(NewVersion { heads: &[], head_kind, figures: &figures })?;
            return Ok((false, kind, reason));
        }
        let samples = [trial.held_out, trial.training];
        let published = predictor(kind, answer, &self.inputs, trial.model, names, samples)?;
        let heads = published.to_bytes()?;
        self.memory.publish(NewVersion { heads: &heads, head_kind, figures: &figures })?;
        self.memory.keep_heads(KEPT_HEADS)?;
        self.published = Some(Arc::new(published));
        self.is_provisional = false;
        Ok((true, kind, reason))
    }
}

/// A head with its calibration: the temperature from held-out rows (training rows without any), the novelty scale
/// from held-out rows and, where they are few, training rows as if each had been left out.
pub(super) fn predictor(
    kind: HeadKind,
    answer: Answer,
    inputs: &Inputs,
    model: LdaModel,
    names: Vec<(ClassId, String)>,
    [held_out, training]: [&[StoredSample]; 2],
) -> Result<Predictor> {
    let column_of = |sample: &StoredSample| answer.columns().iter().position(|c| Some(*c) == sample.class);
    let known = |samples: &[StoredSample]| -> Vec<StoredSample> {
        samples.iter().filter(|sample| column_of(sample).is_some()).cloned().collect()
    };
    let (held_out, training) = (known(held_out), known(training));
    let judges = if held_out.is_empty() { &training } else { &held_out };
    let truth: Vec<usize> = judges.iter().filter_map(column_of).collect();
    let logits = answer.logits(inputs, &join(judges))?;
    let temperature = fit_temperature(&logits, answer.columns().len(), &truth);
    let mut known = model.geometry.novelty(&join(&held_out))?;
    if known.len() < ENOUGH_HELD_OUT {
        let labels: Vec<_> = training.iter().filter_map(|sample| sample.class).collect();
        known.extend(model.left_out_novelty(&join(&training), &labels)?);
    }
    known.sort_by(f32::total_cmp);
    let at = |percent: usize| known.get(known.len() * percent / 100).copied();
    let novelty_scale = match (at(50), at(95)) {
        (Some(middle), Some(most)) => [middle, (most - middle).max(1e-3 * most.abs()).max(f32::MIN_POSITIVE)],
        // Without any row that tells how far known frames lie from their class, nothing is called unknown.
        _ => [0.0, f32::MAX],
    };
    let names = names.into_iter().filter(|(id, _)| answer.columns().contains(id)).collect();
    Ok(Predictor {
        kind,
        answer,
        inputs: inputs.clone(),
        names,
        geometry: Arc::new(model.geometry),
        temperature,
        novelty_scale,
    })
}
