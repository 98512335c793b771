//! Publication of what a consolidation chose: head, tail, calibration and novelty together.

use std::sync::Arc;

use super::gathered::Gathered;
use super::stage::{Scored, Stage};
use super::tail::Tuned;
use super::{Consolidation, FeatureLearner};
use crate::Result;
use crate::event::Event;
use crate::memory::{NewVersion, StoredSample, VersionFigures};
use crate::session::candidate::{Candidate, Score};
use crate::session::published_head::{HeadKind, PublishedHead};
use crate::session::training_control::TrainingControl;

/// Versions whose heads are kept, to go back to.
const KEPT_HEADS: usize = 8;

impl FeatureLearner {
    /// Puts the best candidate in place, or records why none was. A tail goes with its heads.
    pub(super) fn publish(
        &mut self,
        scored: Vec<Scored>,
        serving: &Score,
        stage: Stage,
        tuned: Option<Tuned>,
        control: &mut TrainingControl<'_>,
    ) -> Result<Consolidation> {
        let figures: Vec<_> = scored.iter().map(|scored| (scored.name(), scored.score.balanced())).collect();
        let candidates = scored.iter().map(Scored::figure).collect();
        let judges = stage.gathered.judges().len();
        let started = stage.gathered.started;
        let (published, head, accuracy, reason) =
            match self.choose(scored, serving, !stage.gathered.is_removal) {
                None => (false, None, None, "no head could be fitted".to_owned()),
                Some(chosen) => {
                    let accuracy = chosen.scored.score.balanced();
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
                    (chosen.fall.is_none(), Some(kind), Some(accuracy), reason)
                }
            };
        control.emit(&Event::Consolidated {
            task: self.learned.tasks,
            published,
            head: head.unwrap_or(HeadKind::Slda).name(),
            accuracy,
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

    /// Publishes a candidate, with the tail that it stands on and with the held-out samples in its
    /// closed forms.
    fn put_in_place(
        &mut self,
        chosen: Scored,
        mut stage: Stage,
        tuned: Option<Tuned>,
        figures: &VersionFigures,
    ) -> Result<()> {
        if let Some(tuned) = tuned.filter(|_| chosen.is_tuned) {
            (self.learned, self.trained, self.seen) = (tuned.learned, tuned.trained, Some(tuned.seen));
            (self.statistics, stage) = (Some(tuned.statistics), tuned.stage);
        }
        let Stage { mut gathered, model } = stage;
        let Candidate { kind, head } = chosen.candidate;
        let head = self.calibrate(kind, head, &gathered, model)?;
        // Fitting needs the room.
        (gathered.labelled, gathered.unlabelled, gathered.replay) = Default::default();
        let head = self.with_held_out(head, &gathered)?;
        if let Some(statistics) = self.statistics.take() {
            self.keep_statistics(statistics);
        }
        let heads = head.to_bytes()?;
        self.memory.publish(NewVersion { heads: &heads, head_kind: kind.name(), figures })?;
        self.memory.keep_heads(KEPT_HEADS)?;
        self.published = Some(Arc::new(head));
        self.figures = Some(figures.clone());
        self.is_provisional = false;
        Ok(())
    }

    /// The head that was chosen, with its closed forms fitted to the held-out samples as well: they
    /// have judged, and are a sixth of what was taught. Where a memory limit left no statistics at
    /// hand, the head stays as it was judged: to gather them once more there is no room.
    fn with_held_out(&mut self, head: PublishedHead, gathered: &Gathered) -> Result<PublishedHead> {
        let is_known = |s: &&StoredSample| s.class.is_some_and(|class| head.head.columns().contains(&class));
        let held_out: Vec<_> = gathered.held_out.iter().filter(is_known).cloned().collect();
        match &self.statistics {
            Some(statistics) if !held_out.is_empty() => {
                self.learned.set_held_out(&held_out);
                statistics.refit(head, &held_out)
            }
            Some(_) | None => {
                self.learned.set_held_out(&[]);
                Ok(head)
            }
        }
    }
}
