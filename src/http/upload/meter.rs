//! Watches the bytes of an upload on their way in: how many, how fast, and how many of them the reader keeps to itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes that the reader gets at once: it takes all that there is before it hands any on.
const BURST_BYTES: usize = 256 << 10;
/// Bytes that the reader may keep: headers of a part without an end would fill the memory.
const KEPT_BYTES: u64 = 1 << 20;
/// Bytes that a client must send for its patience to be whole again: one that drips has none left in the end.
const REFILL_BYTES: usize = 16 << 10;

/// Why an upload was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Cut {
    /// It is over the limit.
    TooLarge,
    /// The client paused for too long.
    Stalled,
    /// A part's headers have no end.
    Headers,
}

/// What is known of an upload's bytes so far.
#[derive(Debug, Default)]
pub(in crate::http) struct Meter {
    fed: AtomicU64,
    taken: AtomicU64,
    cut: AtomicU8,
}

impl Meter {
    /// Bytes that came in.
    pub(in crate::http) fn fed(&self) -> u64 {
        self.fed.load(Ordering::Relaxed)
    }

    /// Notes that the reader handed on `bytes` bytes.
    pub(in crate::http) fn take(&self, bytes: usize) {
        let taken = self.taken.load(Ordering::Relaxed).saturating_add(bytes as u64);
        self.taken.store(taken.min(self.fed()), Ordering::Relaxed);
    }

    /// Notes that a part's headers were read: what the reader keeps now is data.
    pub(in crate::http) fn start_part(&self) {
        self.taken.store(self.fed(), Ordering::Relaxed);
    }

    /// Why the bytes were cut off.
    pub(in crate::http) fn cut(&self) -> Option<Cut> {
        match self.cut.load(Ordering::Relaxed) {
            1 => Some(Cut::TooLarge),
            2 => Some(Cut::Stalled),
            3 => Some(Cut::Headers),
            _ => None,
        }
    }
}

/// A body whose bytes are watched.
pub(in crate::http) struct Metered {
    body: BodyDataStream,
    meter: Arc<Meter>,
    limit_bytes: u64,
    stall: Duration,
    /// How long we still wait for the client.
    patience: Duration,
    unrewarded_bytes: usize,
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
    burst_bytes: usize,
}

impl Metered {
    /// Watches `body`, which may have `limit_bytes` bytes, and pause for `stall` within 16 KiB.
    pub(in crate::http) fn new(body: Body, meter: Arc<Meter>, limit_bytes: u64, stall: Duration) -> Self {
        let deadline = Box::pin(sleep(stall));
        Self {
            body: body.into_data_stream(),
            meter,
            limit_bytes,
            stall,
            patience: stall,
            unrewarded_bytes: 0,
            deadline,
            is_waiting: false,
            burst_bytes: 0,
        }
    }

    fn cut(&self, cut: Cut) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let number = match cut {
            Cut::TooLarge => 1,
            Cut::Stalled => 2,
            Cut::Headers => 3,
        };
        self.meter.cut.store(number, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other("the upload was cut off")))))
    }

    /// Time counts only while we wait for the client, not while the store is slow.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_waiting {
            self.is_waiting = true;
            let until = Instant::now() + self.patience;
            self.deadline.as_mut().reset(until);
        }
        self.deadline.as_mut().poll(cx)
    }

    /// The client has sent something.
    fn reward(&mut self, bytes: usize) {
        if std::mem::take(&mut self.is_waiting) {
            self.patience = self.deadline.deadline().saturating_duration_since(Instant::now());
        }
        self.unrewarded_bytes += bytes;
        if self.unrewarded_bytes >= REFILL_BYTES {
            self.unrewarded_bytes = 0;
            self.patience = self.stall;
        }
    }
}

impl Stream for Metered {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.burst_bytes >= BURST_BYTES {
            self.burst_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(item) = Pin::new(&mut self.body).poll_next(cx) else {
            self.burst_bytes = 0;
            ready!(self.wait(cx));
            return self.cut(Cut::Stalled);
        };
        let Some(Ok(bytes)) = &item else { return Poll::Ready(item) };
        self.reward(bytes.len());
        self.burst_bytes += bytes.len();
        let fed = self.meter.fed.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if fed > self.limit_bytes {
            self.cut(Cut::TooLarge)
        } else if fed.saturating_sub(self.meter.taken.load(Ordering::Relaxed)) > KEPT_BYTES {
            self.cut(Cut::Headers)
        } else {
            Poll::Ready(item)
        }
    }
}
