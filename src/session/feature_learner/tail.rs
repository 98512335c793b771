//! Training of the tail of a cut backbone: all terms of the objective act through it, on stored
//! latents. Closed forms are fitted on the features of the trained tail, and all of it stands for
//! publication together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::FeatureLearner;
use super::checkpoint::Checkpoints;
use super::gathered::Gathered;
use super::stage::Stage;
use super::trained_state::TrainedState;
use crate::event::Event;
use crate::heads::{Parameters, TAIL, Tail};
use crate::ids::{ClassId, SampleId};
use crate::learn::closed_form::{EnsembleHead, FeatureMap, FeatureTransform, LinearHead, distinct};
use crate::learn::trainer::{Recipe, Samples, take_teacher};
use crate::memory::{Rows, StoredSample};
use crate::number::sha256_hex;
use crate::rng::Rng;
use crate::session::blend::{BlendHead, usual_share};
use crate::session::candidate::Candidate;
use crate::session::published_head::{Head, HeadKind, join};
use crate::session::statistics::{Learned, Statistics};
use crate::session::through_tail::TailFeatures;
use crate::session::training_control::TrainingControl;
use crate::{Error, Result};

/// A trained tail with what stands or falls with it.
pub(super) struct Tuned {
    pub(super) candidates: Vec<Candidate>,
    pub(super) stage: Stage,
    pub(super) statistics: Statistics,
    pub(super) learned: Learned,
    pub(super) trained: TrainedState,
    /// Features of the stored samples by the tail.
    pub(super) seen: TailFeatures,
}

/// Samples to train on, with the column of each that has a label.
type Labelled<'a> = Vec<(&'a StoredSample, i32)>;

impl FeatureLearner {
    /// Trains the tail and fits the closed forms on its features. `None` if training failed: what
    /// was taught is in the closed forms on the tail that serves.
    pub(super) fn tune(
        &mut self,
        recipe: &Recipe,
        gathered: &Gathered,
        control: &mut TrainingControl<'_>,
    ) -> Result<Option<Tuned>> {
        let Some(own) = self.tail.clone() else { return Ok(None) };
        let reason = match self.train_tail(&own, recipe, gathered, control) {
            Ok(tuned) => return Ok(Some(tuned)),
            Err(error @ (Error::NonFinite { .. } | Error::Device { .. })) => error.to_string(),
            Err(error) => return Err(error),
        };
        // Another try would fail in the same way.
        self.learned.set_trained();
        control.emit(&Event::CandidateFailed { head: "tail", reason });
        Ok(None)
    }

    fn train_tail(
        &mut self,
        own: &Arc<Tail>,
        recipe: &Recipe,
        gathered: &Gathered,
        control: &mut TrainingControl<'_>,
    ) -> Result<Tuned> {
        let begins_anew = self.trained.begins_anew;
        let from = if begins_anew { own } else { gathered.tail.as_ref().unwrap_or(own) };
        let mut columns = if begins_anew { Vec::new() } else { self.trained.columns.clone() };
        let old = columns.clone();
        columns.extend(labels(&gathered.training).into_iter().filter(|class| !old.contains(class)));

        let seed = self.settings.seed.wrapping_add(self.learned.tasks as u64);
        let kept = self.trained.parameters.clone().filter(|_| !begins_anew);
        let has_teacher = kept.is_some();
        let (mut architecture, mut state) = kept.unwrap_or_else(|| {
            let architecture = self.settings.tail_architecture(&own.extractor, columns.len());
            let state = architecture.init(self.settings.seed);
            (architecture, state)
        });
        state.extend(from.parameters.clone());
        if has_teacher {
            take_teacher(&mut state);
            architecture.grow(&mut state, columns.len(), seed)?;
        }

        let [current, replay] = self.batches(recipe, gathered, &columns, &old);
        if !recipe.objective.distils() {
            state.drop_prefixed(&["teacher."]);
        }
        let checkpoints = self.checkpoints(recipe, seed, &state, [&current, &replay])?;
        let pair = [self.latents_of(current)?, self.latents_of(replay)?];
        let start = state;
        let (state, is_complete) =
            self.train_from(&architecture, recipe, &start, pair, seed, Some(checkpoints), control)?;
        drop(start);
        if is_complete {
            self.learned.set_trained();
        }
        let parameters = state.copied(&[TAIL], "");
        let tail = Arc::new(Tail { extractor: own.extractor.clone(), parameters }.rounded()?);
        let classifier = classifier(&state, &columns, architecture.features())?;
        let mut trained = TrainedState { columns, ..TrainedState::default() };
        trained.keep(architecture, state);

        let mut seen = TailFeatures::new(&tail, self.keeps_at_hand());
        let unlabelled = self.memory.samples(Rows::Unlabelled)?;
        let [training, held_out, unlabelled] = [&gathered.training, &gathered.held_out, &unlabelled]
            .map(|samples| seen.through(&self.memory, samples));
        let (labelled, unlabelled) = (gathered.through(&tail, [training?, held_out?]), unlabelled?);
        let mut learned = self.learned.without_shares();
        let mut statistics = Statistics::new(&self.inputs, gathered.closed_forms, self.settings.seed)?;
        statistics.relearn(&mut learned, &labelled.training, &unlabelled)?;
        drop(unlabelled);
        let (ensemble, model) = statistics.ensemble_head()?;
        let usual = usual_share(labelled.training.len(), self.learned.shared().len());
        let candidates = candidates(&ensemble, &classifier, usual, &labelled)?;
        let stage = Stage { gathered: labelled, model };
        Ok(Tuned { candidates, stage, statistics, learned, trained, seen })
    }

