//! An answered frame.

use std::time::Duration;

use crate::session::network::Embedding;
use crate::session::published_head::Prediction;
use crate::vision::Frame;

/// A frame with what the backbone makes of it and the answer to it.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredFrame {
    /// The number of the frame, from 1.
    pub number: u64,
    /// The frame.
    pub frame: Frame,
    /// What the backbone makes of the frame.
    pub embedding: Embedding,
    /// The published head's prediction; none before anything was learned.
    pub prediction: Option<Prediction>,
    /// The time from the frame's arrival to its answer.
    pub latency: Duration,
}
