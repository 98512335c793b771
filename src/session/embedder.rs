//! From a frame to a sample: the only place where frames are prepared, augmented, embedded and
//! given a thumbnail.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use ndarray::ArrayView4;
use rayon::prelude::*;

use super::network::{self, Embedding, Network};
use super::published_head::PublishedHead;
use crate::backbone::{Backbone, BackboneSpec};
use crate::heads::Tail;
use crate::latent::LatentTable;
use crate::memory::{FeatureIdentity, Sample};
use crate::rng::Rng;
use crate::vision::{Augmentation, Frame, FrameSource, Preprocess, Split, thumbnail_jpeg};
use crate::{Error, Result};

/// Augmented views that are stored with a sample.
pub(crate) const VIEWS: usize = 2;
/// Frames that one call of the backbone takes.
pub(crate) const BATCH: usize = 8;
/// Frames that wait between reading and the backbone.
const QUEUED_FRAMES: usize = 16;
/// Longer side of a thumbnail in pixels (ADR 8).
const THUMBNAIL_SIDE: u32 = 96;
const THUMBNAIL_QUALITY: u8 = 80;

/// A frame as a sample, and whether it may be learned from.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Features, latents or views, thumbnail, name, time and label of the frame.
    pub sample: Sample,
    /// Whether the frame is for learning or for testing.
    pub split: Split,
    /// What the backbone makes of the frame itself.
    pub embedding: Embedding,
}

impl Embedded {
    /// The features `[D]` that `head` names the frame by.
    ///
    /// # Errors
    /// As [`Network::features_for`].
    pub fn features_for(&self, head: &PublishedHead) -> Result<Vec<f32>> {
        match head.tail() {
            Some(tail) => network::features(Some(tail), &self.embedding),
            None => Ok(self.sample.features.clone()),
        }
    }
}

/// A backbone with the preprocessing that it needs.
pub struct Embedder {
    network: Network,
    preparation: Preparation,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("spec", self.spec()).finish_non_exhaustive()
    }
}

impl Embedder {
    /// An embedder on a backbone; augmented views are drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] for preprocessing out of range.
    pub fn new(network: impl Into<Network>, seed: u64) -> Result<Self> {
        let network = network.into();
        let preparation = Preparation::new(network.spec(), seed)?;
        Ok(Self { network, preparation })
    }

    /// The description of the backbone.
    #[must_use]
    pub fn spec(&self) -> &BackboneSpec {
        self.network.spec()
    }

    /// The backbone, or its trunk if it is cut.
    #[must_use]
    pub fn backbone(&self) -> &dyn Backbone {
        self.network.backbone()
    }

