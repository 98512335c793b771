//! The reading thread: frames go into the slot for the newest, at the pace at which they were taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::status::SourceState;
use super::{LiveEvent, Shared, locked};
use crate::event::Event;
use crate::vision::{Frame, FrameSource};
use crate::{Error, Result};

/// Opens a source, again and again.
pub(crate) type SourceOpener = Box<dyn FnMut() -> Result<Box<dyn FrameSource>> + Send>;

/// The longest wait for the next frame of a recording, whatever its times say.
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// Between two looks at whether to stop.
const NAP: Duration = Duration::from_millis(50);

pub(super) fn run(mut open: SourceOpener, repeats: bool, shared: &Arc<Shared>) {
    while !shared.is_stopping() {
        set(shared, SourceState::Opening);
        let end = match open() {
            Ok(mut source) => play(source.as_mut(), shared),
            Err(error) => Err(error),
        };
        match end {
            Ok(frames) if repeats && frames > 0 => {}
            Ok(_) => return set(shared, SourceState::Ended),
            Err(error) => return set(shared, SourceState::Failed { reason: error.to_string() }),
        }
    }
}

fn set(shared: &Shared, state: SourceState) {
    locked(&shared.meter).source = state.clone();
    shared.tell(LiveEvent::Source(state));
}

/// Plays to the end; gives the number of usable frames.
fn play(source: &mut dyn FrameSource, shared: &Shared) -> Result<usize> {
    let mut frames = 0;
    let start = Instant::now();
    let mut clock = Duration::ZERO;
    let mut last = 0;
    while !shared.is_stopping() {
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
                deliver(frame, shared);
            }
            Ok(None) => break,
            Err(Error::Frame { name, reason }) => {
                locked(&shared.meter).rejected += 1;
                shared.tell(LiveEvent::Learner(Event::FrameRejected { name, reason }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(frames)
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
        std::thread::sleep(left.min(NAP));
    }
}
