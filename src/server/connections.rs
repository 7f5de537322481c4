//! The accept loop, and the life of a connection: its deadlines, TLS, and the end of all of them.
//!
//! axum's own loop has no deadline for bodies, nor for clients that do not read, and its graceful shutdown waits for
//! heads that were half sent.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::serving::{Peer, Serving};
use super::socket::{ClientSocket, SharedSocket};

/// After an error of `accept`, mostly that there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two searches for queries that are held for too long.
const SWEEP: Duration = Duration::from_secs(10);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 49\r\n\r\n{\"status\":0,\"error\":\"too many connections open\"}\n";

/// Serves connections until `shutdown`, and then until they have ended or the deadline has passed.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    serving: Arc<Serving>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut sweeps = interval(SWEEP);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            _ = sweeps.tick() => {
                serving.sessions.sweep(serving.limits.session_lifetime);
                continue;
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        serving.metrics.accepted.fetch_add(1, Ordering::Relaxed);
        if connections.len() >= serving.limits.connections_max {
            serving.metrics.cut("connections_max");
            // Once, into an empty buffer: it does not wait.
            let _ = stream.try_write(FULL);
            continue;
        }
        let connection = Connection { serving: Arc::clone(&serving), router: router.clone(), peer: peer.ip() };
        connections.spawn(connection.run(stream, tls.clone(), stopped.clone()));
    }
    drop(listener);
    // It fails when there is no connection left to tell.
    let _ = stop.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(serving.limits.shutdown_deadline, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end and are cut");
        serving.metrics.cut("shutdown_deadline");
        connections.shutdown().await;
    }
}

/// A connection that was accepted.
struct Connection {
    serving: Arc<Serving>,
    router: Router,
    peer: IpAddr,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>, stopped: watch::Receiver<bool>) {
        let serving = Arc::clone(&self.serving);
        serving.metrics.open.fetch_add(1, Ordering::Relaxed);
        // Without it, an answer in two packets takes 40 ms on a connection that is kept open.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone");
        }
        let (stream, socket) = SharedSocket::new(stream);
        match tls {
            None => self.serve(stream, socket, stopped).await,
            Some(tls) => match timeout(serving.limits.head_deadline, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.serve(stream, socket, stopped).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                Err(_) => serving.metrics.cut("head_deadline"),
            },
        }
        serving.metrics.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        socket: ClientSocket,
        mut stopped: watch::Receiver<bool>,
    ) {
        let Self { serving, router, peer } = self;
        let routes = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(socket.clone());
            routes.call(request)
        });
        let stream =
            Impatient { stream: Box::pin(stream), write_deadline: serving.limits.write_deadline, stalled: None };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(serving.limits.head_deadline)
            // A client may end its side after its request, and still read.
            .half_close(true)
            .max_buf_size(serving.limits.head_bytes_max.max(8 << 10))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut is_stopping = *stopped.borrow();
        if is_stopping {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        serving.metrics.cut(cause(&error));
                    }
                    return;
                }
                _ = stopped.changed(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Why a connection ended, as a label.
fn cause(error: &hyper::Error) -> &'static str {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => "write_deadline",
        Some(_) => "client",
        None if error.is_timeout() => "head_deadline",
        None if error.is_parse_too_large() => "head_bytes_max",
        None if error.is_parse() => "malformed",
        None => "client",
    }
}

/// A stream whose writes fail after a while in which the other end takes nothing.
struct Impatient<S> {
    stream: Pin<Box<S>>,
    write_deadline: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncWrite> Impatient<S> {
    fn check<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.write_deadline;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(deadline)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, into)
    }
}

impl<S: AsyncWrite> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write(cx, bytes);
        self.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(cx, parts);
        self.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.as_mut().poll_flush(cx);
        self.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.stream.as_mut().poll_shutdown(cx);
        self.check(cx, shut)
    }
}
