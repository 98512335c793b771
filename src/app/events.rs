//! The events of learning in sentences, for the log and for results.

use super::log;
use super::table::percent;
use crate::event::{Event, EventSink};
use crate::session::Consolidation;

/// Logs an event, if there is a sentence for it.
pub(super) fn tell(event: &Event) {
    if let Some(message) = sentence(event) {
        let fields = serde_json::to_value(event).unwrap_or_default();
        log::entry(fields["event"].as_str().unwrap_or("event"), &message, &fields);
    }
}

fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Frame { .. } => return None,
        Event::FrameRejected { name, reason } => format!("frame {name} is left out: {reason}"),
        Event::TaskStarted { task, classes, frames: [labelled, unlabelled], steps } => {
            let news = if classes.is_empty() { "no new class".to_owned() } else { classes.join(", ") };
            format!(
                "task {task}: {news}; {labelled} labelled and {unlabelled} unlabelled frames, {steps} steps"
            )
        }
        Event::Engine { line } => line.clone(),
        Event::Trained { step, total, .. } => format!("step {step}: loss {total:.3}"),
        Event::Narrowed { random_features, of } => {
            format!("{random_features} instead of {of} random features, to stay below the memory limit")
        }
        Event::ClosedForms { head, accuracy, learning_secs } => {
            format!("{head} has {} held out after {learning_secs:.1} s; training begins", percent(*accuracy))
        }
        Event::LatentsGained { gained, of } => {
            format!("{gained} of {of} samples without latents have them now, from their thumbnails")
        }
        Event::TailStays { reason } => format!("the tail stays as it is: {reason}"),
        Event::Resumed { step, of } => format!("training goes on after {step} of {of} steps"),
        Event::CutShort { step, of } => {
            format!("training ended after {step} of {of} steps: other work waits")
        }
        Event::CandidateFailed { head, reason } => format!("{head} is out: {reason}"),
        Event::Consolidated { learning_secs, .. } => {
            format!("{}, after {learning_secs:.1} s", verdict(Some(event)))
        }
    })
}

/// The outcome of a consolidation in a sentence; there is no event if no class is left.
fn verdict(event: Option<&Event>) -> String {
    let Some(Event::Consolidated { published, head, candidates, reason, .. }) = event else {
        return "nothing is left to answer from".to_owned();
    };
    let figures: Vec<_> =
        candidates.iter().map(|(name, value)| format!("{name} {}", percent(*value))).collect();
    let figures =
        if figures.is_empty() { String::new() } else { format!(" (held out: {})", figures.join(", ")) };
    match (published, candidates.is_empty()) {
        (true, _) => format!("published {head}: {reason}{figures}"),
        (false, true) => format!("nothing new: {reason}"),
        (false, false) => format!("not published: {reason}{figures}"),
    }
}

/// Logs the events of a command that learns, and keeps the last verdict for its result.
#[derive(Default)]
pub(super) struct Progress {
    last: Option<Event>,
}

impl Progress {
    /// The last [`Event::Consolidated`].
    pub(super) fn last(&self) -> Option<&Event> {
        self.last.as_ref()
    }

    /// The last verdict in a sentence.
    pub(super) fn verdict(&self) -> String {
        verdict(self.last())
    }
}

impl EventSink for Progress {
    fn emit(&mut self, event: &Event) {
        if matches!(event, Event::Consolidated { .. }) {
            self.last = Some(event.clone());
        } else {
            tell(event);
        }
    }
}

/// Whether the guard turned every candidate down.
pub(super) fn was_rolled_back(outcome: &Consolidation) -> bool {
    !outcome.published && !outcome.candidates.is_empty()
}
