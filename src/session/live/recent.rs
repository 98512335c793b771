//! The last frames, with pixels, so that what was just seen can be taught.

use std::collections::VecDeque;
use std::sync::Arc;

use super::inference_worker::AnsweredFrame;

/// The last so many frames are at hand to be taught, fewer if their pixels take more than [`FrameBudget::recent`].
pub(crate) const MOST_RECENT: usize = 120;

/// Bytes of pixels that the live loop holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameBudget {
    /// Of the last frames, to be taught.
    pub recent: usize,
    /// Of unlabelled frames that wait to be stored.
    pub waiting: usize,
}

impl FrameBudget {
    /// The part of a memory limit that frames may take.
    #[cfg(feature = "serve")]
    pub(crate) fn of_limit(megabytes: u64) -> Self {
        let part = |share: u64| usize::try_from(megabytes * 1_000_000 / share).unwrap_or(usize::MAX);
        Self { recent: part(16), waiting: part(64) }
    }
}

impl Default for FrameBudget {
    /// 69 and 17 frames of 640x480.
    fn default() -> Self {
        Self { recent: 64 << 20, waiting: 16 << 20 }
    }
}

/// The last frames, oldest first.
#[derive(Debug)]
pub(super) struct Recent {
    frames: VecDeque<Arc<AnsweredFrame>>,
    bytes: usize,
    budget: usize,
}

impl Recent {
    pub(super) fn new(budget: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, budget }
    }

    pub(super) fn push(&mut self, answered: Arc<AnsweredFrame>) {
        self.bytes += answered.frame.rgb.len();
        self.frames.push_back(answered);
        while self.frames.len() > MOST_RECENT || (self.bytes > self.budget && self.frames.len() > 1) {
            if let Some(gone) = self.frames.pop_front() {
                self.bytes -= gone.frame.rgb.len();
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn last(&self, most: usize) -> Vec<Arc<AnsweredFrame>> {
        self.frames.iter().skip(self.frames.len().saturating_sub(most)).cloned().collect()
    }
}
