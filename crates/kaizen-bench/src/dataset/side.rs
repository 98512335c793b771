//! One side of a data set as a source of frames.

use std::collections::VecDeque;
use std::sync::Arc;

use kaizen_edge::low_level::vision::FrameSource;
use kaizen_edge::{Frame, Result, Split};
use rayon::prelude::*;

use super::Dataset;

/// The number of pictures that are decoded at once, over all cores.
const CHUNK: usize = 32;

/// The pictures of one side, in their order.
pub(crate) struct DatasetSide {
    dataset: Arc<Dataset>,
    split: Split,
    /// The row after those that were decoded.
    next: usize,
    decoded: VecDeque<Result<Frame>>,
}

impl DatasetSide {
    pub(crate) fn new(dataset: Arc<Dataset>, split: Split) -> Self {
        Self { dataset, split, next: 0, decoded: VecDeque::new() }
    }
}

impl FrameSource for DatasetSide {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.decoded.is_empty() {
            let rows = self.next..self.dataset.side(self.split).len().min(self.next + CHUNK);
            self.next = rows.end;
            let decoded = rows.into_par_iter().map(|row| self.dataset.frame(self.split, row));
            self.decoded = decoded.collect::<Vec<_>>().into();
        }
        self.decoded.pop_front().transpose()
    }

    fn frames_hint(&self) -> Option<usize> {
        Some(self.dataset.side(self.split).len())
    }

    fn uri(&self) -> &str {
        &self.dataset.name
    }

    fn is_live(&self) -> bool {
        false
    }
}
