//! The messages to systemd (`Type=notify`, `WatchdogSec`): ready, alive, stopping. Without a
//! systemd that asks for them, nothing is sent.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};

use sd_notify::NotifyState;

use crate::session::live::Liveness;

/// The thread that tells systemd that the program lives. It shares no lock and no pool with
/// anything else, and ends when this is dropped.
pub(super) struct Watchdog {
    _end: Option<SyncSender<()>>,
}

impl Watchdog {
    /// Says that connections are accepted; from then on, at once and twice in each period that the
    /// watchdog allows, that every thread of the live loop goes on. While one is stuck nothing is
    /// said, and systemd restarts the service.
    ///
    /// # Errors
    /// An error if the thread cannot be started.
    pub(super) fn start(liveness: Arc<Liveness>) -> std::io::Result<Self> {
        tell(NotifyState::Ready);
        let Some(period) = sd_notify::watchdog_enabled() else { return Ok(Self { _end: None }) };
        let (end, ended) = sync_channel(0);
        let watch = move || {
            loop {
                if liveness.stall().is_none() {
                    tell(NotifyState::Watchdog);
                }
                match ended.recv_timeout(period / 2) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new().name("kaizen-watchdog".to_owned()).spawn(watch)?;
        Ok(Self { _end: Some(end) })
    }
}

impl Drop for Watchdog {
    /// Says that the end has begun.
    fn drop(&mut self) {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState<'_>) {
    // A systemd that cannot be reached stops waiting by itself.
    let _ = sd_notify::notify(&[state]);
}
