//! Frames of any source become stored samples.

use super::Learner;
use crate::memory::{Sample, Stored};
use crate::session::embedder::{BATCH, VIEWS};
#[cfg(feature = "serve")]
use crate::session::network::Embedding;
use crate::vision::{Frame, FrameSource, Split};
use crate::{Error, Result};

/// Which class the frames of a source are taught as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Labelling<'a> {
    /// Every frame as this class.
    As(&'a str),
    /// No frame has a class.
    Unlabelled,
    /// Each frame as the class that the source gives it; frames for testing are left out.
    BySource,
}

/// The outcome for one frame of a source.
#[derive(Debug)]
pub(crate) enum Taken<'a> {
    /// The frame is stored and durable.
    Stored(&'a Sample, Stored),
    /// The frame is for testing and was not stored.
    ForTesting,
    /// The frame could not be used.
    Unusable(Error),
}

impl Learner {
    /// The sample of a frame of which the backbone has made `own` already.
    #[cfg(feature = "serve")]
    pub(crate) fn sample_of(
        &mut self,
        frame: &Frame,
        own: &Embedding,
        label: Option<&str>,
    ) -> Result<Sample> {
        self.frames += 1;
        let number = self.frames;
        let sample = self.embedder()?.sample_of(frame, own, number)?;
        Ok(Sample { label: label.map(str::to_owned), ..sample })
    }

    /// Remembers every frame of a source, each durably before `each` is told of it.
    pub(crate) fn add_source<E: From<Error>>(
        &mut self,
        source: Box<dyn FrameSource>,
        labelling: Labelling<'_>,
        mut each: impl FnMut(Taken<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.embedder()?;
        let Self { core, embedder: Some(embedder), .. } = self else { return Ok(()) };
        embedder.embed_source(source, VIEWS, |embedded| {
            let mut embedded = match embedded {
                Ok(embedded) => embedded,
                Err(error @ Error::Frame { .. }) => return each(Taken::Unusable(error)),
                Err(error) => return Err(error.into()),
            };
            match labelling {
                Labelling::As(name) => embedded.sample.label = Some(name.to_owned()),
                Labelling::Unlabelled => embedded.sample.label = None,
                Labelling::BySource if embedded.split == Split::Test => return each(Taken::ForTesting),
                Labelling::BySource => {}
            }
            let stored = core.memory_mut().add_sample(&embedded.sample)?;
            each(Taken::Stored(&embedded.sample, stored))
        })
    }

    /// Remembers frames, with `label` or without one.
    pub(crate) fn add<F>(
        &mut self,
        label: Option<&str>,
        frames: impl IntoIterator<Item = F>,
    ) -> Result<Vec<Stored>>
    where
        F: TryInto<Frame>,
        Error: From<F::Error>,
    {
        let (mut stored, mut frames) = (Vec::new(), frames.into_iter());
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let mut failed = None;
            for frame in frames.by_ref().take(BATCH) {
                match frame.try_into() {
                    Ok(frame) => {
                        batch.push(Frame { label: label.map(str::to_owned), split: Split::Train, ..frame });
                    }
                    Err(error) => {
                        failed = Some(Error::from(error));
                        break;
                    }
                }
            }
            let (first, is_last) = (self.frames + 1, batch.len() < BATCH);
            self.frames += batch.len() as u64;
            let mut samples = Vec::with_capacity(batch.len());
            for sample in self.embedder()?.samples(batch, first)? {
                match sample {
                    Ok(sample) => samples.push(sample),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            stored.extend(self.core.add(&samples)?);
            if let Some(error) = failed {
                return Err(error);
            }
            if is_last {
                return Ok(stored);
            }
        }
    }
}
