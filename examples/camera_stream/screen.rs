//! What the example shows while it runs.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kaizen_bench::report::{percent, say};
use kaizen_edge::Event;
use kaizen_edge::low_level::event::EventSink;

use crate::task_curves::TaskCurves;

/// The terminal as an event sink.
pub(crate) struct Screen {
    quiet: bool,
    live: bool,
    frames: ProgressBar,
    training: ProgressBar,
    curves: TaskCurves,
    first_rejected: Option<String>,
}

impl Screen {
    pub(crate) fn new(quiet: bool, frames: Option<usize>) -> Self {
        let live = std::io::stderr().is_terminal() && !quiet;
        let bar = if live { ProgressBar::new(frames.unwrap_or(0) as u64) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} frames, {eta} left  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            quiet,
            live,
            frames: bar,
            training: ProgressBar::hidden(),
            curves: TaskCurves::default(),
            first_rejected: None,
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        if self.live {
            self.frames.println(text);
        } else {
            say(text);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.frames.finish_and_clear();
    }

    /// The first frame that could not be used, and why.
    pub(crate) fn first_rejected(&self) -> Option<&str> {
        self.first_rejected.as_deref()
    }

    pub(crate) fn curves(&self) -> &TaskCurves {
        &self.curves
    }

    fn frame(&self, event: &Event) {
        let Event::Frame { number, name, class, probability, novelty, label, frames_per_sec } = event else {
            return;
        };
        let seen = match class {
            Some(class) => format!("{class} {}", percent(f64::from(*probability))),
            None => "unknown".to_owned(),
        };
        let label = label.as_ref().map_or_else(String::new, |label| format!("  (labelled {label})"));
        let novelty = if novelty.is_finite() {
            format!("novelty {novelty:.2}")
        } else {
            "nothing learned yet".to_owned()
        };
        let text = format!("{seen}  {novelty}  {frames_per_sec:.1} frames/s{label}");
        if self.live {
            self.frames.set_position(*number as u64);
            self.frames.set_message(text);
        } else if !self.quiet && number % 25 == 1 {
            say(&format!("frame {number:5} {name}: {text}"));
        }
    }
}

impl EventSink for Screen {
    fn emit(&mut self, event: &Event) {
        match event {
            Event::Frame { .. } => self.frame(event),
            Event::FrameRejected { name, reason } => {
                let text = format!("{name}: {reason}");
                self.line(&format!("frame rejected: {text}"));
                self.first_rejected.get_or_insert(text);
            }
            Event::TaskStarted { task, classes, frames: [labelled, unlabelled], steps } => {
                let news = if classes.is_empty() { "nothing new".to_owned() } else { classes.join(", ") };
                self.line(&format!(
                    "task {task}: learning {news} from {labelled} labelled and {unlabelled} unlabelled frames"
                ));
                self.curves.begin_task();
                if self.live {
                    self.training = ProgressBar::new(*steps as u64);
                    if let Ok(style) = ProgressStyle::with_template(
                        "  training {bar:30} {pos}/{len} steps, {eta} left  {msg}",
                    ) {
                        self.training.set_style(style);
                    }
                }
            }
            Event::Trained { step, total, deviation } => {
                self.training.set_position(*step as u64);
                self.training.set_message(format!("loss {total:.3}, projection deviation {deviation:.4}"));
                self.curves.add_loss(*step, *total);
            }
            Event::ClosedForms { head, accuracy, learning_secs } => {
                self.curves.add_accuracy(*learning_secs, *accuracy);
                self.line(&format!("  {head} {} after {learning_secs:.1} s; training", percent(*accuracy)));
            }
            Event::TailStays { reason } => self.line(&format!("  the tail stays as it is: {reason}")),
            Event::CandidateFailed { head, reason } => {
                self.line(&format!("  {head} head left out: {reason}"));
            }
            Event::Consolidated { published, head, accuracy, candidates, reason, learning_secs, .. } => {
                self.training.finish_and_clear();
                if let Some(accuracy) = accuracy {
                    self.curves.add_accuracy(*learning_secs, *accuracy);
                }
                let scores: Vec<_> =
                    candidates.iter().map(|(name, score)| format!("{name} {}", percent(*score))).collect();
                let verb = if *published { "published" } else { "kept the old heads over" };
                self.line(&format!(
                    "  {verb} {head} in {learning_secs:.1} s: {} ({reason})",
                    scores.join(", ")
                ));
            }
            _ => {}
        }
    }
}
