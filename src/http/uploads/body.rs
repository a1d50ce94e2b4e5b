//! A body of bytes on its way in, cut into parts.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use crate::http::error::{Error, Result};
use crate::http::extract::{content_length, media_type, refuse_encoding};
use crate::http::upload::meter::{Cut, Meter, Metered};
use crate::http::{Limits, code};

/// Bytes of a body that has a length.
pub(super) struct Incoming {
    body: Metered,
    meter: Arc<Meter>,
    /// Bytes that came with those of the part before.
    left: Bytes,
    size_bytes: u64,
    part_time: Duration,
    until: Instant,
}

impl Incoming {
    /// A body that should have `size_bytes` bytes.
    ///
    /// # Errors
    ///
    /// Where the headers say that it has others, before a byte is read: a client that waits for `100 Continue` sends none.
    pub(super) fn new(headers: &HeaderMap, body: Body, size_bytes: u64, limits: &Limits) -> Result<Self> {
        refuse_encoding(headers)?;
        let given = media_type(headers);
        if !given.is_empty() && given != "application/octet-stream" {
            let detail = format!(
                "the body must be application/octet-stream, not '{given}': with curl, -T FILE, \
                 or -H 'Content-Type: application/octet-stream'"
            );
            return Err(Error::new(code::MEDIA_TYPE_UNSUPPORTED, detail));
        }
        if let Some(length) = content_length(headers).filter(|length| *length != size_bytes) {
            return Err(wrong_size(size_bytes, &length.to_string()));
        }
        let meter = Arc::new(Meter::default());
        let body = Metered::new(body, Arc::clone(&meter), size_bytes, limits.stall);
        let until = Instant::now() + limits.part_time;
        Ok(Self { body, meter, left: Bytes::new(), size_bytes, part_time: limits.part_time, until })
    }

    /// From here on another part comes.
    pub(super) fn start_part(&mut self) {
        self.until = Instant::now() + self.part_time;
    }

    /// The next bytes, at most that many.
    ///
    /// # Errors
    ///
    /// Where there are none left, or the client pauses, drips or goes away.
    pub(super) async fn next(&mut self, at_most: u64) -> Result<Bytes> {
        while self.left.is_empty() {
            self.left = self.read().await?.ok_or_else(|| wrong_size(self.size_bytes, &self.meter.fed().to_string()))?;
        }
        let length = usize::try_from(at_most).unwrap_or(usize::MAX).min(self.left.len());
        Ok(self.left.split_to(length))
    }

    /// Sees that nothing follows.
    ///
    /// # Errors
    ///
    /// Where something does, or the client goes away before it said that nothing does.
    pub(super) async fn end(&mut self) -> Result<()> {
        while let Some(more) = self.read().await? {
            if !more.is_empty() {
                return Err(wrong_size(self.size_bytes, "more"));
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        let slow = |_| Error::new(code::REQUEST_TIMEOUT, "the part took too long");
        let read = timeout_at(self.until, self.body.next()).await.map_err(slow)?;
        match read {
            Some(Ok(bytes)) => {
                self.meter.take(bytes.len());
                Ok(Some(bytes))
            }
            Some(Err(_)) => Err(match self.meter.cut() {
                Some(Cut::TooLarge) => wrong_size(self.size_bytes, "more"),
                Some(Cut::Stalled) => Error::new(code::REQUEST_TIMEOUT, "the upload paused for too long"),
                Some(Cut::Headers) | None => Error::new(code::BODY_INCOMPLETE, "the body ended before it was whole"),
            }),
            None => Ok(None),
        }
    }
}

fn wrong_size(wanted: u64, given: &str) -> Error {
    Error::new(code::SIZE_MISMATCH, format!("the body must have {wanted} bytes; it has {given}"))
}
