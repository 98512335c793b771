//! The learner on features: samples go to memory, a consolidation turns them into heads, the best
//! head is published. It knows no frame and no backbone.

mod checkpoint;
mod consolidation;
mod decision;
mod engine_slot;
mod gathered;
mod plan;
mod publication;
mod removal;
mod stage;
mod tail;
#[cfg(test)]
mod tests;
mod trained_state;
mod training;

use std::sync::{Arc, Mutex, PoisonError};

pub use consolidation::Consolidation;
pub use engine_slot::EngineSlot;

use super::memory_limit::MemoryLimit;
use super::published_head::{Inputs, PublishedHead};
use super::settings::LearnerSettings;
use super::statistics::{Learned, Statistics};
use super::through_tail::TailFeatures;
use super::unknowns::{self, Unknowns};
use crate::heads::Tail;
use crate::ids::SampleId;
use crate::learn::closed_form::EnsembleSettings;
use crate::memory::{LabelId, Memory, Rows, Sample, Stored, StoredSample, VersionFigures, VersionId};
use crate::{Error, Result};
use trained_state::{TrainedState, restored};

/// An unlabelled sample is stored only if the samples of the state and one tenth of them more fit
/// into the memory limit.
const ROOM_FOR_LABELS: u64 = 10;

/// The head that answers now. Clones share it, so a thread that predicts sees each head as soon as
/// it is published.
#[derive(Clone, Debug, Default)]
pub struct ServingHead(Arc<Mutex<Option<Arc<PublishedHead>>>>);

impl ServingHead {
    /// The head, if anything was learned.
    #[must_use]
    pub fn now(&self) -> Option<Arc<PublishedHead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn of(head: PublishedHead) -> Self {
        Self(Arc::new(Mutex::new(Some(Arc::new(head)))))
    }

    fn set(&self, head: Option<Arc<PublishedHead>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

/// Remembers samples, consolidates, and keeps the head that answers.
pub struct FeatureLearner {
    settings: LearnerSettings,
    memory: Memory,
    engine: EngineSlot,
    inputs: Inputs,
    learned: Learned,
    /// Gathered when first needed: opening a state takes no time per sample.
    statistics: Option<Statistics>,
    trained: TrainedState,
    /// The tail as the model file has it, if the backbone is cut.
    tail: Option<Arc<Tail>>,
    /// Features that the trained tail in use gave.
    seen: Option<TailFeatures>,
    /// The head of the last decision. What serves may be another one while a consolidation runs.
    published: Option<Arc<PublishedHead>>,
    /// The figures of the version that `published` was published as.
    figures: Option<VersionFigures>,
    /// Whether `published` was fitted to the labels on opening and never judged by the guard.
    is_provisional: bool,
    serving: ServingHead,
    /// Whether what was learned has been read from the memory: storing samples does not need it.
    is_restored: bool,
}

impl std::fmt::Debug for FeatureLearner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeatureLearner").field("tasks", &self.learned.tasks).finish_non_exhaustive()
    }
}

impl FeatureLearner {
    /// A learner over `memory` that answers and continues as the one that last wrote there. A state
    /// with labels and without a version answers from the start, by a closed-form head.
    ///
    /// # Errors
    /// [`Error::State`] if the memory cannot be read, [`Error::Config`] for settings out of range.
    pub fn new(settings: LearnerSettings, memory: Memory, engine: impl Into<EngineSlot>) -> Result<Self> {
        let mut learner = Self::unrestored(settings, memory, engine.into())?;
        learner.restore()?;
        Ok(learner)
    }

    /// A learner that reads what was learned when something first needs it.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range.
    pub(super) fn unrestored(settings: LearnerSettings, memory: Memory, engine: EngineSlot) -> Result<Self> {
        let inputs = Inputs(settings.map(memory.identity().feature_width)?);
        Ok(Self {
            settings,
            memory,
            engine,
            inputs,
            learned: Learned::default(),
            statistics: None,
            trained: TrainedState::default(),
            tail: None,
            seen: None,
            published: None,
            figures: None,
            is_provisional: false,
            serving: ServingHead::default(),
            is_restored: false,
        })
    }

