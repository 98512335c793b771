//! Typed facts about a run, for whoever watches: the terminal, a report, metrics. An API, so names
//! are stable.

use serde::Serialize;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A frame was seen: what the published head says of it.
    Frame {
        /// Frames so far, this one included.
        number: usize,
        /// File name or position.
        name: String,
        /// Class named, `None` for unknown or before anything was learned.
        class: Option<String>,
        /// Calibrated probability of the best class, 0..1.
        probability: f32,
        /// Novelty; above 1 the frame is unlike anything learned.
        novelty: f32,
        /// The label it came with.
        label: Option<String>,
        /// Frames per second so far.
        frames_per_sec: f64,
    },
    /// A frame could not be used; the stream goes on.
    FrameRejected {
        /// File name or position.
        name: String,
        /// Why.
        reason: String,
    },
    /// Learning of a task began.
    TaskStarted {
        /// Number of the task, from 0.
        task: usize,
        /// Names that are new in it.
        classes: Vec<String>,
        /// Labelled and unlabelled frames to learn from.
        frames: [usize; 2],
        /// Training steps to come.
        steps: usize,
    },
    /// The engine that trains was opened.
    Engine {
        /// Which engine on which device, and why.
        line: String,
    },
    /// Training steps were taken.
    Trained {
        /// Steps so far in this task.
        step: usize,
        /// Weighted total of the losses.
        total: f64,
        /// Mean per-dimension deviation of unit projections (collapse watch).
        deviation: f64,
    },
    /// Fewer random features than usual, so that learning stays below the memory limit.
    Narrowed {
        /// How many.
        random_features: usize,
        /// How many there would be without the limit.
        of: usize,
    },
    /// Closed forms have learned what came, and could answer, while training begins.
    ClosedForms {
        /// The best of them.
        head: &'static str,
        /// Its held-out accuracy, 0..1.
        accuracy: f64,
        /// Seconds since the consolidation began.
        learning_secs: f64,
    },
    /// Samples that were stored without latents have them now, from their thumbnails.
    LatentsGained {
        /// How many.
        gained: usize,
        /// How many were without.
        of: usize,
    },
    /// The tail is not trained; closed forms learn on the features that it gives now.
    TailStays {
        /// Why, and the way out.
        reason: String,
    },
    /// Training goes on from the checkpoint of a process that ended.
    Resumed {
        /// Steps that were taken before.
        step: usize,
        /// Steps that were meant.
        of: usize,
    },
    /// Training ended early because something else waited for the learner.
    CutShort {
        /// Steps taken.
        step: usize,
        /// Steps that were meant.
        of: usize,
    },
    /// Training of a candidate head failed; the others stand.
    CandidateFailed {
        /// Which head.
        head: &'static str,
        /// Why.
        reason: String,
    },
    /// A consolidation was published or rolled back.
    Consolidated {
        /// Number of the task, from 0.
        task: usize,
        /// Whether the new heads serve.
        published: bool,
        /// Which head was chosen.
        head: &'static str,
        /// Held-out accuracy of that head, 0..1; `None` if nothing was new.
        accuracy: Option<f64>,
        /// Held-out accuracy of each candidate, 0..1.
        candidates: Vec<(&'static str, f64)>,
        /// Held-out samples behind these figures.
        held_out: usize,
        /// Why, in a sentence.
        reason: String,
        /// Seconds it took.
        learning_secs: f64,
    },
}

/// Takes events as they happen. Must return quickly: the stream waits.
pub trait EventSink {
    /// Takes one event.
    fn emit(&mut self, event: &Event);
}

impl<F: FnMut(&Event)> EventSink for F {
    fn emit(&mut self, event: &Event) {
        self(event);
    }
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl EventSink for Discard {
    fn emit(&mut self, _event: &Event) {}
}
