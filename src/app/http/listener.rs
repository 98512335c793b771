//! Connections with limits: on their number in all and of a peer, on the time that TLS and the
//! headers of a request may take, and on the time for which nothing moves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::peers::{Connections, Counted, peer};

/// The most connections at once; further ones wait in the system's queue.
const MOST_CONNECTIONS: usize = 256;
/// The longest that a TLS handshake may take, and the headers of a request from the moment when
/// they may come: a connection on which nothing is asked is closed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of the headers of a request.
const MOST_HEADER_BYTES: usize = 16 << 10;
/// The time without movement after which a connection is closed. Streams move at least every ten
/// seconds; the longest wait for an answer is that of a label behind a training.
const STILL: Duration = Duration::from_secs(120);
/// The time before the next try after an error of the system (too many open files).
const BREATH: Duration = Duration::from_millis(200);

/// Answers by `app` until `stop` is set; then every connection ends after the answer that it is at.
/// With `tls` every connection is a TLS connection.
pub(super) async fn serve(
    listener: TcpListener,
    app: Router,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) {
    let (permits, counts) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), Connections::default());
    let mut connections = JoinSet::new();
    loop {
        let (stream, address, limits) = tokio::select! {
            _ = stop.wait_for(|is_set| *is_set) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits, &counts) => accepted,
        };
        let app = app.clone().layer(Extension(ConnectInfo(address)));
        let (tls, stop) = (tls.clone(), stop.clone());
        connections.spawn(async move {
            let stream = Connection::new(stream, limits);
            match tls {
                None => answer(stream, app, stop).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                        answer(stream, app, stop).await;
                    }
                }
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What a connection counts against, for as long as it lives.
struct Limits {
    _permit: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

/// The next connection of a peer that does not have too many.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    counts: &Connections,
) -> (TcpStream, SocketAddr, Limits) {
    loop {
        let permit = permits.clone().acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, address)) => {
                let from: IpAddr = peer(address.ip());
                // Dropping it closes it.
                let Some(counted) = counts.count(from) else { continue };
                // Small messages go out at once; if this fails they only come later.
                let _ = stream.set_nodelay(true);
                return (stream, address, Limits { _permit: permit, _counted: counted });
            }
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

/// Answers the requests of one connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    mut stop: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MOST_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    tokio::select! {
        // Whoever broke it off knows.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|is_set| *is_set) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// A stream that fails when nothing has moved for too long.
struct Connection {
    stream: TcpStream,
    alarm: Pin<Box<Sleep>>,
    _limits: Limits,
}

impl Connection {
    fn new(stream: TcpStream, limits: Limits) -> Self {
        Self { stream, alarm: Box::pin(tokio::time::sleep(STILL)), _limits: limits }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.alarm.as_mut().reset(Instant::now() + STILL);
            return moved;
        }
        match self.alarm.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_read(cx, into);
        self.watch(cx, moved)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
