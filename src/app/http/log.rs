//! The log of the live loop.

use crate::app::events;
use crate::app::log;
use crate::event::Event;
use crate::session::live::{BackboneState, Breakdown, LiveEvent, SourceState};

/// Logs an event of the live loop, unless it is one of those that come many times a second.
pub(crate) fn tell(event: &LiveEvent) {
    match event {
        LiveEvent::Answered(_) | LiveEvent::Changed(_) => {}
        LiveEvent::Learner(Event::Engine { .. } | Event::Trained { .. }) => {}
        LiveEvent::Learner(event) => events::tell(event),
        LiveEvent::Source(state) => {
            let message = match state {
                SourceState::Opening => return,
                SourceState::Playing => "the source plays",
                SourceState::Waiting { reason } => &format!("{reason}; it is tried again"),
                SourceState::Ended { .. } => "the source came to its end",
                SourceState::Failed { reason } => reason,
            };
            log::entry("source", message, state);
        }
        LiveEvent::Broken(breakdown) => {
            let Breakdown { thread, reason } = breakdown;
            log::entry("broken", &format!("thread {thread} cannot go on: {reason}"), breakdown);
        }
        LiveEvent::Backbone(state) => log::entry("backbone", &backbone_sentence(state), state),
    }
}

fn backbone_sentence(state: &BackboneState) -> String {
    match state {
        BackboneState::Building => "TensorRT builds its engine, which takes minutes; until then CUDA \
            answers, and nothing is taught or learned"
            .to_owned(),
        BackboneState::Ready => "the backbone that was awaited answers from now on".to_owned(),
        BackboneState::Failed { reason } => {
            format!(
                "the backbone that was awaited could not be made, so nothing is taught or learned: {reason}"
            )
        }
    }
}
