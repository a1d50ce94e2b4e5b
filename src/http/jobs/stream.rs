//! A job's log as it grows: Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::frames;
use crate::db;
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, Params};
use crate::http::watch::{Next, View};
use crate::http::{App, code};
use crate::id::JobId;
use crate::telemetry::metrics;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Proxies hold answers back to gather them, unless they are told.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// A silence that is broken by a ping.
const PING: Duration = Duration::from_secs(15);
/// Lines that are read at once for a listener that is behind.
const PAGE_LINES: u32 = 64;
/// What is new is told to one listener after the other, so long apart: hundreds who are told at once, or whose streams
/// end at once, hold up all who do not listen.
const APART: Duration = Duration::from_millis(1);
/// However many listen, each hears of what is new within this time.
const SPREAD: Duration = Duration::from_millis(750);
/// The golden ratio's fraction: its multiples fill a circle evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// Between two tries to read them.
const RETRY: Duration = Duration::from_secs(1);
/// When a client that found no free stream may ask again.
const FULL_RETRY: HeaderValue = HeaderValue::from_static("10");

/// `GET /v1/jobs/{id}/events/stream`: 204 where the log has ended and the client has all of it, for that is what makes
/// a browser stop asking.
pub(crate) async fn stream(app: App, Id(id): Id<JobId>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    let params = Params::of(&uri, &["after"])?;
    let after = params.parse::<u32>("after", "a line's seq")?.map(i64::from);
    let heard = last_event_id(&headers)?.or(after).unwrap_or(0);
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| full(&app))?;
    let mut views = app.watch.subscribe(id.0);
    let is_over = {
        let first = timeout(app.limits.request, views.wait_for(|view| view.seen.is_some())).await;
        let view = first.ok().and_then(Result::ok).ok_or_else(silent)?;
        let job = view.job().filter(|job| job.tenant_id == app.tenant);
        job.ok_or_else(|| Error::not_found(format_args!("job {id}")))?;
        view.is_over_after(heard)
    };
    if is_over {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    let listener = Listener::new(id, app, views, heard, permit);
    let body = stream::unfold(listener, |mut listener| async move {
        let frame = listener.next().await?;
        Some((Ok::<_, Infallible>(frame), listener))
    });
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The last line that the client has, if it says so.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seq = digits.and_then(|digits| digits.parse::<i64>().ok());
    seq.map(Some).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect();
        let detail = format!("Last-Event-ID '{shown}' did not come from us: pass the id of the last event, a number");
        Error::new(code::EVENT_ID_INVALID, detail)
    })
}

fn full(app: &App) -> Error {
    let detail = format!(
        "{} event streams are open, as many as are allowed: ask again later, or read the log by pages",
        app.limits.streams
    );
    Error::new(code::TOO_MANY_STREAMS, detail).with_header(RETRY_AFTER, FULL_RETRY)
}

fn silent() -> Error {
    Error::unavailable("the database does not answer; what was acknowledged is kept")
}

/// Who listens, and how far it has come. It holds a page of lines at the most: what it does not take waits in the view,
/// or in the database.
struct Listener {
    id: JobId,
    app: App,
    views: watch::Receiver<View>,
    /// The last line that it got.
    heard: i64,
    /// The revision whose progress it got.
    shown: i64,
    /// How long after the first it hears of what is new.
    delay: Duration,
    /// When it hears of what is new now.
    due: Option<Instant>,
    ready: VecDeque<Bytes>,
    _permit: OwnedSemaphorePermit,
    _counted: metrics::EventStream,
}

/// What a listener finds.
enum Found {
    Something,
    /// Nothing until then, unless the view changes.
    Nothing(Option<Instant>),
    Behind,
    End,
}

impl Listener {
    fn new(id: JobId, app: App, views: watch::Receiver<View>, heard: i64, permit: OwnedSemaphorePermit) -> Self {
        let ready = VecDeque::from([frames::START]);
        // streams that are opened one after the other are spread evenly
        let open = app.limits.streams.saturating_sub(app.streams.available_permits());
        let spread = SPREAD.min(APART.saturating_mul(u32::try_from(open).unwrap_or(u32::MAX)));
        let delay = spread.mul_f64((open as f64 * GOLDEN).fract());
        Self {
            id,
            app,
            views,
            heard,
            shown: 0,
            delay,
            // what there is when it comes it gets at once
            due: Some(Instant::now()),
            ready,
            _permit: permit,
            _counted: metrics::EventStream::open(),
        }
    }

    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.app.stopping.is_cancelled() {
                return None;
            }
            match self.find() {
                Found::Something => {}
                Found::End => return None,
                Found::Behind => self.catch_up().await,
                Found::Nothing(until) => tokio::select! {
                    changed = self.views.changed() => changed.ok()?,
                    () = sleep_until(until.unwrap_or_else(|| Instant::now() + PING)) => match until {
                        Some(_) => {}
                        None => return Some(frames::PING),
                    },
                    () = self.app.stopping.cancelled() => return None,
                },
            }
        }
    }

    /// Takes what is new in the view, when its turn has come.
    fn find(&mut self) -> Found {
        let view = self.views.borrow_and_update();
        let progress = view.progress.as_ref().filter(|(revision, _)| *revision != self.shown);
        let is_over = view.is_over_after(self.heard);
        if progress.is_none() && !is_over && view.after(self.heard).is_nothing() {
            self.due = None;
            return Found::Nothing(None);
        }
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + self.delay);
        if now < due {
            return Found::Nothing(Some(due));
        }
        if is_over {
            return Found::End;
        }
        let Next::Lines(lines, last) = view.after(self.heard) else { return Found::Behind };
        self.heard = last;
        self.ready.extend(lines);
        if let Some((revision, frame)) = progress {
            self.shown = *revision;
            self.ready.push_back(frame.clone());
        }
        Found::Something
    }

    /// Reads a page of the log. Few do so at once, so that many who come together leave connections for others.
    async fn catch_up(&mut self) {
        let page = async {
            let _turn = self.app.catching_up.acquire().await;
            db::jobs::events(&self.app.pool, self.id, self.heard, PAGE_LINES).await
        };
        let page = tokio::select! {
            page = page => page,
            () = self.app.stopping.cancelled() => return,
        };
        match page {
            // deleted meanwhile: the next look says so
            Ok(lines) if lines.is_empty() => sleep(RETRY).await,
            Ok(lines) => {
                self.heard = lines.last().map_or(self.heard, |line| line.seq);
                self.ready.extend(lines.into_iter().map(frames::line));
            }
            Err(error) => {
                tracing::debug!(job = %self.id, %error, "a listener could not catch up; trying again");
                self.ready.push_back(frames::PING);
                sleep(RETRY).await;
            }
        }
    }
}
