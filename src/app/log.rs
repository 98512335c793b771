//! The log on standard error: sentences for people, or one JSON object a line for programs.

#[cfg(feature = "serve")]
mod background;

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "serve")]
pub(super) use background::{Background, flush};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// Sentences
    Text,
    /// One JSON object a line: `at_millis`, `event`, `message`, and the fields of the event
    Json,
}

/// Starts the log of this process. A quiet log has only warnings; each step of `verbosity` adds
/// more.
pub(super) fn start(format: LogFormat, is_quiet: bool, verbosity: u8) {
    let (own, others) = match (is_quiet, verbosity) {
        (true, _) => (LevelFilter::WARN, LevelFilter::OFF),
        (false, 0) => (LevelFilter::INFO, LevelFilter::OFF),
        (false, 1) => (LevelFilter::DEBUG, LevelFilter::WARN),
        (false, 2..) => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let filter = Targets::new().with_target(env!("CARGO_CRATE_NAME"), own).with_default(others);
    let subscriber = tracing_subscriber::registry().with(Lines(format).with_filter(filter));
    // A program that has a log of its own keeps it.
    let _ = subscriber.try_init();
}

/// Logs what happened: in a word for programs, in a sentence for people, and with its fields.
pub(super) fn entry(event: &str, message: &str, fields: &impl Serialize) {
    tracing::info!(event, fields = serde_json::to_string(fields).unwrap_or_default(), "{message}");
}

/// Writes each entry as a line.
struct Lines(LogFormat);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::now();
        event.record(&mut entry);
        let line = match self.0 {
            LogFormat::Text => entry.0["message"].as_str().unwrap_or_default().to_owned(),
            LogFormat::Json => Value::Object(entry.0).to_string(),
        };
        write(line);
    }
}

/// Writes a line, or queues it if a thread of its own writes.
fn write(line: String) {
    #[cfg(feature = "serve")]
    if let Some(queue) = background::QUEUE.get() {
        return queue.push(line);
    }
    // Nobody can be told that standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// An entry of the log as JSON.
struct Entry(Map<String, Value>);

impl Entry {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let start = [("at_millis", at_millis.into()), ("event", "log".into()), ("message", "".into())];
        Self(start.map(|(name, value): (_, Value)| (name.to_owned(), value)).into_iter().collect())
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match serde_json::from_str(value) {
            // The fields of an event are one field of the log, which knows no lists.
            Ok(Value::Object(fields)) if field.name() == "fields" => {
                self.0.extend(fields.into_iter().filter(|(name, _)| name != "event"));
            }
            _ => drop(self.0.insert(field.name().to_owned(), value.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entry as it would be written.
    fn written(event: &str, message: &str, fields: &impl Serialize) -> Map<String, Value> {
        struct Taken(std::sync::Arc<std::sync::Mutex<Map<String, Value>>>);
        impl<S: tracing::Subscriber> Layer<S> for Taken {
            fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
                let mut entry = Entry::now();
                event.record(&mut entry);
                *self.0.lock().unwrap() = entry.0;
            }
        }
        let taken = std::sync::Arc::default();
        let subscriber = tracing_subscriber::registry().with(Taken(std::sync::Arc::clone(&taken)));
        tracing::subscriber::with_default(subscriber, || entry(event, message, fields));
        taken.lock().unwrap().clone()
    }

    #[test]
    fn an_entry_has_its_time_its_word_its_sentence_and_the_fields_of_the_event() {
        let event = crate::event::Event::FrameRejected { name: "a\nb".to_owned(), reason: "cut".to_owned() };
        let entry = written("frame_rejected", "a frame is \"left out\"", &event);
        let names: Vec<_> = entry.keys().map(String::as_str).collect();
        assert_eq!(names, ["at_millis", "event", "message", "name", "reason"]);
        assert!(entry["at_millis"].as_u64().unwrap() > 1_600_000_000_000);
        assert_eq!(entry["event"], "frame_rejected");
        assert_eq!(entry["message"], "a frame is \"left out\"");
        assert_eq!((&entry["name"], &entry["reason"]), (&"a\nb".into(), &"cut".into()));
        assert!(!Value::Object(entry).to_string().contains('\n'));
        let entry = written("stopped", "", &serde_json::json!({ "not_done": ["a lesson"], "count": 1 }));
        assert_eq!((&entry["not_done"][0], &entry["count"]), (&"a lesson".into(), &1.into()));
    }
}
