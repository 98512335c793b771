//! A consolidation from beginning to end: gather what is to be learned, fit the closed forms,
//! train, judge every candidate on held-out samples, publish the best.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::FeatureLearner;
use super::gathered::Gathered;
use super::plan::Plan;
use super::stage::{Scored, Stage};
use crate::event::Event;
use crate::learn::closed_form::LdaModel;
use crate::learn::trainer::Recipe;
use crate::memory::StoredSample;
use crate::rng::Rng;
use crate::session::calibration::calibrated;
use crate::session::candidate::{Candidate, Score, guard};
use crate::session::published_head::{Head, HeadKind, PublishedHead};
use crate::session::settings::Consolidate;
use crate::session::training_control::TrainingControl;
use crate::{Error, Result};

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
        self.consolidate_now(self.trains_with_lessons(), control)
    }

    /// Whether what is learned is trained with the same consolidation.
    pub(super) fn trains_with_lessons(&self) -> bool {
        match self.settings.consolidate {
            Consolidate::Lesson => true,
            Consolidate::Idle => self.tail.is_none(),
            Consolidate::Never => false,
        }
    }

    /// Whether the tail is to be trained, and there is something to train it on.
    fn has_to_train_a_tail(&self) -> bool {
        self.trains_a_tail() && (self.trained.begins_anew || self.learned.has_untrained())
    }

    /// Whether learned samples wait for the training of the tail until nothing else is to be done.
    #[cfg(any(feature = "serve", test))]
    pub(in crate::session) fn waits(&self) -> bool {
        self.settings.consolidate == Consolidate::Idle && self.has_to_train_a_tail()
    }

    /// As [`FeatureLearner::consolidate`], and trains the tail on everything that waits for it.
    #[cfg(any(feature = "serve", test))]
    pub(in crate::session) fn train_waiting(
        &mut self,
        control: &mut TrainingControl<'_>,
    ) -> Result<Consolidation> {
        self.consolidate_now(true, control)
    }

    fn consolidate_now(&mut self, trains: bool, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        self.restore()?;
        self.finish_removals()?;
        self.follow(self.trains_with_lessons(), control)?;
        let outcome = match self.gather(trains)? {
            Some((gathered, plan)) => self.run(gathered, &plan, control),
            None => self.report_nothing_new(control),
        };
        self.serving.set(self.published.clone());
        outcome
    }

    /// The stages after gathering.
    pub(super) fn run(
        &mut self,
        mut gathered: Gathered,
        plan: &Plan,
        control: &mut TrainingControl<'_>,
    ) -> Result<Consolidation> {
        self.announce(&gathered, plan, control)?;
        let (candidates, model) = self.fit(&mut gathered, plan)?;
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
        match plan {
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
        self.publish(scored, &serving, stage, tuned, control)
    }

    /// The samples, those that are new since the last consolidation among them, and the plan of
    /// their training; `None` if there is nothing to learn.
    pub(super) fn gather(&mut self, trains: bool) -> Result<Option<(Gathered, Plan)>> {
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
            && trains
            && self.settings.recipe.steps > 0
            && self.open_samples(&unlabelled).next().is_some();
        let trains_on_waiting = trains && self.has_to_train_a_tail();
        if !is_new && !trains_on_unlabelled && !trains_on_waiting {
            return Ok(None);
        }
        let without_latents = self.without_latents(&training, &held_out)?;
        let tail = self.serving_tail();
        let [training, held_out, unlabelled] = self.seen(tail.as_ref(), [training, held_out, unlabelled])?;
        let labelled: Vec<_> = training.iter().filter(|s| !self.learned.has(s)).cloned().collect();
        // A tail draws its replay for itself.
        let replay = if self.tail.is_none() { self.replay(&training) } else { Vec::new() };
        let is_removal = false;
        let gathered = Gathered {
            started,
            closed_forms,
            tail,
            without_latents,
            training,
            held_out,
            labelled,
            unlabelled,
            replay,
            trains,
            is_removal,
        };
        let plan = self.plan(&gathered)?;
        let is_idle = !is_new && !trains_on_unlabelled && plan.steps() == 0;
        Ok((!is_idle).then_some((gathered, plan)))
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
            let open: Vec<_> = self.open_samples(unlabelled).cloned().collect();
            let waiting = match plan {
                Plan::Tail(_) => self.learned.untrained_open(),
                Plan::ClosedForms | Plan::TailStays { .. } | Plan::Adapter(_) => BTreeSet::new(),
            };
            statistics.learn(&mut self.learned, labelled, &open)?;
            unlabelled.retain(|sample| waiting.contains(&sample.id));
            unlabelled.extend(open);
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

    /// Scores the head that serves on the classes that it knows. Its closed forms were fitted to
    /// the held-out samples that had judged it: for those the score from before holds, and it is
    /// scored only on later ones.
    fn score_serving(&self, gathered: &Gathered) -> Result<Score> {
        let mut score = Score { classes: BTreeMap::new() };
        let Some(published) = self.published.as_ref().filter(|_| !self.is_provisional) else {
            return Ok(score);
        };
        if let Some(figures) = self.figures.as_ref().filter(|figures| figures.held_out) {
            score = Score::recorded(figures, &self.memory.classes()?);
        }
        // After a removal the samples may have the features of another tail than the head's.
        let is_comparable = match (&published.tail, &gathered.tail) {
            (Some(own), Some(tail)) => Arc::ptr_eq(own, tail),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_comparable {
            let is_known = |s: &&StoredSample| s.class.is_some_and(|c| published.head.columns().contains(&c));
            let is_new = |sample: &&StoredSample| !self.learned.has_held_out(sample);
            let judges = gathered.judges().iter().filter(is_known).filter(is_new).cloned();
            score.add(&Score::of(&published.head, &self.inputs, &judges.collect::<Vec<_>>())?);
        }
        Ok(score)
    }

    /// Lets the best closed form answer while the trained head is in training, if the guard lets it
    /// pass: it is ready seconds earlier. Nothing is written; the decision is made among all
    /// candidates.
    fn answer_early(&self, scored: &[Scored], serving: &Score, stage: &Stage) -> Result<()> {
        let margin = self.settings.guard_margin;
        let passing = scored.iter().filter(|scored| guard(serving, &scored.score, margin).is_ok());
        // The first of equals, as in the decision.
        if let Some(Scored { candidate: Candidate { kind, head }, .. }) = Scored::best(passing) {
            let early = self.calibrate(*kind, head.clone(), &stage.gathered, stage.model.clone())?;
            self.serving.set(Some(Arc::new(early)));
        }
        Ok(())
    }

    pub(super) fn calibrate(
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

    fn report_nothing_new(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        let head = self.published.as_ref().map(|published| published.kind());
        control.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published: false,
            head: head.unwrap_or(HeadKind::Slda).name(),
            accuracy: None,
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
    if let Some(best) = Scored::best(scored.iter()) {
        control.emit(&Event::ClosedForms {
            head: best.name(),
            accuracy: best.score.balanced(),
            learning_secs: gathered.started.elapsed().as_secs_f64(),
        });
    }
}
