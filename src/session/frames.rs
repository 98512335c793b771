//! The reading thread: decodes, preprocesses and augments ahead of the backbone, so that learning and inference never
//! wait for a decoder. The channel is bounded; a recording waits, nothing is lost.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use ndarray::ArrayView4;

use crate::backbone::{Backbone, BackboneSpec};
use crate::rng::Rng;
use crate::vision::{Augmentation, Frame, FrameSource, Preprocess, Split, thumbnail_jpeg};
use crate::{Error, Result};

/// Frames that wait between reading and the backbone.
const QUEUED_FRAMES: usize = 16;
const THUMBNAIL_SIDE: u32 = 96;
const THUMBNAIL_QUALITY: u8 = 80;

/// A frame ready for the backbone: its own pixels and those of its augmented views.
struct Prepared {
    frame: Described,
    images: Vec<f32>,
    count: usize,
}

/// A frame without its pixels.
#[derive(Clone, Debug)]
pub struct Described {
    /// File name or position.
    pub name: String,
    /// When it was taken.
    pub timestamp_millis: u64,
    /// The label it came with.
    pub label: Option<String>,
    /// For learning or for testing.
    pub split: Split,
    /// A small JPEG, to show.
    pub thumbnail: Option<Vec<u8>>,
}

/// A frame's features.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Name, time, label, split.
    pub frame: Described,
    /// Features of the frame itself, `[D]`.
    pub features: Vec<f32>,
    /// Features of its augmented views, each `[D]`.
    pub views: Vec<Vec<f32>>,
}

/// A source being read on a thread of its own.
#[derive(Debug)]
pub struct FrameReader {
    receiver: Receiver<Result<Prepared>>,
    thread: Option<JoinHandle<()>>,
    image_len: usize,
    size: usize,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl FrameReader {
    /// Starts reading `source` for a backbone of this kind, with `views` augmented views of each training frame.
    ///
    /// # Errors
    /// [`Error::Config`] for preprocessing out of range, [`Error::Io`] if no thread can be started.
    pub fn start(source: Box<dyn FrameSource>, spec: &BackboneSpec, views: usize, seed: u64) -> Result<Self> {
        let side = u32::try_from(spec.input_size).unwrap_or(u32::MAX);
        let preprocess = Preprocess::new(side, spec.mean, spec.std)?;
        let image_len = 3 * spec.input_size * spec.input_size;
        let (sender, receiver) = sync_channel(QUEUED_FRAMES);
        let mut work = Work { source, preprocess, views, seed, side, image_len, number: 0 };
        let body = move || {
            while let Some(prepared) = work.next() {
                let ends = prepared.as_ref().is_err_and(|error| !matches!(error, Error::Frame { .. }));
                if sender.send(prepared).is_err() || ends {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kaizen-frames".to_owned()).spawn(body);
        let thread = thread.map_err(Error::io("thread kaizen-frames"))?;
        Ok(Self { receiver, thread: Some(thread), image_len, size: spec.input_size })
    }

    /// Embeds the next frames, at most `most`; empty at the end of the source. A frame that cannot be used is an
    /// `Err` in its place.
    ///
    /// # Errors
    /// Whatever ends the source, or [`Error::Shape`] and others from the backbone.
    pub fn next_batch(&mut self, backbone: &mut dyn Backbone, most: usize) -> Result<Vec<Result<Embedded>>> {
        let mut prepared = Vec::with_capacity(most);
        while prepared.len() < most {
            // Waits for the first frame only: what is there goes on without those that are not.
            let next =
                if prepared.is_empty() { self.receiver.recv().ok() } else { self.receiver.try_recv().ok() };
            match next {
                Some(Err(error)) if !matches!(error, Error::Frame { .. }) => return Err(error),
                Some(frame) => prepared.push(frame),
                None => break,
            }
        }
        let good = prepared.iter().filter_map(|frame| frame.as_ref().ok());
        let mut images = Vec::new();
        good.for_each(|frame| images.extend_from_slice(&frame.images));
        let count = images.len() / self.image_len;
        let shape = (count, 3, self.size, self.size);
        let view = ArrayView4::from_shape(shape, &images)
            .map_err(|e| Error::shape("image batch", shape, e.to_string()))?;
        let features = backbone.embed(view)?;
        let mut rows = features.rows().into_iter().map(|row| row.to_vec());
        let embedded = prepared.into_iter().map(|frame| {
            let frame = frame?;
            let mut own: Vec<_> = rows.by_ref().take(frame.count).collect();
            let features = if own.is_empty() { Vec::new() } else { own.remove(0) };
            Ok(Embedded { frame: frame.frame, features, views: own })
        });
        Ok(embedded.collect())
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

struct Work {
    source: Box<dyn FrameSource>,
    preprocess: Preprocess,
    views: usize,
    seed: u64,
    side: u32,
    image_len: usize,
    number: u64,
}

impl Work {
    fn next(&mut self) -> Option<Result<Prepared>> {
        match self.source.next_frame() {
            Ok(Some(frame)) => {
                self.number += 1;
                Some(self.prepare(frame))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn prepare(&mut self, frame: Frame) -> Result<Prepared> {
        let views = if frame.split == Split::Train { self.views } else { 0 };
        let mut images = vec![0.0; self.image_len * (1 + views)];
        let mut slots = images.chunks_mut(self.image_len);
        if let Some(slot) = slots.next() {
            self.preprocess.run(&frame, slot)?;
        }
        let mut rng = Rng::named(self.seed, &format!("augment {}", self.number));
        for slot in slots {
            let view = Augmentation::gentle().view(&frame, self.side, &mut rng)?;
            self.preprocess.run(&view, slot)?;
        }
        let thumbnail = thumbnail_jpeg(&frame, THUMBNAIL_SIDE, THUMBNAIL_QUALITY)?;
        let Frame { name, timestamp_millis, label, split, .. } = frame;
        let frame = Described { name, timestamp_millis, label, split, thumbnail: Some(thumbnail) };
        Ok(Prepared { frame, images, count: 1 + views })
    }
}