    /// The checkpoints of a training that everything given here decides.
    fn checkpoints(
        &self,
        recipe: &Recipe,
        seed: u64,
        start: &Parameters,
        batches: [&Labelled<'_>; 2],
    ) -> Result<Checkpoints> {
        let recipe = serde_json::to_string(recipe).map_err(|error| {
            Error::refused("describing a training", error.to_string(), "report this as a bug")
        })?;
        let mut text = format!("{recipe} {seed} {}", start.digest());
        for batch in batches {
            let samples = batch.iter().map(|(sample, column)| format!(" {}:{column}", sample.id));
            text.extend(samples.chain(["|".to_owned()]));
        }
        let every = Duration::from_secs(self.settings.tail.checkpoint_secs);
        Ok(Checkpoints::new(sha256_hex(text.as_bytes()), every))
    }

    /// The samples of the task and those of the replay, each with its column. Unlabelled samples
    /// whose class expectation-maximisation is surest of have that class; the others have none. The
    /// replay has as many of each old class as training can reach.
    fn batches<'a>(
        &self,
        recipe: &Recipe,
        gathered: &'a Gathered,
        columns: &[ClassId],
        old: &[ClassId],
    ) -> [Labelled<'a>; 2] {
        let column = |class: Option<ClassId>| {
            let at = class.and_then(|class| columns.iter().position(|known| *known == class));
            at.and_then(|at| i32::try_from(at).ok()).unwrap_or(-1)
        };
        let begins_anew = self.trained.begins_anew;
        let untrained = self.learned.untrained();
        let fresh = gathered.training.iter().filter(|s| begins_anew || untrained.contains(&s.id));
        let mut current: Labelled<'_> = fresh.map(|sample| (sample, column(sample.class))).collect();
        let sure: BTreeMap<SampleId, ClassId> = self.learned.surest(self.settings.tail.confident);
        current.extend(gathered.unlabelled.iter().map(|s| (s, column(sure.get(&s.id).copied()))));
        let places = recipe.steps * recipe.current_rows;
        if current.len() > places {
            let purpose = format!("samples of task {}", self.learned.tasks);
            Rng::named(self.settings.seed, &purpose).shuffle(&mut current);
            current.truncate(places);
        }
        if begins_anew || old.is_empty() {
            return [current, Vec::new()];
        }
        let of_class = (recipe.steps * recipe.replay_rows).div_ceil(old.len());
        let (mut replay, trained) = (Vec::new(), self.learned.trained(&gathered.training));
        for &class in old {
            let mut rows: Vec<_> = trained.iter().copied().filter(|s| s.class == Some(class)).collect();
            Rng::named(self.settings.seed, &format!("replay {class}")).shuffle(&mut rows);
            replay.extend(rows.into_iter().take(of_class).map(|sample| (sample, column(Some(class)))));
        }
        [current, replay]
    }

    /// Samples of latents with their targets; a sample without latents is left out.
    fn latents_of(&self, samples: Labelled<'_>) -> Result<Samples> {
        let Some(tail) = &self.tail else { return Ok(Samples::default()) };
        let input = tail.extractor.input;
        let mut all = Samples::of_latents(input.positions(), input.channels);
        for (sample, column) in samples {
            if let Some(latents) = self.memory.latents(sample.id)? {
                all.push_latents(&latents, 0..latents.rows(), column)?;
            }
        }
        Ok(all)
    }
}

/// Heads on the features of a trained tail, the one to take without evidence first.
fn candidates(
    ensemble: &EnsembleHead,
    classifier: &LinearHead,
    usual: f32,
    seen: &Gathered,
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    if ensemble.classes() == classifier.classes {
        let (judges, classes) = (seen.judges(), labels_of(seen.judges()));
        let blend = BlendHead::fit(ensemble.clone(), classifier.clone(), usual, &join(judges), &classes)?;
        candidates.push(Candidate { kind: HeadKind::Blend, head: Head::Blend(blend) });
    }
    let (ensemble, classifier) = (Head::Ensemble(ensemble.clone()), Head::Classifier(classifier.clone()));
    candidates.push(Candidate { kind: HeadKind::Ensemble, head: ensemble });
    candidates.push(Candidate { kind: HeadKind::Trained, head: classifier });
    Ok(candidates)
}

fn labels_of(samples: &[StoredSample]) -> Vec<ClassId> {
    samples.iter().filter_map(|sample| sample.class).collect()
}

/// The classes of samples, ascending.
fn labels(samples: &[StoredSample]) -> Vec<ClassId> {
    distinct(&labels_of(samples))
}

/// The classifier with its columns in ascending order of the classes.
fn classifier(state: &Parameters, columns: &[ClassId], width: usize) -> Result<LinearHead> {
    let (weight, bias) = (state.get("classifier.0.weight")?, state.get("classifier.0.bias")?);
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&column| columns[column]);
    let rows = order.iter().flat_map(|&at| &weight.data[at * width..(at + 1) * width]);
    Ok(LinearHead {
        map: FeatureMap::new(width, FeatureTransform::None)?,
        weight: rows.copied().collect(),
        bias: order.iter().map(|&at| bias.data[at]).collect(),
        classes: order.iter().map(|&at| columns[at]).collect(),
    })
}
