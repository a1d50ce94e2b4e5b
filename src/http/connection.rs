//! Connections: how many, and how long one may keep us waiting.
//!
//! axum's own server sets no limit on how long a client takes to send a request's head, so that idle or dripping
//! clients could hold every connection. Here a connection that neither has a request with a handler nor takes bytes of
//! a response must deliver the next head within a time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::telemetry::metrics;

/// Accepts so many connections at once.
pub(super) struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle: Duration,
}

impl Limited {
    /// At most `connections`, each idle for at most `idle`.
    pub(super) fn new(listener: TcpListener, connections: usize, idle: Duration) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(connections)), idle }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // the semaphore is never closed
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("small answers may wait: {error}");
        }
        let deadline = Box::pin(sleep(self.idle));
        let busy = Busy::default();
        (Connection { stream, busy, idle: self.idle, deadline, seen: 0, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Whether a connection is at work.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<Work>);

#[derive(Debug, Default)]
struct Work {
    /// Requests that a handler works on.
    handlers: AtomicUsize,
    /// Grows whenever something happens that is not the client's sending.
    steps: AtomicU64,
}

impl Busy {
    fn step(&self) {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Limited>> for Busy {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        stream.io().busy.clone()
    }
}

/// Counts a handler until it is done or dropped.
struct Handler(Busy);

impl Drop for Handler {
    fn drop(&mut self) {
        self.0.step();
        self.0.0.handlers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks the request's connection as busy while its handler works.
pub(super) async fn mark_busy(request: Request, next: Next) -> Response {
    let busy = request.extensions().get::<ConnectInfo<Busy>>().map(|ConnectInfo(busy)| busy.clone());
    let _handler = busy.map(|busy| {
        busy.0.handlers.fetch_add(1, Ordering::Relaxed);
        Handler(busy)
    });
    next.run(request).await
}

/// A connection with a deadline on its idleness.
pub(super) struct Connection {
    stream: TcpStream,
    busy: Busy,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    seen: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Ready when the connection was idle for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let steps = self.busy.0.steps.load(Ordering::Relaxed);
        if steps != self.seen || self.busy.0.handlers.load(Ordering::Relaxed) > 0 {
            self.seen = steps;
            let until = Instant::now() + self.idle;
            self.deadline.as_mut().reset(until);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            metrics::received(buf.filled().len().saturating_sub(before));
            return Poll::Ready(read);
        }
        ready!(self.poll_idle(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.busy.step();
        metrics::sent(*written.as_ref().unwrap_or(&0));
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.busy.step();
        metrics::sent(*written.as_ref().unwrap_or(&0));
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
