//! A consolidation from beginning to end: gather what is to be learned, fit the closed forms,
//! train, judge every candidate on held-out samples, publish the best.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::FeatureLearner;
use super::decision::Chosen;
use super::gathered::Gathered;
use crate::event::Event;
use crate::learn::closed_form::LdaModel;
use crate::memory::{NewVersion, Rows, StoredSample};
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

/// The closed forms, best guess first, and the discriminant behind the novelty.
struct Fitted {
    candidates: Vec<Candidate>,
    model: LdaModel,
}

/// Every candidate with its score, and the score of the head that serves.
struct Judged {
    candidates: Vec<(Score, Candidate)>,
    serving: Score,
}

impl FeatureLearner {
    /// Learns the samples that are new since the last consolidation: fits the closed forms, trains
    /// the trained head on new samples and replay, and publishes the best of them on held-out
    /// samples unless the old classes would suffer.
    ///
    /// # Errors
    /// [`Error::NotReady`] if nothing is labelled yet; [`Error::Config`] if it does not fit into
    /// the memory limit; [`Error::State`] from the memory. Training that runs into values that are
    /// not finite, or whose engine fails, only drops the trained candidate.
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
        self.announce(&gathered, control)?;
        let Fitted { candidates, model } = self.fit(&mut gathered)?;
        let mut judged = self.judge(candidates, &gathered)?;
        if control.answers_early() && self.settings.recipe.steps > 0 {
            self.answer_early(&judged, &gathered, &model)?;
        }
        if let Some(trained) = self.train(&gathered, control)? {
            judged.candidates.extend(self.judge(vec![trained], &gathered)?.candidates);
        }
        self.publish(judged, &gathered, model, control)
    }

    /// What came since the last consolidation; `None` if that is nothing.
    fn gather(&mut self) -> Result<Option<Gathered>> {
        let (started, closed_forms) = (Instant::now(), self.closed_form_settings()?);
        let training = self.memory.samples(Rows::Training)?;
        let held_out = self.memory.samples(Rows::HeldOut)?;
        let unlabelled = self.memory.samples(Rows::Unlabelled)?;
        if training.is_empty() {
            let way_out = "teach at least one class first";
            return Err(Error::not_ready("learning", "there is no labelled sample", way_out));
        }
        self.learned.keep_shared(&unlabelled);
        let labelled: Vec<_> = training.iter().filter(|s| !self.learned.has(s)).cloned().collect();
        // Closed forms learn nothing from unlabelled samples alone.
        let trains_on_unlabelled =
            self.settings.recipe.steps > 0 && self.open_samples(&unlabelled).next().is_some();
        if labelled.is_empty() && !trains_on_unlabelled {
            return Ok(None);
        }
        let replay = self.replay(&training);
        let is_removal = false;
        Ok(Some(Gathered {
            started,
            closed_forms,
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
    fn open_samples<'a>(&self, unlabelled: &'a [StoredSample]) -> impl Iterator<Item = &'a StoredSample> {
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

    fn announce(&self, gathered: &Gathered, control: &mut TrainingControl<'_>) -> Result<()> {
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
            steps: self.settings.recipe.steps,
        });
        let of = self.settings.ensemble(self.inputs.0.features()).random_features;
        let random_features = gathered.closed_forms.random_features;
        if random_features < of {
            control.emit(&Event::Narrowed { random_features, of });
        }
        Ok(())
    }

    /// Adds what was gathered to the statistics and solves the closed forms.
    fn fit(&mut self, gathered: &mut Gathered) -> Result<Fitted> {
        let Gathered { closed_forms, training, labelled, unlabelled, is_removal, .. } = gathered;
        let mut statistics = self.take_statistics(*closed_forms, training, unlabelled)?;
        if *is_removal {
            let shared = self.learned.shared();
            unlabelled.retain(|sample| shared.contains(&sample.id));
        } else {
            *unlabelled = self.open_samples(unlabelled).cloned().collect();
            statistics.learn(&mut self.learned, labelled, unlabelled)?;
        }
        if self.settings.recipe.steps == 0 {
            // Solving needs the room.
            *unlabelled = Vec::new();
        }
        let (candidates, model) = statistics.candidates()?;
        self.keep_statistics(statistics);
        Ok(Fitted { candidates, model })
    }

    /// The trained candidate. `None` without training steps, or if training failed: what was taught
    /// is in the closed forms.
    fn train(&mut self, gathered: &Gathered, control: &mut TrainingControl<'_>) -> Result<Option<Candidate>> {
        if self.settings.recipe.steps == 0 || (gathered.is_removal && !self.trained.is_to_be_retrained()) {
            return Ok(None);
        }
        match self.train_head(gathered, control) {
            Ok(head) => Ok(Some(Candidate { kind: HeadKind::Trained, head })),
            Err(error @ (Error::NonFinite { .. } | Error::Device { .. })) => {
                let (head, reason) = (HeadKind::Trained.name(), error.to_string());
                control.emit(&Event::CandidateFailed { head, reason });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Scores candidates, and the head that serves on the classes that it knows, on the samples
    /// that decide.
    fn judge(&self, candidates: Vec<Candidate>, gathered: &Gathered) -> Result<Judged> {
        let judges = gathered.judges();
        let scored = candidates
            .into_iter()
            .map(|candidate| Ok((Score::of(&candidate.head, &self.inputs, judges)?, candidate)));
        let candidates = scored.collect::<Result<_>>()?;
        let serving = match self.published.as_ref().filter(|_| !self.is_provisional) {
            Some(published) => {
                let is_known =
                    |s: &&StoredSample| s.class.is_some_and(|c| published.head.columns().contains(&c));
                let known: Vec<_> = judges.iter().filter(is_known).cloned().collect();
                Score::of(&published.head, &self.inputs, &known)?
            }
            None => Score { classes: BTreeMap::new() },
        };
        Ok(Judged { candidates, serving })
    }

    /// Lets the best closed form answer while the trained head is in training, if the guard lets it
    /// pass: it is ready seconds earlier. Nothing is written; the decision is made among all
    /// candidates.
    fn answer_early(&self, judged: &Judged, gathered: &Gathered, model: &LdaModel) -> Result<()> {
        let margin = self.settings.guard_margin;
        let passing =
            judged.candidates.iter().filter(|(score, _)| guard(&judged.serving, score, margin).is_ok());
        // The first of equals, as in the decision.
        let best = passing.rev().max_by(|(a, _), (b, _)| a.balanced().total_cmp(&b.balanced()));
        if let Some((_, Candidate { kind, head })) = best {
            let early = self.calibrate(*kind, head.clone(), gathered, model.clone())?;
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
        calibrated(kind, head, &self.inputs, model, self.memory.classes()?, samples)
    }

    /// Puts the best candidate in place, or records why none was.
    fn publish(
        &mut self,
        judged: Judged,
        gathered: &Gathered,
        model: LdaModel,
        control: &mut TrainingControl<'_>,
    ) -> Result<Consolidation> {
        let Judged { candidates: scored, serving } = judged;
        let candidates: Vec<_> = scored.iter().map(|(score, c)| (c.kind, score.balanced())).collect();
        let chosen = self.choose(scored, &serving, !gathered.is_removal);
        let (published, head, reason) = match chosen {
            None => (false, None, "no head could be fitted".to_owned()),
            Some(Chosen { candidate, score, fall }) => {
                let figures = self.figures(&score, &serving, fall, &candidates, gathered)?;
                let (kind, reason) = (candidate.kind, figures.reason.clone());
                let head_kind = kind.name();
                if fall.is_some() {
                    self.memory.record_rolled_back(NewVersion {
                        heads: &[],
                        head_kind,
                        figures: &figures,
                    })?;
                } else {
                    let head = self.calibrate(kind, candidate.head, gathered, model)?;
                    let heads = head.to_bytes()?;
                    self.memory.publish(NewVersion { heads: &heads, head_kind, figures: &figures })?;
                    self.memory.keep_heads(KEPT_HEADS)?;
                    self.published = Some(Arc::new(head));
                    self.is_provisional = false;
                }
                (fall.is_none(), Some(kind), reason)
            }
        };
        control.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published,
            head: head.unwrap_or(HeadKind::Slda).name(),
            candidates: candidates.iter().map(|(kind, value)| (kind.name(), *value)).collect(),
            held_out: gathered.judges().len(),
            reason,
            learning_secs: gathered.started.elapsed().as_secs_f64(),
        });
        self.learned.tasks += 1;
        self.store_training()?;
        Ok(Consolidation { published, head, candidates })
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
