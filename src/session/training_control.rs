//! What a consolidation tells its caller while it runs, and what its caller decides about it.

use std::time::Instant;

use rayon::ThreadPool;

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
    /// The threads that training steps run on, if not on the caller's own.
    step_threads: Option<&'a ThreadPool>,
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
            step_threads: None,
            since: Instant::now(),
        }
    }

    /// Training beside prediction: it pauses as `power` says, ends early when `is_awaited`, takes
    /// its steps on `step_threads`, and publishes a closed form that answers until it is done.
    #[cfg(feature = "serve")]
    pub(super) fn beside_prediction(
        self,
        power: Power,
        is_awaited: &'a (dyn Fn() -> bool + Sync),
        step_threads: &'a ThreadPool,
    ) -> Self {
        Self { power, is_awaited, answers_early: true, step_threads: Some(step_threads), ..self }
    }

    /// A control for work that always runs to its end and publishes nothing before.
    pub(super) fn uninterrupted(&mut self) -> TrainingControl<'_> {
        let Self { power, step_threads, .. } = *self;
        TrainingControl { power, step_threads, ..TrainingControl::new(&mut *self.events) }
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

    /// Takes training steps on the threads that they are to run on.
    pub(super) fn take_steps<T: Send>(&self, steps: impl FnOnce() -> T + Send) -> T {
        match self.step_threads {
            Some(threads) => threads.install(steps),
            None => steps(),
        }
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
