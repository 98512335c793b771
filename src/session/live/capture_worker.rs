//! The capture thread: it puts each frame of the source into the slot for the newest one, at the
//! pace at which the frames were taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live_event::LiveEvent;
use super::lock::locked;
use super::shared::Shared;
use super::status::SourceState;
use crate::vision::{Frame, FrameSource};
use crate::{Error, Result};

/// Opens the source; it is called again for each repetition.
pub(crate) type SourceOpener = Box<dyn FnMut() -> Result<Box<dyn FrameSource>> + Send>;

/// The longest wait for the next frame of a recording, whatever its timestamps say.
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// The time between two checks of whether to stop.
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

/// Plays the source to its end and returns the number of usable frames.
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
                shared.tell_rejected(name, reason);
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
