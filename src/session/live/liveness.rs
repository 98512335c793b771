//! Whether the threads of the live loop go on. Each of them says when it moves and by when it will
//! move again; whoever asks takes no lock, so a thread that holds one cannot hide.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest time without a new frame of a source that plays; a camera that is silent for ten
/// seconds has failed by itself.
const FRAME: Duration = Duration::from_secs(12);
/// The longest time that the capture thread may take for a frame or an attempt to get one.
const CAPTURE: Duration = Duration::from_secs(12);
/// The longest time that an answer may take.
const INFER: Duration = Duration::from_secs(12);
/// The longest time between two signs of progress of a job.
const LEARN: Duration = Duration::from_secs(300);
/// The value of [`Beat::due`] of a thread that is not awaited.
const NEVER: u64 = u64::MAX;

/// A thread of the live loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    /// Reads frames.
    Capture,
    /// Answers them.
    Infer,
    /// Stores, teaches and learns.
    Learn,
}

impl Worker {
    const ALL: [Self; 3] = [Self::Capture, Self::Infer, Self::Learn];

    /// The name of the thread.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Capture => "kaizen-capture",
            Self::Infer => "kaizen-infer",
            Self::Learn => "kaizen-learn",
        }
    }

    fn allowance(self) -> Duration {
        match self {
            Self::Capture => CAPTURE,
            Self::Infer => INFER,
            Self::Learn => LEARN,
        }
    }
}

/// A thread that has not moved for longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    worker: Worker,
    /// The time since it moved last.
    still: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} has not moved for {:.0} s", self.worker.name(), self.still.as_secs_f64())
    }
}

/// The last sign of life of a thread, in milliseconds since the start.
#[derive(Debug)]
struct Beat {
    last: AtomicU64,
    /// The time by which the next one is due.
    due: AtomicU64,
}

/// The signs of life of the three threads, and the time of the newest frame.
#[derive(Debug)]
pub(crate) struct Liveness {
    start: Instant,
    beats: [Beat; 3],
    newest_frame: AtomicU64,
}

impl Default for Liveness {
    fn default() -> Self {
        let beat = || Beat { last: AtomicU64::new(0), due: AtomicU64::new(NEVER) };
        Self { start: Instant::now(), beats: [beat(), beat(), beat()], newest_frame: AtomicU64::new(0) }
    }
}

impl Liveness {
    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn beat_of(&self, worker: Worker) -> &Beat {
        let [capture, infer, learn] = &self.beats;
        match worker {
            Worker::Capture => capture,
            Worker::Infer => infer,
            Worker::Learn => learn,
        }
    }

    /// Says that a thread moves.
    pub(super) fn beat(&self, worker: Worker) {
        self.beat_within(worker, worker.allowance());
    }

    /// Says that a thread moves, and will move again within `allowance`.
    pub(super) fn beat_within(&self, worker: Worker, allowance: Duration) {
        let (beat, now) = (self.beat_of(worker), self.now());
        beat.last.store(now, Ordering::Relaxed);
        beat.due.store(now.saturating_add(millis(allowance)), Ordering::Relaxed);
    }

    /// Says that a thread has done all that it had to do.
    pub(super) fn end(&self, worker: Worker) {
        self.beat_of(worker).due.store(NEVER, Ordering::Relaxed);
    }

    /// Says that the source gave a frame.
    pub(super) fn saw_frame(&self) {
        self.newest_frame.store(self.now(), Ordering::Relaxed);
    }

    /// The time since the newest frame, or since the start if there was none.
    pub(super) fn frame_age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.newest_frame.load(Ordering::Relaxed)))
    }

    /// Whether the source has given no frame for longer than one that plays may.
    pub(super) fn is_without_frames(&self) -> bool {
        self.frame_age() > FRAME
    }

    /// A thread that should have moved by now, if there is one.
    pub(crate) fn stall(&self) -> Option<Stall> {
        let now = self.now();
        Worker::ALL.into_iter().find_map(|worker| {
            let Beat { last, due } = self.beat_of(worker);
            let still = Duration::from_millis(now.saturating_sub(last.load(Ordering::Relaxed)));
            (due.load(Ordering::Relaxed) < now).then_some(Stall { worker, still })
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_move_in_time_is_named_until_it_moves_again() {
        let liveness = Liveness::default();
        assert_eq!(liveness.stall(), None, "nobody is awaited before the start");
        liveness.beat(Worker::Capture);
        liveness.beat_within(Worker::Learn, Duration::ZERO);
        std::thread::sleep(Duration::from_millis(20));
        let stall = liveness.stall().unwrap();
        assert!(stall.worker == Worker::Learn && stall.still >= Duration::from_millis(20), "{stall:?}");
        assert_eq!(stall.to_string(), "thread kaizen-learn has not moved for 0 s");
        liveness.beat(Worker::Learn);
        assert_eq!(liveness.stall(), None);
        liveness.beat_within(Worker::Infer, Duration::ZERO);
        liveness.end(Worker::Infer);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(liveness.stall(), None, "it is done");
    }
}
