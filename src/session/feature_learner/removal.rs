//! Labels taken back and classes forgotten: the label log first, then the heads as they would have
//! been without them.

use std::collections::BTreeSet;
use std::time::Instant;

use super::gathered::Gathered;
use super::trained_state::TrainedState;
use super::{Consolidation, FeatureLearner};
use crate::Result;
use crate::event::Discard;
use crate::ids::ClassId;
use crate::memory::{LabelId, Removal};
use crate::session::statistics::Learned;
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
        let consolidation = self.follow(self.trains_with_lessons(), control)?;
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
        let consolidation = self.follow(self.trains_with_lessons(), control)?;
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
        let consolidation = self.follow(self.trains_with_lessons(), control)?;
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
            // First of all: a head before the first version is fitted to what is stored.
            self.memory.finish_forgetting()?;
            self.restore()?;
            self.follow(false, &mut TrainingControl::new(&mut Discard))?;
        }
        Ok(removals)
    }

    /// Brings the heads into line with what the log says is removed, and ends the removals. If that
    /// fails they stay marked, and what was learned is read again before anything else is done.
    pub(super) fn follow(
        &mut self,
        trains: bool,
        control: &mut TrainingControl<'_>,
    ) -> Result<Option<Consolidation>> {
        let followed = self.apply_removals(trains, control).and_then(|consolidation| {
            self.end_removals()?;
            Ok(consolidation)
        });
        self.is_restored &= followed.is_ok();
        if followed.is_ok() {
            self.serving.set(self.published.clone());
        }
        followed
    }

    /// Notes that nothing answers by what was removed any more. Of a forgotten class the heads of
    /// earlier versions go too.
    fn end_removals(&mut self) -> Result<()> {
        let removals = self.memory.removals()?;
        if removals.iter().any(|removal| removal.label.is_none()) {
            self.memory.keep_heads(1)?;
        }
        if removals.is_empty() { Ok(()) } else { self.memory.end_removals() }
    }

    /// Learns anew if something that was learned no longer counts; `trains` says whether the tail
    /// is trained with it. What was learned may be more than is noted, if a process ended between
    /// the publication of a version and the note, or a version was gone back to: then every label
    /// is learned anew for the removal.
    fn apply_removals(
        &mut self,
        trains: bool,
        control: &mut TrainingControl<'_>,
    ) -> Result<Option<Consolidation>> {
        if self.is_provisional {
            self.restore_published()?;
            self.serving.set(self.published.clone());
        }
        let classes = self.learned.classes();
        let live = self.memory.live_classes()?;
        let (trained, judged) = (self.learned.drop_stale(&live), self.learned.drop_stale_held_out(&live));
        if !trained && !self.is_provisional && !self.memory.removals()?.is_empty() {
            let labelled: BTreeSet<ClassId> = live.into_values().collect();
            let mut known = self.published.iter().flat_map(|head| head.columns());
            if self.trained.is_behind || known.any(|class| !labelled.contains(class)) {
                return self.learn_all_anew(control).map(Some);
            }
        }
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
            // A process that does not have the model file at hand has no tail itself.
            match (self.serving_tail(), &self.tail) {
                (Some(_), _) => self.trained.start_tail_anew(),
                (None, Some(_)) => {}
                (None, None) => self.trained.start_anew(),
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
        let consolidation = outcome?;
        self.serving.set(self.published.clone());
        Ok(Some(consolidation))
    }

    /// Takes every version back and learns all labels that are left by closed forms; a tail is
    /// trained anew by the next consolidation.
    fn learn_all_anew(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        let (had_tail, tasks) = (self.serving_tail().is_some(), self.learned.tasks);
        self.memory.drop_checkpoint()?;
        (self.learned, self.statistics, self.seen) = (Learned::default(), None, None);
        self.learned.tasks = tasks;
        self.trained = TrainedState { begins_anew: had_tail, ..TrainedState::default() };
        let nothing = self.unpublish()?;
        if self.memory.counts()?.training == 0 {
            return Ok(nothing);
        }
        match self.gather(false)? {
            Some((gathered, plan)) => self.run(gathered, &plan, &mut control.uninterrupted()),
            None => Ok(nothing),
        }
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
