//! A consolidation from beginning to end: gather what is to be learned, fit the closed forms,
//! train, judge every candidate on held-out samples, publish the best.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::FeatureLearner;
use super::gathered::Gathered;
use super::plan::Plan;
use super::stage::{Scored, Stage};
use super::tail::Tuned;
use crate::event::Event;
use crate::learn::closed_form::LdaModel;
use crate::learn::trainer::Recipe;
use crate::memory::{NewVersion, StoredSample, VersionFigures};
use crate::rng::Rng;
use crate::session::calibration::calibrated;
use crate::session::candidate::{Candidate, Score, guard};
use crate::session::published_head::{Head, HeadKind, PublishedHead};
use crate::session::training_control::TrainingControl;
use crate::{Error, Result};

/// Versions whose heads are kept, to go back to.
const KEPT_HEADS: usize = 8;

/// What a consolidation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Consolidation {
    /// Whether new heads serve.
    pub published: bool,
    /// The head that was chosen, whether the guard let it pass or not; of a call that found nothing
    /// new the head that answers. `None` if there is none.
    pub head: Option<HeadKind>,
    /// Held-out accuracy of each candidate, 0..1.
    pub candidates: Vec<(HeadKind, f64)>,
}

impl FeatureLearner {
    /// Learns the samples that are new since the last consolidation: fits the closed forms, trains
    /// the tail (or an adapter, where the backbone is not cut) on new samples and replay, and
    /// publishes the best of what stands on either on held-out samples, unless the old classes
    /// would suffer.
    ///
    /// # Errors
    /// [`Error::NotReady`] if nothing is labelled yet; [`Error::Config`] if it does not fit into
    /// the memory limit; [`Error::State`] from the memory. Training that runs into values that are
    /// not finite, or whose engine fails, only drops the trained candidates.
    pub fn consolidate(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        self.restore()?;
        self.apply_removals(control)?;
        let outcome = match self.gather()? {
            Some(gathered) => self.run(gathered, control),
            None => self.report_nothing_new(control),
        };
        self.serving.set(self.published.clone());
        outcome
    }

    /// The stages after gathering.
    pub(super) fn run(
        &mut self,
        mut gathered: Gathered,
        control: &mut TrainingControl<'_>,
    ) -> Result<Consolidation> {
        let plan = self.plan(&gathered)?;
        self.announce(&gathered, &plan, control)?;
        let (candidates, model) = self.fit(&mut gathered, &plan)?;
        let serving = self.score_serving(&gathered)?;
        let mut scored = self.score(candidates, &gathered, false)?;
        let stage = Stage { gathered, model };
        let mut tuned = None;
        if plan.steps() > 0 {
            if control.answers_early() {
                self.answer_early(&scored, &serving, &stage)?;
            }
            say_closed_forms(&scored, &stage.gathered, control);
        }
        match &plan {
            Plan::ClosedForms | Plan::TailStays { .. } => {}
            Plan::Tail(recipe) => tuned = self.tune(recipe, &stage.gathered, control)?,
            Plan::Adapter(recipe) => {
                let trained = self.train_adapter(recipe, &stage.gathered, control)?;
                scored.extend(self.score(trained.into_iter().collect(), &stage.gathered, false)?);
            }
        }
        if let Some(tuned) = &mut tuned {
            // Without evidence what was trained comes first.
            let candidates = std::mem::take(&mut tuned.candidates);
            scored.splice(0..0, self.score(candidates, &tuned.stage.gathered, true)?);
        }
        self.publish(scored, &serving, &stage, tuned, control)
    }

    /// What came since the last consolidation; `None` if that is nothing.
    fn gather(&mut self) -> Result<Option<Gathered>> {
        let (started, closed_forms) = (Instant::now(), self.closed_form_settings()?);
        let [training, held_out, unlabelled] = self.stored()?;
        if training.is_empty() {
            let way_out = "teach at least one class first";
            return Err(Error::not_ready("learning", "there is no labelled sample", way_out));
        }
        self.learned.keep_shared(&unlabelled);
        let is_new = training.iter().any(|sample| !self.learned.has(sample));
        // Neither closed forms nor a tail learn anything from unlabelled samples alone.
        let trains_on_unlabelled = self.tail.is_none()
            && self.settings.recipe.steps > 0
            && self.open_samples(&unlabelled).next().is_some();
        let begins_anew = self.trained.begins_anew && self.trains_a_tail();
        if !is_new && !trains_on_unlabelled && !begins_anew {
            return Ok(None);
        }
        let without_latents = self.without_latents(&training, &held_out)?;
        let tail = self.serving_tail();
        let [training, held_out, unlabelled] = self.seen(tail.as_ref(), [training, held_out, unlabelled])?;
        let labelled: Vec<_> = training.iter().filter(|s| !self.learned.has(s)).cloned().collect();
        // A tail draws its replay for itself.
        let replay = if self.tail.is_none() { self.replay(&training) } else { Vec::new() };
        let is_removal = false;
        Ok(Some(Gathered {
            started,
            closed_forms,
            tail,
            without_latents,
            training,
            held_out,
            labelled,
            unlabelled,
            replay,
            is_removal,
        }))
    }

