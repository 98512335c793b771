//! The last frames, with pixels, so that what was just seen can be taught.

use std::collections::VecDeque;
use std::sync::Arc;

use super::inference::Seen;

/// The last so many frames are at hand to be taught, fewer if their pixels take more than [`FrameRoom::recent`].
pub const MOST_RECENT: usize = 120;

/// Bytes of pixels that the live loop holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRoom {
    /// Of the last frames, to be taught.
    pub recent: usize,
    /// Of unlabelled frames that wait to be stored.
    pub waiting: usize,
}

impl Default for FrameRoom {
    /// 69 and 17 frames of 640x480.
    fn default() -> Self {
        Self { recent: 64 << 20, waiting: 16 << 20 }
    }
}

/// The last frames, oldest first.
#[derive(Debug)]
pub(super) struct Recent {
    frames: VecDeque<Arc<Seen>>,
    bytes: usize,
    room: usize,
}

impl Recent {
    pub(super) fn new(room: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, room }
    }

    pub(super) fn push(&mut self, seen: Arc<Seen>) {
        self.bytes += seen.frame.rgb.len();
        self.frames.push_back(seen);
        while self.frames.len() > MOST_RECENT || (self.bytes > self.room && self.frames.len() > 1) {
            if let Some(gone) = self.frames.pop_front() {
                self.bytes -= gone.frame.rgb.len();
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn last(&self, most: usize) -> Vec<Arc<Seen>> {
        self.frames.iter().skip(self.frames.len().saturating_sub(most)).cloned().collect()
    }
}
