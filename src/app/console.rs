//! What a consolidation reports, on standard error.

use crate::event::{Event, EventSink};
use crate::session::Consolidation;

/// Tells events as they happen and keeps the last verdict.
pub(super) struct Console {
    quiet: bool,
    last: Option<Event>,
}

impl Console {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, last: None }
    }

    /// The last [`Event::Consolidated`].
    pub(super) fn last(&self) -> Option<&Event> {
        self.last.as_ref()
    }

    /// The last verdict in a sentence.
    pub(super) fn verdict(&self) -> String {
        let Some(Event::Consolidated { published, head, candidates, reason, .. }) = &self.last else {
            return "nothing is left to answer from".to_owned();
        };
        let figures: Vec<_> =
            candidates.iter().map(|(name, value)| format!("{name} {}", percent(*value))).collect();
        let candidates =
            if figures.is_empty() { String::new() } else { format!(" (held out: {})", figures.join(", ")) };
        match (published, candidates.is_empty()) {
            (true, _) => format!("published {head}: {reason}{candidates}"),
            (false, true) => format!("nothing new: {reason}"),
            (false, false) => format!("not published: {reason}{candidates}"),
        }
    }

    /// Whether the guard turned every candidate down.
    pub(super) fn was_rolled_back(&self, outcome: &Consolidation) -> bool {
        !outcome.published && !outcome.candidates.is_empty()
    }
}

impl EventSink for Console {
    fn emit(&mut self, event: &Event) {
        let line = match event {
            Event::TaskStarted { task, classes, frames: [labelled, unlabelled], steps } => {
                let news = if classes.is_empty() { "no new class".to_owned() } else { classes.join(", ") };
                Some(format!(
                    "task {task}: {news}; {labelled} labelled and {unlabelled} unlabelled images, {steps} steps"
                ))
            }
            Event::Engine { line } => Some(line.clone()),
            Event::Trained { step, total, .. } => Some(format!("step {step}: loss {total:.3}")),
            Event::Narrowed { random_features, of } => Some(narrowed(*random_features, *of)),
            Event::CandidateFailed { head, reason } => Some(format!("{head} is out: {reason}")),
            _ => None,
        };
        if let Some(line) = line.filter(|_| !self.quiet) {
            eprintln!("{line}");
        }
        if matches!(event, Event::Consolidated { .. }) {
            self.last = Some(event.clone());
        }
    }
}

/// What is said of fewer random features than usual.
pub(super) fn narrowed(random_features: usize, of: usize) -> String {
    format!("{random_features} instead of {of} random features, to stay below the memory limit")
}

/// `fraction` as percent with one decimal (`81.2%`); `–` if it is not finite.
pub(super) fn percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.1}%", 100.0 * fraction) } else { "–".to_owned() }
}
