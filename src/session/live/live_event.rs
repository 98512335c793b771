//! The events of the live loop.

use std::sync::Arc;

use super::answered_frame::AnsweredFrame;
use super::status::{BackboneState, SourceState};
use crate::event::Event;

/// Takes the events of the live loop.
pub(crate) type Watcher = Arc<dyn Fn(LiveEvent) + Send + Sync>;

/// An event of the live loop.
#[derive(Clone, Debug)]
pub(crate) enum LiveEvent {
    /// A frame was answered.
    Answered(Arc<AnsweredFrame>),
    /// The learner reports something, or a frame was rejected.
    Learner(Event),
    /// Labels, samples or versions in the state changed.
    Changed(&'static str),
    /// The source began, ended or failed.
    Source(SourceState),
    /// A backbone is being made, answers, or failed.
    Backbone(BackboneState),
    /// A thread cannot go on; the program is to be started again.
    Broken(Breakdown),
}

/// The end of a thread that should have gone on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Breakdown {
    /// The name of the thread.
    pub thread: &'static str,
    /// The reason.
    pub reason: String,
}