    /// Unlabelled samples that no consolidation has shared out among classes. A sample with the
    /// held-out mark stays apart: labelled later, it is to judge heads that never saw it.
    pub(super) fn open_samples<'a>(
        &self,
        unlabelled: &'a [StoredSample],
    ) -> impl Iterator<Item = &'a StoredSample> {
        let shared = self.learned.shared();
        unlabelled.iter().filter(move |sample| !sample.held_out && !shared.contains(&sample.id))
    }

    /// Labelled samples of the old classes to train on again, with their columns: at most
    /// [`crate::session::settings::LearnerSettings::replay_per_class`] of each, drawn by seed.
    fn replay(&self, training: &[StoredSample]) -> Vec<(StoredSample, i32)> {
        let mut replay = Vec::new();
        for (column, &class) in self.trained.columns().iter().enumerate() {
            let is_old = |s: &&StoredSample| s.class == Some(class) && self.learned.has(s);
            let mut rows: Vec<_> = training.iter().filter(is_old).collect();
            Rng::named(self.settings.seed, &format!("replay {class}")).shuffle(&mut rows);
            let column = i32::try_from(column).unwrap_or(-1);
            let rows = rows.into_iter().take(self.settings.replay_per_class);
            replay.extend(rows.map(|sample| (sample.clone(), column)));
        }
        replay
    }

    fn announce(&self, gathered: &Gathered, plan: &Plan, control: &mut TrainingControl<'_>) -> Result<()> {
        if gathered.is_removal {
            return Ok(());
        }
        let is_new = |class: &crate::ids::ClassId| !self.trained.columns().contains(class);
        let new: BTreeSet<_> = gathered.labelled.iter().filter_map(|s| s.class).filter(is_new).collect();
        let names = self.memory.classes()?.into_iter().filter(|(id, _)| new.contains(id));
        control.emit(&Event::TaskStarted {
            task: self.learned.tasks,
            classes: names.map(|(_, name)| name).collect(),
            frames: [gathered.labelled.len(), self.open_samples(&gathered.unlabelled).count()],
            steps: plan.steps(),
        });
        if let Plan::TailStays { reason } = plan {
            control.emit(&Event::TailStays { reason: reason.clone() });
        }
        let of = self.settings.ensemble(self.inputs.0.features()).random_features;
        let random_features = gathered.closed_forms.random_features;
        if random_features < of {
            control.emit(&Event::Narrowed { random_features, of });
        }
        Ok(())
    }

    /// Adds what was gathered to the statistics and solves the closed forms: the candidates, best
    /// guess first, and the discriminant behind the novelty.
    fn fit(&mut self, gathered: &mut Gathered, plan: &Plan) -> Result<(Vec<Candidate>, LdaModel)> {
        let Gathered { closed_forms, training, labelled, unlabelled, is_removal, .. } = gathered;
        let mut statistics = self.take_statistics(*closed_forms, training, unlabelled)?;
        if *is_removal {
            let shared = self.learned.shared();
            unlabelled.retain(|sample| shared.contains(&sample.id));
        } else {
            *unlabelled = self.open_samples(unlabelled).cloned().collect();
            statistics.learn(&mut self.learned, labelled, unlabelled)?;
        }
        if plan.steps() == 0 {
            // Solving needs the room.
            *unlabelled = Vec::new();
        }
        let candidates = statistics.candidates()?;
        self.keep_statistics(statistics);
        Ok(candidates)
    }

    /// The trained candidate on an adapter. `None` if training failed: what was taught is in the
    /// closed forms.
    fn train_adapter(
        &mut self,
        recipe: &Recipe,
        gathered: &Gathered,
        control: &mut TrainingControl<'_>,
    ) -> Result<Option<Candidate>> {
        match self.train_head(recipe, gathered, control) {
            Ok(head) => Ok(Some(Candidate { kind: HeadKind::Trained, head })),
            Err(error @ (Error::NonFinite { .. } | Error::Device { .. })) => {
                let (head, reason) = (HeadKind::Trained.name(), error.to_string());
                control.emit(&Event::CandidateFailed { head, reason });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Scores candidates on the samples that decide.
    fn score(&self, candidates: Vec<Candidate>, gathered: &Gathered, is_tuned: bool) -> Result<Vec<Scored>> {
        let scored = candidates.into_iter().map(|candidate| {
            let score = Score::of(&candidate.head, &self.inputs, gathered.judges())?;
            Ok(Scored { score, candidate, is_tuned })
        });
        scored.collect()
    }

    /// Scores the head that serves on the classes that it knows.
    fn score_serving(&self, gathered: &Gathered) -> Result<Score> {
        let served = self.published.as_ref().filter(|_| !self.is_provisional);
        // After a removal the samples may have the features of another tail than the head's.
        let is_comparable = |head: &&Arc<PublishedHead>| match (&head.tail, &gathered.tail) {
            (Some(own), Some(tail)) => Arc::ptr_eq(own, tail),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let Some(published) = served.filter(is_comparable) else {
            return Ok(Score { classes: BTreeMap::new() });
        };
        let is_known = |s: &&StoredSample| s.class.is_some_and(|c| published.head.columns().contains(&c));
        let known: Vec<_> = gathered.judges().iter().filter(is_known).cloned().collect();
        Score::of(&published.head, &self.inputs, &known)
    }

    /// Lets the best closed form answer while the trained head is in training, if the guard lets it
    /// pass: it is ready seconds earlier. Nothing is written; the decision is made among all
    /// candidates.
    fn answer_early(&self, scored: &[Scored], serving: &Score, stage: &Stage) -> Result<()> {
        let margin = self.settings.guard_margin;
        let passing = scored.iter().filter(|scored| guard(serving, &scored.score, margin).is_ok());
        // The first of equals, as in the decision.
        let best = passing.rev().max_by(|a, b| a.score.balanced().total_cmp(&b.score.balanced()));
        if let Some(Scored { candidate: Candidate { kind, head }, .. }) = best {
            let early = self.calibrate(*kind, head.clone(), &stage.gathered, stage.model.clone())?;
            self.serving.set(Some(Arc::new(early)));
        }
        Ok(())
    }

    fn calibrate(
        &self,
        kind: HeadKind,
        head: Head,
        gathered: &Gathered,
        model: LdaModel,
    ) -> Result<PublishedHead> {
        let samples = [gathered.held_out.as_slice(), gathered.learned()];
        let names = self.memory.classes()?;
        calibrated(kind, head, &self.inputs, model, gathered.tail.clone(), names, samples)
    }

    /// Puts the best candidate in place, or records why none was. A tail goes with its heads.
    fn publish(
        &mut self,
        scored: Vec<Scored>,
        serving: &Score,
        stage: &Stage,
        tuned: Option<Tuned>,
        control: &mut TrainingControl<'_>,
    ) -> Result<Consolidation> {
        let figures: Vec<_> = scored.iter().map(|scored| (scored.name(), scored.score.balanced())).collect();
        let candidates = scored.iter().map(Scored::figure).collect();
        let judges = stage.gathered.judges().len();
        let started = stage.gathered.started;
        let (published, head, reason) = match self.choose(scored, serving, !stage.gathered.is_removal) {
            None => (false, None, "no head could be fitted".to_owned()),
            Some(chosen) => {
                let version = self.figures(&chosen, serving, &figures, &stage.gathered)?;
                let (kind, reason) = (chosen.scored.candidate.kind, version.reason.clone());
                if chosen.fall.is_some() {
                    let head_kind = kind.name();
                    self.memory.record_rolled_back(NewVersion {
                        heads: &[],
                        head_kind,
                        figures: &version,
                    })?;
                } else {
                    self.put_in_place(chosen.scored, stage, tuned, &version)?;
                }
                (chosen.fall.is_none(), Some(kind), reason)
            }
        };
        control.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published,
            head: head.unwrap_or(HeadKind::Slda).name(),
            candidates: figures,
            held_out: judges,
            reason,
            learning_secs: started.elapsed().as_secs_f64(),
        });
        self.learned.tasks += 1;
        self.store_training()?;
        self.memory.drop_checkpoint()?;
        Ok(Consolidation { published, head, candidates })
    }

    /// Publishes a candidate, with the tail that it stands on.
    fn put_in_place(
        &mut self,
        chosen: Scored,
        stage: &Stage,
        tuned: Option<Tuned>,
        figures: &VersionFigures,
    ) -> Result<()> {
        let tuned = tuned.filter(|_| chosen.is_tuned);
        let Stage { gathered, model } = tuned.as_ref().map_or(stage, |tuned| &tuned.stage);
        let Candidate { kind, head } = chosen.candidate;
        let head = self.calibrate(kind, head, gathered, model.clone())?;
        let heads = head.to_bytes()?;
        self.memory.publish(NewVersion { heads: &heads, head_kind: kind.name(), figures })?;
        self.memory.keep_heads(KEPT_HEADS)?;
        self.published = Some(Arc::new(head));
        self.is_provisional = false;
        if let Some(Tuned { statistics, learned, trained, seen, .. }) = tuned {
            self.keep_statistics(statistics);
            (self.learned, self.trained, self.seen) = (learned, trained, Some(seen));
        }
        Ok(())
    }

    fn report_nothing_new(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        let head = self.published.as_ref().map(|published| published.kind());
        control.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published: false,
            head: head.unwrap_or(HeadKind::Slda).name(),
            candidates: Vec::new(),
            held_out: 0,
            reason: "every sample was learned before".to_owned(),
            learning_secs: 0.0,
        });
        self.learned.tasks += 1;
        Ok(Consolidation { published: false, head, candidates: Vec::new() })
    }
}

/// Says how good the closed forms are, before training begins.
fn say_closed_forms(scored: &[Scored], gathered: &Gathered, control: &mut TrainingControl<'_>) {
    let best = scored.iter().max_by(|a, b| a.score.balanced().total_cmp(&b.score.balanced()));
    if let Some(best) = best {
        control.emit(&Event::ClosedForms {
            head: best.name(),
            accuracy: best.score.balanced(),
            learning_secs: gathered.started.elapsed().as_secs_f64(),
        });
    }
}
