//! The guard's verdict: which candidate serves, with what calibration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::candidates::{Candidate, Score, guard};
use super::learner::{Consolidation, Learner};
use super::predictor::{Answer, HeadKind, Predictor, fit_temperature};
use crate::Result;
use crate::event::{Event, EventSink};
use crate::heads::{Parameters, Tensor};
use crate::learn::closed_form::LdaSettings;
use crate::memory::{NewVersion, StoredSample};

impl Learner {
    pub(super) fn publish_best(
        &mut self,
        candidates: Vec<Candidate>,
        judges: &[StoredSample],
        training: &[StoredSample],
        start: Instant,
        events: &mut dyn EventSink,
    ) -> Result<Consolidation> {
        let mut scored = Vec::new();
        for candidate in candidates {
            let score = Score::of(&candidate.answer, &self.inputs, judges)?;
            scored.push((score, candidate));
        }
        let figures: Vec<_> = scored.iter().map(|(score, c)| (c.kind, score.balanced())).collect();
        // The sort is stable and closed forms come first: a trained head must be better, not equal.
        scored.sort_by(|(a, _), (b, _)| b.balanced().total_cmp(&a.balanced()));
        let old = match &self.published {
            Some(published) => {
                let known: Vec<_> = (judges.iter())
                    .filter(|s| s.class.is_some_and(|c| published.answer.columns().contains(&c)))
                    .cloned()
                    .collect();
                Score::of(&published.answer, &self.inputs, &known)?
            }
            None => Score { classes: BTreeMap::new() },
        };
        let mut fall = None;
        let mut chosen = None;
        for (score, candidate) in scored {
            match guard(&old, &score, self.settings.guard_margin) {
                Ok(()) => {
                    chosen = Some((score, candidate));
                    break;
                }
                Err(by) => fall = fall.or(Some((candidate.kind, by))),
            }
        }
        let outcome = self.settle(chosen, fall, judges, training)?;
        events.emit(&Event::Consolidated {
            task: self.tasks,
            published: outcome.0,
            head: outcome.1.name(),
            candidates: figures.iter().map(|(kind, value)| (kind.name(), *value)).collect(),
            held_out: judges.len(),
            reason: outcome.2,
            learning_secs: start.elapsed().as_secs_f64(),
        });
        self.tasks += 1;
        Ok(Consolidation { published: outcome.0, head: outcome.1, candidates: figures })
    }

    fn settle(
        &mut self,
        chosen: Option<(Score, Candidate)>,
        fall: Option<(HeadKind, f64)>,
        judges: &[StoredSample],
        training: &[StoredSample],
    ) -> Result<(bool, HeadKind, String)> {
        let Some((score, candidate)) = chosen else {
            let (kind, by) = fall.unwrap_or((HeadKind::Slda, 0.0));
            let reason = format!("rolled back: the old classes would have lost {:.1} points", 100.0 * by);
            return Ok((false, kind, reason));
        };
        let heads = match &candidate.answer {
            Answer::Trained(trained) => trained.parameters.as_ref().clone(),
            Answer::Closed(head) => {
                let mut parameters = Parameters::default();
                let shape = [head.classes.len(), head.map.width()];
                parameters.insert("head.weight", Tensor::new(&shape, head.weight.clone())?);
                parameters.insert("head.bias", Tensor::new(&shape[..1], head.bias.clone())?);
                parameters
            }
        };
        let classes: Vec<_> = candidate.answer.columns().iter().map(|class| class.0).collect();
        let per_class: Vec<_> =
            score.classes.iter().map(|(class, (right, all))| (class.0, *right, *all)).collect();
        let figures = serde_json::json!({ "columns": classes, "held_out": per_class });
        let heads = heads.to_safetensors(&BTreeMap::new())?;
        self.memory.publish(NewVersion {
            heads: &heads,
            head_kind: candidate.kind.name(),
            figures: &figures,
        })?;
        let reason = format!("best of the candidates on {} held-out samples", judges.len());
        let kind = candidate.kind;
        self.published = Some(Arc::new(self.predictor(kind, candidate.answer, judges, training)?));
        Ok((true, kind, reason))
    }

    pub(super) fn predictor(
        &self,
        kind: HeadKind,
        answer: Answer,
        judges: &[StoredSample],
        training: &[StoredSample],
    ) -> Result<Predictor> {
        let settings = LdaSettings { shrinkage: self.settings.shrinkage, ..LdaSettings::default() };
        let geometry = self.lda.fit(settings)?;
        let known: Vec<_> =
            judges.iter().filter(|s| s.class.is_some_and(|c| answer.columns().contains(&c))).collect();
        let rows: Vec<f32> = known.iter().flat_map(|s| s.features.iter().copied()).collect();
        let truth: Vec<usize> = (known.iter())
            .filter_map(|s| answer.columns().iter().position(|c| Some(*c) == s.class))
            .collect();
        let logits = answer.logits(&self.inputs, &rows)?;
        let temperature = fit_temperature(&logits, answer.columns().len(), &truth);
        let reference: Vec<f32> = if rows.is_empty() {
            training.iter().take(256).flat_map(|s| s.features.iter().copied()).collect()
        } else {
            rows
        };
        let mut distances = geometry.novelty(&reference)?;
        distances.sort_by(f32::total_cmp);
        let novelty_scale =
            distances.get(distances.len() * 95 / 100).copied().unwrap_or(1.0).max(f32::MIN_POSITIVE);
        Ok(Predictor {
            kind,
            answer,
            inputs: self.inputs.clone(),
            names: self.memory.classes()?,
            geometry: Arc::new(geometry),
            temperature,
            novelty_scale,
        })
    }
}
