//! What a consolidation tells its caller while it runs, and what its caller decides about it.

use std::time::Instant;

use super::power::Power;
use crate::event::{Event, EventSink};

/// Progress, pauses and interruption of a consolidation.
pub struct TrainingControl<'a> {
    events: &'a mut dyn EventSink,
    power: Power,
    /// Whether something else waits for the learner; training then ends with the steps that it has
    /// taken.
    is_awaited: &'a (dyn Fn() -> bool + Sync),
    /// Whether the best closed form answers as soon as it passes the guard, before training ends.
    answers_early: bool,
    since: Instant,
}

impl<'a> TrainingControl<'a> {
    /// Training that takes all of its steps without pauses.
    pub fn new(events: &'a mut dyn EventSink) -> Self {
        Self {
            events,
            power: Power::Full,
            is_awaited: &|| false,
            answers_early: false,
            since: Instant::now(),
        }
    }

    /// Training beside prediction: it pauses as `power` says, ends early when `is_awaited`, and
    /// publishes a closed form that answers until it is done.
    #[cfg(feature = "serve")]
    pub(super) fn beside_prediction(self, power: Power, is_awaited: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { power, is_awaited, answers_early: true, ..self }
    }

    /// A control for work that always runs to its end and publishes nothing before.
    pub(super) fn uninterrupted(&mut self) -> TrainingControl<'_> {
        TrainingControl { power: self.power, ..TrainingControl::new(&mut *self.events) }
    }

    pub(super) fn answers_early(&self) -> bool {
        self.answers_early
    }

    pub(super) fn is_awaited(&self) -> bool {
        (self.is_awaited)()
    }

    pub(super) fn emit(&mut self, event: &Event) {
        self.events.emit(event);
    }

    /// Marks the beginning of a piece of work.
    pub(super) fn start_work(&mut self) {
        self.since = Instant::now();
    }

    /// Pauses for the work done since the last pause.
    pub(super) fn pause(&mut self) {
        std::thread::sleep(self.power.pause(self.since.elapsed()));
        self.start_work();
    }
}

impl std::fmt::Debug for TrainingControl<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingControl").field("power", &self.power).finish_non_exhaustive()
    }
}
