//! The log of what happens, on standard error: sentences, or one JSON object a line.

use serde_json::{Value, json};

use crate::app::console::{narrowed, percent};
use crate::event::Event;
use crate::session::live::{BackboneState, LiveEvent, SourceState};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::app) enum LogFormat {
    /// Sentences.
    Text,
    /// One JSON object a line: `at_millis`, `event`, `message`, and what belongs to the event.
    Json,
}

/// Writes the log.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Log {
    format: LogFormat,
    quiet: bool,
}

impl Log {
    pub(in crate::app) fn new(format: LogFormat, quiet: bool) -> Self {
        Self { format, quiet }
    }

    /// One entry: its kind, a sentence, and its fields.
    pub(in crate::app) fn say(&self, event: &str, message: &str, fields: &Value) {
        if self.quiet {
            return;
        }
        match self.format {
            LogFormat::Text => eprintln!("{message}"),
            LogFormat::Json => eprintln!("{}", entry(event, message, fields)),
        }
    }

    /// Tells what happened in the live loop; answers of frames are not told.
    pub(in crate::app) fn tell(&self, event: &LiveEvent) {
        match event {
            LiveEvent::Learner(event) => {
                if let Some(message) = sentence(event) {
                    let fields = serde_json::to_value(event).unwrap_or_default();
                    let name = fields["event"].as_str().unwrap_or("event").to_owned();
                    self.say(&name, &message, &fields);
                }
            }
            LiveEvent::Source(state) => {
                let message = match state {
                    SourceState::Opening => return,
                    SourceState::Playing => "the source plays".to_owned(),
                    SourceState::Ended => "the source came to its end".to_owned(),
                    SourceState::Failed { reason } => reason.clone(),
                };
                self.say("source", &message, &serde_json::to_value(state).unwrap_or_default());
            }
            LiveEvent::Backbone(state) => {
                let message = match state {
                    BackboneState::Building => {
                        "TensorRT builds its engine, which takes minutes; CUDA answers meanwhile, \
                                                nothing is taught or learned"
                            .to_owned()
                    }
                    BackboneState::Ready => "the backbone that was awaited answers from now on".to_owned(),
                    BackboneState::Failed { reason } => format!(
                        "the backbone that was awaited could not be made, so nothing is taught or learned: {reason}"
                    ),
                };
                self.say("backbone", &message, &serde_json::to_value(state).unwrap_or_default());
            }
            LiveEvent::Answered(_) | LiveEvent::Changed(_) => {}
        }
    }
}

fn entry(event: &str, message: &str, fields: &Value) -> Value {
    let mut entry = json!({ "at_millis": now_millis(), "event": event, "message": message });
    if let (Some(entry), Some(fields)) = (entry.as_object_mut(), fields.as_object()) {
        for (name, value) in fields.iter().filter(|(name, _)| *name != "event") {
            entry.insert(name.clone(), value.clone());
        }
    }
    entry
}

fn now_millis() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn sentence(event: &Event) -> Option<String> {
    match event {
        Event::FrameRejected { name, reason } => Some(format!("frame {name} is left out: {reason}")),
        Event::TaskStarted { task, classes, frames: [labelled, unlabelled], steps } => {
            let news = if classes.is_empty() { "no new class".to_owned() } else { classes.join(", ") };
            Some(format!(
                "task {task}: {news}; {labelled} labelled and {unlabelled} unlabelled frames, {steps} steps"
            ))
        }
        Event::Narrowed { random_features, of } => Some(narrowed(*random_features, *of)),
        Event::CutShort { step, of } => {
            Some(format!("training ended after {step} of {of} steps: other work waits"))
        }
        Event::CandidateFailed { head, reason } => Some(format!("{head} is out: {reason}")),
        Event::Consolidated { published, head, candidates, reason, learning_secs, .. } => {
            let figures: Vec<_> =
                candidates.iter().map(|(name, value)| format!("{name} {}", percent(*value))).collect();
            let verdict = match (published, figures.is_empty()) {
                (true, _) => format!("published {head}"),
                (false, true) => "nothing new".to_owned(),
                (false, false) => "not published".to_owned(),
            };
            Some(format!("{verdict} after {learning_secs:.1} s: {reason} ({})", figures.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_entry_is_one_line_with_the_fields_of_the_event() {
        let event = Event::FrameRejected { name: "a\nb".to_owned(), reason: "cut".to_owned() };
        let fields = serde_json::to_value(&event).unwrap();
        let line = entry("frame_rejected", &sentence(&event).unwrap(), &fields).to_string();
        assert!(!line.contains('\n'));
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&back["event"], &back["reason"]), (&"frame_rejected".into(), &"cut".into()));
        assert!(back["at_millis"].as_u64().unwrap() > 0 && back["message"].is_string());
    }
}
