//! Labels taken back and classes forgotten: the log first, then the heads as they would have been.

use std::time::Instant;

use super::learner::{Consolidation, Learner, closed_forms};
use super::predictor::HeadKind;
use super::publish::Trial;
use crate::Result;
use crate::event::EventSink;
use crate::ids::ClassId;
use crate::memory::{LabelId, Rows};

impl Learner {
    /// Takes a label back: the log says so at once, durably, and what was learned from it is learned anew without it.
    /// Closed forms come out as if it had never been taught; trained heads are trained from their first parameters on
    /// all that is left. Gives the class that the sample has now, if an earlier label stands, and the consolidation,
    /// if one was needed.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if it is no label that still counts; [`crate::Error::State`] from the memory.
    pub fn undo(
        &mut self,
        label: LabelId,
        events: &mut dyn EventSink,
    ) -> Result<(Option<ClassId>, Option<Consolidation>)> {
        let class = self.memory.undo(label)?;
        Ok((class, self.settle_removals(events)?))
    }

    /// Forgets a class: its samples are erased, and the heads are learned anew without it. Heads of earlier versions,
    /// which knew it, are erased too. Gives the number of samples erased, and the consolidation, if one was needed.
    ///
    /// # Errors
    /// As [`crate::memory::Memory::forget`].
    pub fn forget(
        &mut self,
        name: &str,
        events: &mut dyn EventSink,
    ) -> Result<(usize, Option<Consolidation>)> {
        let samples = self.memory.forget(name)?;
        let consolidation = self.settle_removals(events)?;
        self.memory.keep_heads(1)?;
        Ok((samples, consolidation))
    }

    /// Learns anew if something learned no longer counts, also after a crash between the two halves of a removal.
    pub(super) fn settle_removals(&mut self, events: &mut dyn EventSink) -> Result<Option<Consolidation>> {
        if !self.learned.drop_stale(&self.memory.live_classes()?) {
            return Ok(None);
        }
        let start = Instant::now();
        let training = self.memory.samples(Rows::Training)?;
        let unlabelled = self.memory.samples(Rows::Unlabelled)?;
        self.statistics = None;
        let kept: Vec<_> = training.iter().filter(|sample| self.learned.has(sample)).cloned().collect();
        let was_trained = self.trained.take().is_some();
        self.columns.clear();
        if kept.is_empty() {
            self.published = None;
            while let Some(version) = self.memory.published()? {
                self.memory.roll_back(version.entry.id)?;
            }
            self.store_training()?;
            return Ok(Some(Consolidation {
                published: false,
                head: HeadKind::Slda,
                candidates: Vec::new(),
            }));
        }
        // Whatever the limit: what was taken back must not answer any more.
        let narrowest = self.settings.narrowest_ensemble(self.inputs.0.features());
        let ensemble = self.ensemble().unwrap_or(narrowest);
        let statistics = self.statistics(ensemble, &training, &unlabelled)?;
        let (mut candidates, model) = closed_forms(&statistics)?;
        self.keep(statistics);
        if was_trained && self.settings.recipe.steps > 0 {
            let shared = self.learned.shared();
            let open: Vec<_> = unlabelled.into_iter().filter(|s| shared.contains(&s.id)).collect();
            let trained = self.train(&kept, &open, &[], None, events);
            candidates.extend(Self::unless_it_failed(trained, events)?);
        }
        let held_out = self.memory.samples(Rows::HeldOut)?;
        let trial = Trial { held_out: &held_out, training: &kept, model, start, guarded: false };
        let scored = self.scored(candidates, &trial)?;
        self.publish_best(scored, trial, events).map(Some)
    }
}
