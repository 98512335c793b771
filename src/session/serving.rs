//! What a person does to a learner that serves: several frames at once, labels of stored samples, versions taken back.

use std::sync::Arc;

use super::learner::{Consolidation, Learner, Observation};
use super::predictor::Predictor;
use super::unknowns;
use crate::event::EventSink;
use crate::ids::SampleId;
use crate::memory::{LabelId, Stored, VersionId};
use crate::{Error, Result};

impl Learner {
    /// Remembers frames in one transaction: all are durable when it returns, or none is kept.
    ///
    /// # Errors
    /// As [`Learner::observe`].
    pub fn observe_all(&mut self, observations: &[Observation]) -> Result<Vec<Stored>> {
        let samples: Vec<_> = observations.iter().map(Observation::sample).collect();
        self.memory.add_samples(&samples)
    }

    /// Gives a stored sample a label.
    ///
    /// # Errors
    /// As [`crate::memory::Memory::label`].
    pub fn label(&mut self, sample: SampleId, name: &str) -> Result<LabelId> {
        self.memory.label(sample, name)
    }

    /// Labels a cluster of unknown samples, as [`unknowns::name_cluster`] does.
    ///
    /// # Errors
    /// As there, and [`Error::Config`] before anything was learned.
    pub fn name_cluster(&mut self, cluster: SampleId, name: &str) -> Result<Vec<LabelId>> {
        let Some(predictor) = self.published.clone() else {
            return Err(Error::config("cluster", cluster, "none before a class was taught and learned"));
        };
        let mut labels = Vec::new();
        unknowns::name_cluster(&mut self.memory, &predictor, cluster, name, |named| {
            labels.extend(named.iter().map(|(_, label)| *label));
        })?;
        Ok(labels)
    }

    /// Takes labels back as [`Learner::undo`] does, and learns anew once for all of them.
    ///
    /// # Errors
    /// As there; the labels before the one that is refused are taken back.
    pub fn undo_all(
        &mut self,
        labels: &[LabelId],
        events: &mut dyn EventSink,
    ) -> Result<Option<Consolidation>> {
        let undone = labels.iter().try_for_each(|label| self.memory.undo(*label).map(drop));
        let consolidation = self.settle_removals(events)?;
        undone.map(|()| consolidation)
    }

    /// Takes a published version back: the newest one left answers from now on. Gives its id, if there is one.
    ///
    /// # Errors
    /// As [`crate::memory::Memory::roll_back`].
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        let serving = self.memory.roll_back(version)?;
        self.published = Predictor::restore(&self.memory, &self.settings)?.map(Arc::new);
        self.is_provisional = self.memory.published()?.is_none();
        Ok(serving)
    }

    /// Holds the state to so many bytes, see [`crate::memory::Memory::set_quota_bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn set_quota_bytes(&mut self, bytes: u64) -> Result<()> {
        self.memory.set_quota_bytes(bytes)
    }
}
