//! The last frames, with their pixels, so that what was just seen can be taught.

use std::collections::VecDeque;
use std::sync::Arc;

use super::answered_frame::AnsweredFrame;

/// The number of last frames that are at hand to be taught; there are fewer if their pixels take
/// more than [`FrameBudget::recent`].
pub(crate) const MOST_RECENT: usize = 120;

/// The bytes of pixels that the live loop may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameBudget {
    /// Bytes of the last frames, which can be taught; and, apart from them, of the frames and
    /// pictures that lessons hold which wait to be done.
    pub recent: usize,
    /// Bytes of the unlabelled frames that wait to be stored.
    pub waiting: usize,
}

impl FrameBudget {
    /// The part of a memory limit that frames may take.
    pub(crate) fn of_limit(megabytes: u64) -> Self {
        let part = |share: u64| usize::try_from(megabytes * 1_000_000 / share).unwrap_or(usize::MAX);
        Self { recent: part(16), waiting: part(64) }
    }
}

impl Default for FrameBudget {
    /// Room for 72 and 18 frames of 640x480.
    fn default() -> Self {
        Self { recent: 64 << 20, waiting: 16 << 20 }
    }
}

/// The last frames, the oldest first.
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
