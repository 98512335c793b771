//! The messages to systemd (`Type=notify`, `WatchdogSec`): ready, alive, stopping. Without a
//! systemd that asks for them, nothing is sent.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::web::Web;

/// Says that connections are accepted; from then on, twice in each period that the watchdog allows,
/// that the live loop still answers. A loop that is stuck does not, and systemd restarts the
/// service.
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

fn tell(state: NotifyState<'_>) {
    // A systemd that cannot be reached stops waiting by itself.
    let _ = sd_notify::notify(&[state]);
}
