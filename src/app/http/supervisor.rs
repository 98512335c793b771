//! What systemd is told (`Type=notify`, `WatchdogSec`): ready, alive, stopping. Nothing where it does not ask.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::Web;

/// Says that connections are taken; from then on, twice in each period that the watchdog allows, that the live loop still
/// answers. A loop that is stuck does not, and is restarted.
pub(super) async fn ready(web: Arc<Web>) {
    tell(NotifyState::Ready);
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(period / 2);
    loop {
        ticks.tick().await;
        let web = web.clone();
        if tokio::task::spawn_blocking(move || drop(web.live.status())).await.is_ok() {
            tell(NotifyState::Watchdog);
        }
    }
}

/// Says that the end has begun.
pub(super) fn stopping(watchdog: &JoinHandle<()>) {
    watchdog.abort();
    tell(NotifyState::Stopping);
}

/// A supervisor that cannot be reached is its own concern.
fn tell(state: NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