    /// The tail as the model file has it, if the backbone is cut.
    #[must_use]
    pub fn tail(&self) -> Option<&Arc<Tail>> {
        self.network.tail()
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    #[cfg(feature = "tract")]
    pub(crate) fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// What the features are, so that a state made with others is refused.
    #[must_use]
    pub fn identity(&self) -> FeatureIdentity {
        self.network.identity()
    }

    /// What the backbone makes of one frame.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Frame`] for a frame that cannot be used, and others from the
    /// backbone.
    pub fn embedding(&mut self, frame: &Frame) -> Result<Embedding> {
        let mut image = vec![0.0; self.preparation.image_len()];
        self.preparation.preprocess.run(frame, &mut image)?;
        let mut rows = self.embed(&image)?;
        rows.pop().ok_or_else(|| Error::shape("rows of the backbone", 1, 0))
    }

    /// Features `[D]` of one frame as the whole backbone has them.
    ///
    /// # Errors
    /// As [`Embedder::embedding`].
    pub fn features(&mut self, frame: &Frame) -> Result<Vec<f32>> {
        let embedding = self.embedding(frame)?;
        self.network.features(&embedding)
    }

    /// The features `[D]` that `head` names a frame by.
    ///
    /// # Errors
    /// As [`Network::features_for`].
    pub fn features_for(&self, head: &PublishedHead, embedding: &Embedding) -> Result<Vec<f32>> {
        self.network.features_for(head, embedding)
    }

    /// Samples of `frames`, the first of which is frame number `first` (from 1) of its source, with
    /// their augmented views. A frame that cannot be used is an error in its place.
    ///
    /// # Errors
    /// Whatever the backbone reports.
    pub fn samples(&mut self, frames: Vec<Frame>, first: u64) -> Result<Vec<Result<Sample>>> {
        self.samples_with(VIEWS, frames, first)
    }

    /// Samples of frames as [`Embedder::samples`] makes them, with `views` views.
    pub(super) fn samples_with(
        &mut self,
        views: usize,
        frames: Vec<Frame>,
        first: u64,
    ) -> Result<Vec<Result<Sample>>> {
        let prepared = frames.into_iter().zip(first..);
        let prepared: Vec<_> =
            prepared.map(|(frame, number)| self.preparation.run(&frame, number, views)).collect();
        let embedded = self.embed_prepared(prepared)?;
        Ok(embedded.into_iter().map(|embedded| Ok(embedded?.sample)).collect())
    }

    /// The sample of a frame of which the backbone has made `own` already.
    ///
    /// # Errors
    /// As [`Embedder::embedding`].
    #[cfg(feature = "serve")]
    pub(crate) fn sample_of(&mut self, frame: &Frame, own: &Embedding, number: u64) -> Result<Sample> {
        let Prepared { sample, images, .. } = self.preparation.views_only(frame, number, VIEWS)?;
        let views = self.embed(&images)?;
        self.described(sample, own, &views)
    }

    /// Embeds every frame of `source`, with `views` augmented views of each frame for training, and
    /// gives each to `take`. A frame that cannot be used is an error in its place. Frames are read
    /// and prepared on a thread of their own, ahead of the backbone.
    ///
    /// # Errors
    /// Whatever ends the source, whatever the backbone reports, and whatever `take` returns.
    pub fn embed_source<E: From<Error>>(
        &mut self,
        source: Box<dyn FrameSource>,
        views: usize,
        mut take: impl FnMut(Result<Embedded>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let reader = FrameReader::start(source, self.preparation.clone(), views)?;
        loop {
            let prepared = reader.next_batch()?;
            if prepared.is_empty() {
                return Ok(());
            }
            for embedded in self.embed_prepared(prepared)? {
                take(embedded)?;
            }
        }
    }

    fn embed_prepared(&mut self, prepared: Vec<Result<Prepared>>) -> Result<Vec<Result<Embedded>>> {
        let usable = prepared.iter().filter_map(|frame| frame.as_ref().ok());
        let images: Vec<f32> = usable.flat_map(|frame| frame.images.iter().copied()).collect();
        let mut rows = self.embed(&images)?.into_iter();
        let embedded = prepared.into_iter().map(|frame| {
            let Prepared { sample, split, count, .. } = frame?;
            let mut own = rows.by_ref().take(count);
            let embedding = own.next().ok_or_else(|| Error::shape("rows of the backbone", count, 0))?;
            let views: Vec<_> = own.collect();
            Ok(Embedded { sample: self.described(sample, &embedding, &views)?, split, embedding })
        });
        Ok(embedded.collect())
    }

    /// The sample with what the backbone made of the frame itself and of its views.
    fn described(&self, sample: Sample, own: &Embedding, views: &[Embedding]) -> Result<Sample> {
        let features = self.network.features(own)?;
        let Some(tail) = self.network.tail() else {
            let views = views.iter().map(|view| self.network.features(view)).collect::<Result<_>>()?;
            return Ok(Sample { features, views, ..sample });
        };
        let input = tail.extractor.input;
        let mut latents = LatentTable::new(input.positions(), input.channels);
        for row in std::iter::once(own).chain(views) {
            let (Embedding::Latent(values) | Embedding::Features(values)) = row;
            latents.push(values).map_err(|error| match error {
                Error::Frame { reason, .. } => Error::Frame { name: sample.name.clone(), reason },
                other => other,
            })?;
        }
        Ok(Sample { features, latents: Some(latents), ..sample })
    }

    /// What the backbone makes of each of the images `[B, 3, S, S]`.
    fn embed(&mut self, images: &[f32]) -> Result<Vec<Embedding>> {
        let size = self.network.spec().input_size;
        let shape = (images.len() / self.preparation.image_len(), 3, size, size);
        let view = ArrayView4::from_shape(shape, images)
            .map_err(|error| Error::shape("image batch", shape, error.to_string()))?;
        self.network.embed(&view)
    }
}

/// A frame ready for the backbone: its own image and those of its augmented views.
struct Prepared {
    /// The sample without its features.
    sample: Sample,
    split: Split,
    /// `[count, 3, S, S]`
    images: Vec<f32>,
    count: usize,
}

/// How frames become images of a backbone. Each thread has a copy, with pixel buffers of its own.
#[derive(Clone)]
struct Preparation {
    preprocess: Preprocess,
    seed: u64,
}

impl Preparation {
    fn new(spec: &BackboneSpec, seed: u64) -> Result<Self> {
        let side = u32::try_from(spec.input_size).unwrap_or(u32::MAX);
        Ok(Self { preprocess: Preprocess::new(side, spec.mean, spec.std)?, seed })
    }

    /// Elements of one image, `3 S S`.
    fn image_len(&self) -> usize {
        3 * (self.preprocess.size as usize).pow(2)
    }

    /// The frame and, if it is for training, `views` augmented views of it. `number` is its place
    /// in the source, from 1: seed and number decide how the views are drawn.
    fn run(&mut self, frame: &Frame, number: u64, views: usize) -> Result<Prepared> {
        let views = if frame.split == Split::Train { views } else { 0 };
        let mut own = vec![0.0; self.image_len()];
        self.preprocess.run(frame, &mut own)?;
        let mut prepared = self.views_only(frame, number, views)?;
        own.append(&mut prepared.images);
        Ok(Prepared { images: own, count: 1 + views, ..prepared })
    }

    fn views_only(&mut self, frame: &Frame, number: u64, views: usize) -> Result<Prepared> {
        let mut images = vec![0.0; self.image_len() * views];
        let mut rng = Rng::named(self.seed, &format!("augment {number}"));
        for image in images.chunks_mut(self.image_len()) {
            let view = Augmentation::gentle().view(frame, self.preprocess.size, &mut rng)?;
            self.preprocess.run(&view, image)?;
        }
        let sample = Sample {
            thumbnail: Some(thumbnail_jpeg(frame, THUMBNAIL_SIDE, THUMBNAIL_QUALITY)?),
            name: frame.name.clone(),
            timestamp_millis: i64::try_from(frame.timestamp_millis).unwrap_or(i64::MAX),
            label: frame.label.clone(),
            ..Sample::default()
        };
        Ok(Prepared { sample, split: frame.split, images, count: views })
    }
}

/// A source that is read and prepared on a thread of its own, so that the backbone never waits for
/// a decoder. The channel is bounded: a recording waits, and nothing is lost.
struct FrameReader {
    receiver: Receiver<Result<Prepared>>,
    thread: Option<JoinHandle<()>>,
}

impl FrameReader {
    fn start(mut source: Box<dyn FrameSource>, mut preparation: Preparation, views: usize) -> Result<Self> {
        let (sender, receiver) = sync_channel(QUEUED_FRAMES);
        // A live frame goes on alone and at once. Others are read several at a time and prepared
        // over the cores.
        let is_live = source.is_live();
        let ahead = if is_live { 1 } else { BATCH };
        let (mut number, mut ends) = (0, false);
        let body = move || {
            let prepare = |preparation: &mut Preparation, read: Result<(Frame, u64)>| {
                let (frame, number) = read?;
                preparation.run(&frame, number, views)
            };
            while !ends {
                let mut read = Vec::with_capacity(ahead);
                while read.len() < ahead && !ends {
                    match source.next_frame() {
                        Ok(Some(frame)) => {
                            number += 1;
                            read.push(Ok((frame, number)));
                        }
                        Ok(None) => ends = true,
                        Err(error) => {
                            ends = !matches!(error, Error::Frame { .. });
                            read.push(Err(error));
                        }
                    }
                }
                let prepared: Vec<_> = if is_live {
                    read.into_iter().map(|frame| prepare(&mut preparation, frame)).collect()
                } else {
                    read.into_par_iter().map_init(|| preparation.clone(), prepare).collect()
                };
                for frame in prepared {
                    if sender.send(frame).is_err() {
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("kaizen-frames".to_owned()).spawn(body);
        let thread = thread.map_err(Error::io("thread kaizen-frames"))?;
        Ok(Self { receiver, thread: Some(thread) })
    }

    /// Waits for the next frame and gives it with those that are ready by then; empty at the end of
    /// the source.
    fn next_batch(&self) -> Result<Vec<Result<Prepared>>> {
        let mut prepared = Vec::with_capacity(BATCH);
        while prepared.len() < BATCH {
            let next =
                if prepared.is_empty() { self.receiver.recv().ok() } else { self.receiver.try_recv().ok() };
            match next {
                Some(Err(error)) if !matches!(error, Error::Frame { .. }) => return Err(error),
                Some(frame) => prepared.push(frame),
                None => break,
            }
        }
        Ok(prepared)
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        // Closing the channel ends the thread at its next frame.
        let (_, closed) = sync_channel(0);
        self.receiver = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
