//! Labels taken back and classes forgotten: the label log first, then the heads as they would have
//! been without them.

use std::time::Instant;

use super::gathered::Gathered;
use super::{Consolidation, FeatureLearner};
use crate::Result;
use crate::event::Discard;
use crate::ids::ClassId;
use crate::memory::{LabelId, Removal};
use crate::session::training_control::TrainingControl;

impl FeatureLearner {
    /// Takes a label back: the log says so at once, durably, and what was learned from it is
    /// learned anew without it. Closed forms come out as if it had never been taught; the trained
    /// head is trained from its first parameters on all that is left. Returns the class that the
    /// sample has now, if an earlier label stands, and the consolidation, if one was needed.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] if it is no label that still counts; [`crate::Error::State`] from
    /// the memory.
    pub fn undo(
        &mut self,
        label: LabelId,
        control: &mut TrainingControl<'_>,
    ) -> Result<(Option<ClassId>, Option<Consolidation>)> {
        self.restore()?;
        let class = self.memory.undo(label)?;
        let consolidation = self.apply_removals(self.trains_with_lessons(), control)?;
        self.end_removals()?;
        Ok((class, consolidation))
    }

    /// Takes labels back as [`FeatureLearner::undo`] does, and learns anew once for all of them.
    ///
    /// # Errors
    /// As [`FeatureLearner::undo`]; labels before the one that is refused stay taken back.
    pub fn undo_all(
        &mut self,
        labels: &[LabelId],
        control: &mut TrainingControl<'_>,
    ) -> Result<Option<Consolidation>> {
        self.restore()?;
        let undone = labels.iter().try_for_each(|label| self.memory.undo(*label).map(drop));
        let consolidation = self.apply_removals(self.trains_with_lessons(), control)?;
        self.end_removals()?;
        undone.map(|()| consolidation)
    }

    /// Forgets a class: its samples are erased, and the heads are learned anew without it. Heads of
    /// earlier versions, which knew it, are erased too. Returns the number of samples erased, and
    /// the consolidation, if one was needed.
    ///
    /// # Errors
    /// As [`crate::memory::Memory::forget`].
    pub fn forget(
        &mut self,
        name: &str,
        control: &mut TrainingControl<'_>,
    ) -> Result<(usize, Option<Consolidation>)> {
        self.restore()?;
        let samples = self.memory.forget(name)?;
        let consolidation = self.apply_removals(self.trains_with_lessons(), control)?;
        self.end_removals()?;
        Ok((samples, consolidation))
    }

    /// Finishes the removals that were cut short: erases what is left of forgotten classes, fits
    /// the closed forms without what was removed, and erases the heads that knew a forgotten class.
    /// What is trained is trained by the next consolidation. Returns what was finished.
    ///
    /// # Errors
    /// [`crate::Error::State`] and [`crate::Error::Full`] from the memory.
    pub fn finish_removals(&mut self) -> Result<Vec<Removal>> {
        let removals = self.memory.removals()?;
        if !removals.is_empty() {
            self.restore()?;
            self.memory.finish_forgetting()?;
            self.apply_removals(false, &mut TrainingControl::new(&mut Discard))?;
            self.end_removals()?;
            self.serving.set(self.published.clone());
        }
        Ok(removals)
    }

    /// Notes that nothing answers by what was removed any more. Of a forgotten class the heads of
    /// earlier versions go too.
    fn end_removals(&mut self) -> Result<()> {
        if self.memory.removals()?.iter().any(|removal| removal.label.is_none()) {
            self.memory.keep_heads(1)?;
        }
        self.memory.end_removals()
    }

    /// Learns anew if something that was learned no longer counts; `trains` says whether the tail
    /// is trained with it.
    pub(super) fn apply_removals(
        &mut self,
        trains: bool,
        control: &mut TrainingControl<'_>,
    ) -> Result<Option<Consolidation>> {
        let classes = self.learned.classes();
        let live = self.memory.live_classes()?;
        let (trained, judged) = (self.learned.drop_stale(&live), self.learned.drop_stale_held_out(&live));
        if !trained && !judged {
            return Ok(None);
        }
        self.memory.drop_checkpoint()?;
        let started = Instant::now();
        // A class that is gone must not be in anything that answers. After a single label the tail
        // serves on, with a trace of it, until it is trained anew.
        let tail = self.serving_tail().filter(|_| self.learned.classes() == classes);
        let stored = self.stored()?;
        let [training, held_out, unlabelled] = self.seen(tail.as_ref(), stored)?;
        self.statistics = None;
        let labelled: Vec<_> = training.iter().filter(|sample| self.learned.has(sample)).cloned().collect();
        // Nothing is trained on held-out samples.
        if trained {
            match self.tail {
                Some(_) if self.serving_tail().is_some() => self.trained.start_tail_anew(),
                Some(_) => {}
                None => self.trained.start_anew(),
            }
        }
        let outcome = if labelled.is_empty() {
            self.unpublish()
        } else {
            // Whatever the limit: what was taken back must not answer any more.
            let narrowest = self.settings.narrowest_ensemble(self.inputs.0.features());
            let closed_forms = self.closed_form_settings().unwrap_or(narrowest);
            let gathered = Gathered {
                started,
                closed_forms,
                tail,
                without_latents: 0,
                training,
                held_out,
                labelled,
                unlabelled,
                replay: Vec::new(),
                trains,
                is_removal: true,
            };
            let plan = self.plan(&gathered)?;
            self.run(gathered, &plan, &mut control.uninterrupted())
        };
        self.serving.set(self.published.clone());
        outcome.map(Some)
    }

    /// Nothing is left to answer from.
    fn unpublish(&mut self) -> Result<Consolidation> {
        (self.published, self.figures) = (None, None);
        while let Some(version) = self.memory.published()? {
            self.memory.roll_back(version.entry.id)?;
        }
        self.store_training()?;
        Ok(Consolidation { published: false, head: None, candidates: Vec::new() })
    }
}
