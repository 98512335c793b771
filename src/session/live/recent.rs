//! The last frames, with pixels, so that what was just seen can be taught.

use std::collections::VecDeque;
use std::sync::Arc;

use super::inference::Seen;

/// The last so many frames are at hand to be taught, fewer if their pixels take more than `MOST_BYTES`.
pub const MOST_RECENT: usize = 120;
/// 69 frames of 640x480.
const MOST_BYTES: usize = 64 << 20;

/// The last frames, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    frames: VecDeque<Arc<Seen>>,
    bytes: usize,
}

impl Recent {
    pub(super) fn push(&mut self, seen: Arc<Seen>) {
        self.bytes += seen.frame.rgb.len();
        self.frames.push_back(seen);
        while self.frames.len() > MOST_RECENT || (self.bytes > MOST_BYTES && self.frames.len() > 1) {
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
