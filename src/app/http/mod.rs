//! The page, REST and metrics of `kaizen serve`. No other module has an async runtime; channels
//! connect it with the live loop.

mod access;
mod copies;
mod encoder;
mod error;
mod guard;
mod limiter;
mod listener;
pub(super) mod log;
mod metrics;
mod page;
mod peers;
mod reply;
mod router;
mod routes;
mod shared_reads;
mod stream;
#[cfg(target_os = "linux")]
mod supervisor;
mod tls;
mod web;

#[cfg(unix)]
use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub(super) use access::{Access, Token, Transport};
pub(super) use copies::Copies;
pub(super) use tls::Certificate;
pub(super) use web::{Channels, Facts, Web};

use crate::session::yield_to_others;

/// The number of threads of the runtime: while one is busy, the other one answers.
const WORKERS: usize = 2;
/// The most threads that read the state or encode pictures.
const BLOCKING: usize = 3;
/// The `nice` value of every thread that serves: their priority is below that of prediction.
const NICE: i32 = 5;
/// The longest that open connections may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT; then the connections end. A second signal ends the process.
/// SIGHUP reads the certificate again, if there is one.
///
/// # Errors
/// An error if the runtime or the listener cannot be started.
pub(super) fn serve(
    listener: TcpListener,
    certificate: Option<&Arc<Certificate>>,
    web: &Arc<Web>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("kaizen-http")
        .on_thread_start(|| yield_to_others(NICE))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = router::router(web).0;
        let tls = certificate.map(Certificate::acceptor).transpose()?;
        // Without a certificate a terminal that goes away ends the program, as it does any other.
        #[cfg(unix)]
        if certificate.is_some() || !std::io::stdin().is_terminal() {
            tokio::spawn(read_again_on_hangup(certificate.cloned())?);
        }
        let encoder = tokio::spawn(encoder::run(web.clone()));
        let signal = stop_signal()?;
        #[cfg(target_os = "linux")]
        let watchdog = supervisor::Watchdog::start(web.live.liveness().clone())?;
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let server = tokio::spawn(listener::serve(listener, app, tls, stopping));
        signal.await;
        web.end_streams();
        stop.send_replace(true);
        #[cfg(target_os = "linux")]
        drop(watchdog);
        tracing::info!(
            event = "stopping",
            "stopping: the change being made is finished, what waits is named"
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
/// [`crate::Error::Io`] if the address cannot be had.
pub(super) fn listen(address: SocketAddr) -> crate::Result<TcpListener> {
    TcpListener::bind(address).map_err(crate::Error::io(format!("address {address}")))
}

/// Reads the certificate again at every SIGHUP; one that cannot be read leaves the last one.
#[cfg(unix)]
fn read_again_on_hangup(certificate: Option<Arc<Certificate>>) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match certificate.as_ref().map(|certificate| certificate.read_again()) {
                None => tracing::info!(event = "hangup", "there is no certificate to read again"),
                Some(Ok(())) => tracing::info!(event = "certificate", "the certificate was read again"),
                Some(Err(error)) => {
                    tracing::warn!(event = "certificate", "the last certificate stays: {error}");
                }
            }
        }
    })
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