    /// The same learner, which trains `tail` from now on: the tail of the backbone whose latents
    /// the samples have, as its model file has it.
    ///
    /// # Errors
    /// As [`FeatureLearner::new`].
    pub fn with_tail(mut self, tail: Option<Arc<Tail>>) -> Result<Self> {
        self.set_tail(tail);
        self.is_restored = false;
        self.restore()?;
        Ok(self)
    }

    /// Fits only closed forms from now on.
    pub(super) fn leave_untrained(&mut self) {
        (self.settings.recipe.steps, self.settings.tail.recipe.steps) = (0, 0);
    }

    /// Whether consolidations train a tail.
    pub(super) fn trains_a_tail(&self) -> bool {
        self.tail.is_some() && self.settings.tail.recipe.steps > 0
    }

    /// Sets the tail before anything is read.
    pub(super) fn set_tail(&mut self, tail: Option<Arc<Tail>>) {
        self.tail = tail;
    }

    /// Reads what was learned from the memory, unless that has been done.
    ///
    /// # Errors
    /// As [`FeatureLearner::new`].
    pub(super) fn restore(&mut self) -> Result<()> {
        if !self.is_restored {
            (self.learned, self.trained) = restored(&self.memory, &self.settings, self.tail.as_deref())?;
            self.restore_published()?;
            self.is_restored = true;
        }
        Ok(())
    }

    fn restore_published(&mut self) -> Result<()> {
        let published = PublishedHead::restore_whatever_is_removed(&self.memory, &self.settings)?;
        self.published = published.map(Arc::new);
        let version = self.memory.published()?;
        self.is_provisional = version.is_none();
        self.figures = version.and_then(|version| version.entry.figures);
        // What is being removed must not answer: [`FeatureLearner::finish_removals`] comes first.
        let is_whole = self.memory.removals()?.is_empty();
        self.serving.set(self.published.clone().filter(|_| is_whole));
        Ok(())
    }

    pub(super) fn is_restored(&self) -> bool {
        self.is_restored
    }

