//! Connections: how many, what a request's head may be, and how long one may keep us waiting.
//!
//! axum's own server lets a client take its time with a request's head, so that dripping clients could hold every
//! connection. So the loop is our own, over hyper: a head must arrive within a time, whether it is the first one or the
//! next on a connection that is kept; and a client that takes no bytes of its answer is cut off ([`Patient`]). Bodies
//! have limits where they are read. HTTP/1.1 alone: what HTTP/2 would bring, one connection for many requests, a proxy
//! in front brings too, and it would need limits of its own.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::telemetry::metrics;

/// Headers of a request.
const HEADERS: usize = 100;
/// Bytes of a request's head, its first line included.
const HEAD_BYTES: usize = 16 << 10;
/// Bytes of a connection's buffers.
const BUFFER_BYTES: usize = 128 << 10;
/// How long to wait after a connection could not be accepted for our sake: no descriptors are left, most likely.
const RETRY: Duration = Duration::from_secs(1);

/// Takes connections in, and serves them until all are told to end.
pub(super) struct Door {
    protocol: http1::Builder,
    router: Router,
    permits: Arc<Semaphore>,
    stall: Duration,
    graceful: GracefulShutdown,
    cut: CancellationToken,
}

impl Door {
    pub(super) fn new(limits: &Limits, router: Router) -> Self {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(HEADERS)
            .max_header_size(HEAD_BYTES)
            .max_buf_size(BUFFER_BYTES);
        Self {
            protocol,
            router,
            permits: Arc::new(Semaphore::new(limits.connections)),
            stall: limits.stall,
            graceful: GracefulShutdown::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Lets in whoever comes, for as long as this is awaited.
    pub(super) async fn open(&self, listener: &TcpListener) -> Infallible {
        loop {
            let (stream, permit) = self.accept(listener).await;
            self.serve(stream, permit);
        }
    }

    /// The next connection. Where there are as many as are allowed it waits until one ends.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // it is never closed
                return std::future::pending().await;
            };
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Serves a connection on a task of its own.
    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small answers may wait");
        }
        let io = TokioIo::new(Patient::new(stream, self.stall));
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.graceful.watch(self.protocol.serve_connection(io, service));
        let cut = self.cut.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                },
                () = cut.cancelled() => {}
            }
        });
    }

    /// Lets every connection end after the request that it is at; those that take longer than `patience` are cut off.
    /// False if there were any.
    pub(super) async fn close(self, patience: Duration) -> bool {
        let in_time = tokio::time::timeout(patience, self.graceful.shutdown()).await.is_ok();
        self.cut.cancel();
        in_time
    }
}

/// Whether only this connection failed.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A stream that fails when the other side takes nothing of what is written for some time.
struct Patient<S> {
    stream: S,
    stall: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, stall: Duration) -> Self {
        Self { stream, stall, deadline: None }
    }

    /// What a write came to, or that it has waited for too long.
    fn limit<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let until = Instant::now() + self.stall;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Counts the bytes of a write.
fn counted(written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    if let Poll::Ready(Ok(bytes)) = written {
        metrics::sent(bytes);
    }
    written
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        metrics::received(buf.filled().len().saturating_sub(before));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit(cx, counted(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit(cx, counted(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limit(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut patient = Patient::new(ours, Duration::from_millis(20));
        let error = patient.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
