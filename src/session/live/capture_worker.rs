//! The capture thread: it puts each frame of the source into the slot for the newest one, at the
//! pace at which the frames were taken. A source that is not there yet or was lost, and that may
//! come later, is opened again with growing pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live_event::LiveEvent;
use super::liveness::Worker;
use super::lock::locked;
use super::shared::Shared;
use super::status::SourceState;
use crate::vision::{Frame, FrameSource};
use crate::{Error, Result};

/// The source of the live loop.
pub(crate) struct LiveSource {
    /// Opens the source; called again for each repetition and each attempt.
    pub open: Box<dyn FnMut() -> Result<Box<dyn FrameSource>> + Send>,
    /// Tells of a source that cannot be opened or was lost whether it may be there later.
    pub may_come_later: Box<dyn Fn() -> bool + Send>,
    /// Whether a source that ends is opened again.
    pub repeats: bool,
}

/// The longest wait for the next frame of a recording, whatever its timestamps say.
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// The time between two checks of whether to stop.
const NAP: Duration = Duration::from_millis(50);
/// The pause before a source is tried again, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time that opening a source may take: a folder of many files is listed.
const OPENING: Duration = Duration::from_secs(60);

pub(super) fn run(mut source: LiveSource, shared: &Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    set(shared, SourceState::Opening);
    while !shared.is_stopping() {
        shared.liveness.beat_within(Worker::Capture, OPENING);
        let (frames, end) = match (source.open)() {
            Ok(mut opened) => play(opened.as_mut(), shared),
            Err(error) => (0, Err(error)),
        };
        if frames > 0 {
            pause = FIRST_PAUSE;
        }
        let lost = match end {
            Ok(_) if shared.is_stopping() => return,
            Ok(End::OfRecording) if source.repeats && frames > 0 => continue,
            Ok(End::OfRecording) => return set(shared, SourceState::Ended { is_expected: true }),
            Ok(End::OfStream) if source.repeats => "it ended".to_owned(),
            Ok(End::OfStream) => return set(shared, SourceState::Ended { is_expected: false }),
            Err(error) => error.to_string(),
        };
        if !(source.may_come_later)() {
            return set(shared, SourceState::Failed { reason: lost });
        }
        set(shared, SourceState::Waiting { reason: lost });
        wait_until(Instant::now() + pause, shared);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

fn set(shared: &Shared, state: SourceState) {
    locked(&shared.meter).source = state.clone();
    shared.tell(LiveEvent::Source(state));
}

/// The kind of source that reached its end.
enum End {
    /// A film, a recording or a folder, which is meant to end.
    OfRecording,
    /// A camera or a stream.
    OfStream,
}

/// Plays the source to its end and returns the number of usable frames.
fn play(source: &mut dyn FrameSource, shared: &Shared) -> (usize, Result<End>) {
    let mut frames = 0;
    let start = Instant::now();
    let mut clock = Duration::ZERO;
    let mut last = 0;
    while !shared.is_stopping() {
        shared.liveness.beat(Worker::Capture);
        match source.next_frame() {
            Ok(Some(frame)) => {
                if frames == 0 {
                    set(shared, SourceState::Playing);
                    last = frame.timestamp_millis;
                }
                if !source.is_live() {
                    clock +=
                        Duration::from_millis(frame.timestamp_millis.saturating_sub(last)).min(LONGEST_GAP);
                    last = frame.timestamp_millis;
                    wait_until(start + clock, shared);
                }
                frames += 1;
                shared.liveness.saw_frame();
                deliver(frame, shared);
            }
            Ok(None) => break,
            Err(Error::Frame { name, reason }) => {
                locked(&shared.meter).rejected += 1;
                shared.tell_rejected(name, reason);
            }
            Err(error) => return (frames, Err(error)),
        }
    }
    (frames, Ok(if source.is_live() { End::OfStream } else { End::OfRecording }))
}

fn deliver(frame: Frame, shared: &Shared) {
    if shared.newest.put((frame, Instant::now())) {
        locked(&shared.meter).dropped += 1;
    }
}

fn wait_until(due: Instant, shared: &Shared) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        if shared.is_stopping() {
            return;
        }
        shared.liveness.beat(Worker::Capture);
        std::thread::sleep(left.min(NAP));
    }
}
