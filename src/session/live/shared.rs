//! The state that the threads of the live loop share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::answered_frame::AnsweredFrame;
use super::live_event::{Breakdown, LiveEvent, Watcher};
use super::liveness::{Liveness, Worker};
use super::lock::locked;
use super::recent::{FrameBudget, Recent};
use super::slot::Slot;
use super::status::{BackboneState, Meter, Progress};
use crate::event::Event;
use crate::session::network::Network;
use crate::vision::Frame;

/// The most unlabelled frames that wait to be stored.
const QUEUED_FRAMES: usize = 16;

/// The state that the threads share.
pub(super) struct Shared {
    pub(super) stopping: AtomicBool,
    pub(super) newest: Slot<(Frame, Instant)>,
    pub(super) recent: Mutex<Recent>,
    /// Unlabelled frames that wait to be stored, the oldest first.
    pub(super) kept: Mutex<VecDeque<Arc<AnsweredFrame>>>,
    pub(super) meter: Mutex<Meter>,
    /// The number of jobs that wait for the learning thread or are being done.
    pub(super) waiting: AtomicUsize,
    /// Bytes of the frames and pictures that queued jobs hold.
    pub(super) held: Arc<AtomicUsize>,
    /// The number of queued jobs for which training ends early.
    pub(super) pressing: AtomicUsize,
    /// Whether the learner's backbone is still being made, or could not be made.
    pub(super) is_without_backbone: AtomicBool,
    /// The backbone that is to answer from now on, until the inference thread takes it.
    pub(super) next_backbone: Mutex<Option<Network>>,
    /// The signs of life of the threads.
    pub(super) liveness: Arc<Liveness>,
    pub(super) frame_budget: FrameBudget,
    /// Errors of the engine or the provider in a row after which a thread gives up.
    most_failures: usize,
    watcher: Watcher,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("frame_budget", &self.frame_budget).finish_non_exhaustive()
    }
}

impl Shared {
    /// The state of a loop that has not started; `is_pending` says whether a backbone is still
    /// being made.
    pub(super) fn new(
        meter: Meter,
        frame_budget: FrameBudget,
        most_failures: usize,
        is_pending: bool,
        watcher: Watcher,
    ) -> Self {
        Self {
            stopping: AtomicBool::new(false),
            newest: Slot::default(),
            recent: Mutex::new(Recent::new(frame_budget.recent)),
            kept: Mutex::default(),
            meter: Mutex::new(meter),
            waiting: AtomicUsize::new(0),
            held: Arc::default(),
            pressing: AtomicUsize::new(0),
            is_without_backbone: AtomicBool::new(is_pending),
            next_backbone: Mutex::default(),
            liveness: Arc::default(),
            frame_budget,
            most_failures,
            watcher,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(super) fn tell(&self, event: LiveEvent) {
        (self.watcher)(event);
    }

    /// Tells that a thread cannot go on.
    pub(super) fn break_down(&self, thread: &'static str, reason: String) {
        self.tell(LiveEvent::Broken(Breakdown { thread, reason }));
    }

    /// Counts an error of the engine or the provider into `failures`, those in a row, and tells
    /// that the thread gives up once there are too many.
    pub(super) fn count_failure(&self, worker: Worker, failures: &mut usize, error: &crate::Error) {
        *failures += 1;
        if *failures == self.most_failures {
            let reason = format!("{failures} errors in a row (--most-failures), the last: {error}");
            self.break_down(worker.name(), reason);
        }
    }

    /// Tells that a frame could not be used.
    pub(super) fn tell_rejected(&self, name: String, reason: String) {
        self.tell(LiveEvent::Learner(Event::FrameRejected { name, reason }));
    }

    pub(super) fn set_backbone(&self, state: BackboneState, provider: Option<String>) {
        let mut meter = locked(&self.meter);
        meter.backbone = state.clone();
        meter.provider = provider.unwrap_or_else(|| meter.provider.clone());
        drop(meter);
        self.tell(LiveEvent::Backbone(state));
    }

    /// Queues an unlabelled frame to be stored; the oldest one is dropped if too many wait.
    pub(super) fn keep(&self, answered: Arc<AnsweredFrame>) {
        let mut kept = locked(&self.kept);
        kept.push_back(answered);
        let bytes: usize = kept.iter().map(|answered| answered.frame.rgb.len()).sum();
        if kept.len() > QUEUED_FRAMES || (bytes > self.frame_budget.waiting && kept.len() > 1) {
            kept.pop_front();
            locked(&self.meter).not_kept += 1;
        }
    }

    /// Notes how far the running consolidation is.
    pub(super) fn note_progress(&self, event: &Event) {
        let mut meter = locked(&self.meter);
        if let Event::TaskStarted { steps, .. } = event {
            meter.learning = Some(Progress { step: 0, of: *steps });
        } else if let Event::Trained { step, .. } = event {
            let of = meter.learning.map_or(*step, |progress| progress.of);
            meter.learning = Some(Progress { step: *step, of });
        }
    }
}
