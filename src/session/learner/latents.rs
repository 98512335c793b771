//! The tail that a learner trains, and latents for samples that were stored without.

use super::Learner;
use crate::event::Event;
use crate::ids::SampleId;
use crate::memory::Sample;
use crate::session::embedder::{BATCH, VIEWS};
use crate::session::network;
use crate::session::options::LEAST_FOR_A_TAIL;
use crate::session::training_control::TrainingControl;
use crate::vision::{DEFAULT_MAX_PIXELS, Frame, decode};
use crate::{Error, Result};

impl Learner {
    /// Gives the learner on features the tail of the state's backbone. Where the model file cannot
    /// be read, nothing is trained; the reason is told by the next consolidation.
    pub(super) fn read_tail(&mut self) -> Result<()> {
        if let Some(embedder) = &self.embedder {
            self.core.set_tail(embedder.tail().cloned());
            return Ok(());
        }
        if self.options.is_whole(Some(self.memory().identity())) || !self.memory().may_have_latents()? {
            return Ok(());
        }
        let options = self.options.backbone_for(Some(self.core.memory()));
        match network::tail_of(&options, self.core.memory().identity()) {
            Ok(tail) => self.core.set_tail(tail),
            Err(error @ (Error::Model { .. } | Error::Io { .. } | Error::NotFound { .. })) => {
                self.core.leave_untrained();
                self.tail_missing = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes latents from the thumbnails of samples that were stored before the backbone was cut,
    /// so that its tail can learn from them.
    pub(super) fn gain_latents(&mut self, control: &mut TrainingControl<'_>) -> Result<()> {
        if let Some(reason) = self.tail_missing.clone() {
            control.emit(&Event::TailStays { reason });
        }
        if self.memory().identity().cut.is_none() && self.options.leaves_a_tail_out(self.memory()) {
            let reason = format!("a memory limit below {LEAST_FOR_A_TAIL} MB has no room for its training");
            control.emit(&Event::TailStays { reason });
        }
        if !self.core.trains_a_tail() {
            return Ok(());
        }
        let pictured = self.memory().pictured_without_latents()?;
        if pictured.is_empty() {
            return Ok(());
        }
        let had_embedder = self.embedder.is_some();
        if let Err(error) = self.embedder() {
            control.emit(&Event::TailStays { reason: error.to_string() });
            return Ok(());
        }
        // A sample without a picture stays without latents.
        let of = self.memory().without_latents()?.len();
        let mut gained = 0;
        for batch in pictured.chunks(BATCH) {
            gained += self.gain_latents_of(batch)?;
        }
        control.emit(&Event::LatentsGained { gained, of });
        if !had_embedder && self.options.memory_limit_megabytes.is_some() {
            // Learning needs the room.
            self.embedder = None;
        }
        self.limit_memory()
    }

    fn gain_latents_of(&mut self, batch: &[SampleId]) -> Result<usize> {
        let mut frames: Vec<(SampleId, Frame)> = Vec::with_capacity(batch.len());
        for &id in batch {
            let Some(thumbnail) = self.memory().thumbnail(id)? else { continue };
            match decode(&thumbnail, &format!("sample {id}"), DEFAULT_MAX_PIXELS) {
                Ok(frame) => frames.push((id, frame)),
                Err(Error::Frame { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(first) = batch.first().and_then(|id| u64::try_from(id.0).ok()) else { return Ok(0) };
        let (ids, frames): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        let samples = self.embedder()?.samples_with(VIEWS, frames, first)?;
        let mut gained = 0;
        for (id, sample) in ids.into_iter().zip(samples) {
            if let Ok(Sample { latents: Some(latents), .. }) = sample {
                self.core.memory_mut().add_latents(id, &latents)?;
                gained += 1;
            }
        }
        Ok(gained)
    }
}