    pub(super) fn limit_memory(&mut self, limit: MemoryLimit) {
        self.settings.memory_limit = Some(limit);
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &LearnerSettings {
        &self.settings
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// The engine that trains.
    #[must_use]
    pub fn engine(&mut self) -> &mut EngineSlot {
        &mut self.engine
    }

    /// The head that answers, shared with whoever predicts.
    #[must_use]
    pub fn serving(&self) -> &ServingHead {
        &self.serving
    }

    /// Remembers samples in one transaction: all are durable when it returns, or none is kept.
    ///
    /// # Errors
    /// As [`Memory::add_samples`].
    pub fn add(&mut self, samples: &[Sample]) -> Result<Vec<Stored>> {
        self.memory.add_samples(samples)
    }

    /// Gives a stored sample a label.
    ///
    /// # Errors
    /// As [`Memory::label`].
    pub fn label(&mut self, sample: SampleId, name: &str) -> Result<LabelId> {
        self.memory.label(sample, name)
    }

    /// Unlabelled samples that the published head calls unknown, in clusters; empty before anything
    /// was learned.
    ///
    /// # Errors
    /// As `unknowns::unknowns`.
    pub fn unknowns(&mut self) -> Result<Unknowns> {
        self.restore()?;
        match &self.published {
            Some(head) => unknowns::unknowns(&self.memory, head),
            None => Ok(Unknowns::default()),
        }
    }

    /// Labels every sample of a cluster of unknown samples, and calls `acknowledge` with each batch
    /// that is durable.
    ///
    /// # Errors
    /// As `unknowns::name_cluster`, and [`Error::NotReady`] before anything was learned.
    pub fn name_cluster(
        &mut self,
        cluster: SampleId,
        name: &str,
        acknowledge: impl FnMut(&[(SampleId, LabelId)]),
    ) -> Result<()> {
        self.restore()?;
        let head = self.published.clone().ok_or_else(|| {
            Error::not_ready("cluster", "nothing was learned yet", "teach a class and learn it first")
        })?;
        unknowns::name_cluster(&mut self.memory, &head, cluster, name, acknowledge).map(drop)
    }

    /// Takes a published version back: the newest one left answers from now on. Returns its id, if
    /// there is one.
    ///
    /// # Errors
    /// As [`Memory::roll_back`].
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.restore()?;
        let serving = self.memory.roll_back(version)?;
        let before = self.serving_tail();
        self.restore_published()?;
        if before.as_deref() != self.serving_tail().as_deref() {
            // What was trained beside the other tail does not go with this one.
            (self.statistics, self.trained) = (None, TrainedState::default());
            self.store_training()?;
        }
        Ok(serving)
    }

    /// Whether another unlabelled sample may be stored, so that what is taught later can still be
    /// learned within the memory limit; true without one.
    ///
    /// # Errors
    /// [`Error::State`] if the memory cannot be read.
    pub fn has_room(&self) -> Result<bool> {
        if self.settings.memory_limit.is_none() {
            return Ok(true);
        }
        let mut counts = self.memory.counts()?;
        let samples = counts.training + counts.held_out + counts.unlabelled;
        counts.unlabelled += samples / ROOM_FOR_LABELS + 1;
        Ok(self.settings.ensemble_for(self.inputs.0.features(), &counts, self.tail.is_none()).is_ok())
    }

    /// The trained tail that serves, if one was published.
    fn serving_tail(&self) -> Option<Arc<Tail>> {
        self.published.as_ref().and_then(|published| published.tail.clone())
    }

    /// Every stored sample: for training, held out, unlabelled.
    fn stored(&self) -> Result<[Vec<StoredSample>; 3]> {
        let [training, held_out, unlabelled] =
            [Rows::Training, Rows::HeldOut, Rows::Unlabelled].map(|rows| self.memory.samples(rows));
        Ok([training?, held_out?, unlabelled?])
    }

    /// Samples with the features of a trained tail, if one serves. A sample without latents is left
    /// out.
    fn seen(
        &mut self,
        tail: Option<&Arc<Tail>>,
        samples: [Vec<StoredSample>; 3],
    ) -> Result<[Vec<StoredSample>; 3]> {
        let Some(tail) = tail else { return Ok(samples) };
        let is_kept = self.keeps_at_hand();
        let kept = self.seen.take().filter(|seen| seen.is_of(tail));
        let seen = self.seen.insert(kept.unwrap_or_else(|| TailFeatures::new(tail, is_kept)));
        let [training, held_out, unlabelled] = samples.map(|samples| seen.through(&self.memory, &samples));
        Ok([training?, held_out?, unlabelled?])
    }

    /// Number of labelled samples without latents, where the backbone is cut.
    fn without_latents(&self, training: &[StoredSample], held_out: &[StoredSample]) -> Result<usize> {
        if self.tail.is_none() {
            return Ok(0);
        }
        let without = self.memory.without_latents()?;
        let is_without = |sample: &&StoredSample| without.binary_search(&sample.id).is_ok();
        Ok(training.iter().chain(held_out).filter(is_without).count())
    }

    /// Settings of the closed forms for what is stored, within the memory limit.
    fn closed_form_settings(&self) -> Result<EnsembleSettings> {
        self.settings.ensemble_for(self.inputs.0.features(), &self.memory.counts()?, self.tail.is_none())
    }

    /// Takes the statistics out, gathered anew from the stored samples unless they are at hand.
    fn take_statistics(
        &mut self,
        settings: EnsembleSettings,
        training: &[StoredSample],
        unlabelled: &[StoredSample],
    ) -> Result<Statistics> {
        if let Some(statistics) = self.statistics.take() {
            return Ok(statistics);
        }
        let mut statistics = Statistics::new(&self.inputs, settings, self.settings.seed)?;
        statistics.relearn(&mut self.learned, training, unlabelled)?;
        Ok(statistics)
    }

    /// Whether what can be computed anew is kept; a memory limit leaves no room for it.
    fn keeps_at_hand(&self) -> bool {
        self.settings.memory_limit.is_none()
    }

    /// Keeps the statistics for the next time; under a memory limit they are gathered anew then.
    fn keep_statistics(&mut self, statistics: Statistics) {
        self.statistics = self.keeps_at_hand().then_some(statistics);
    }
}
