//! The page, REST and metrics of `kaizen serve`. The only module with an async runtime; it speaks to the live loop by
//! channels.

mod access;
mod encoder;
mod error;
mod listener;
mod log;
mod metrics;
mod page;
mod rate;
mod reply;
mod router;
mod routes;
mod stream;
#[cfg(target_os = "linux")]
mod supervisor;
mod web;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub(super) use access::{Access, Token};
pub(super) use log::{Log, LogFormat};
pub(super) use web::{Channels, Facts, Web};

use crate::session::yield_to_others;

/// Threads of the runtime: one reads and writes sockets, the other keeps it answering while one is busy.
const WORKERS: usize = 2;
/// Threads that read the state or encode pictures.
const BLOCKING: usize = 3;
/// `nice` of everything that serves: below the thread that predicts.
const NICE: i32 = 5;
/// How long open connections may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT; then connections end, and the live loop with them. A second signal ends the process.
///
/// # Errors
/// If the runtime or the listener cannot be started.
pub(super) fn serve(listener: TcpListener, web: &Arc<Web>, log: &Log) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("kaizen-http")
        .on_thread_start(|| yield_to_others(NICE))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = listener::Guarded::new(tokio::net::TcpListener::from_std(listener)?);
        let app = router::router(web).0;
        let encoder = tokio::spawn(encoder::run(web.clone()));
        let signal = stop_signal()?;
        #[cfg(target_os = "linux")]
        let watchdog = tokio::spawn(supervisor::ready(web.clone()));
        let stopping = web.clone();
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let server = axum::serve(listener, app).with_graceful_shutdown(async move {
            signal.await;
            stopping.end_streams();
            let _ = ended.send(());
        });
        let server = tokio::spawn(async move { server.await });
        let _ = end.await;
        #[cfg(target_os = "linux")]
        supervisor::stopping(&watchdog);
        log.say(
            "stopping",
            "stopping: the change being made is finished, what waits is named",
            &serde_json::json!({}),
        );
        tokio::spawn(async {
            if let Ok(signal) = stop_signal() {
                signal.await;
                std::process::exit(1);
            }
        });
        let _ = tokio::time::timeout(PATIENCE, server).await;
        encoder.abort();
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(PATIENCE);
    Ok(())
}

/// Listens on `address`.
///
/// # Errors
/// [`crate::Error::Io`] if it cannot be had.
pub(super) fn listen(address: SocketAddr) -> crate::Result<TcpListener> {
    TcpListener::bind(address).map_err(crate::Error::io(format!("address {address}")))
}

/// Resolves at the first SIGTERM or SIGINT from now on.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
