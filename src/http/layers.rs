//! What happens around every request: its id, the host rule, panics, time limits, headers, the problem document, the log.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::error::{Error, Result};
use super::host::HostRule;
use super::{code, prefer};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The longest request id that is taken over from a client.
const REQUEST_ID_CHARS: usize = 64;

/// The outermost layer: gives the request its id, makes every refusal a problem document, writes the log line.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let mut response = match problem(&response) {
        Some(error) => render(response, &error, &id, method == http::Method::HEAD),
        None => response,
    };
    set_headers(response.headers_mut(), &id);
    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_millis() as u64;
    tracing::info!(request.id = %id, %method, path, status, duration_ms, "answered a request");
    response
}

/// The error that a response stands for. A response with an error's status that no handler of ours made (an unknown
/// route, a wrong method) stands for its status.
fn problem(response: &Response) -> Option<Error> {
    let status = response.status();
    let own = response.extensions().get::<Error>().cloned();
    own.or_else(|| (status.is_client_error() || status.is_server_error()).then(|| Error::of_status(status)))
}

fn render(response: Response, error: &Error, id: &str, is_head: bool) -> Response {
    let (mut parts, _) = response.into_parts();
    if let Some(cause) = error.cause() {
        tracing::error!(request.id = %id, status = parts.status.as_u16(), "a request failed: {cause}");
    }
    let body = serde_json::to_vec(&error.document(id)).unwrap_or_default();
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if parts.headers.get(ALLOW).is_some_and(HeaderValue::is_empty) {
        parts.headers.remove(ALLOW);
    }
    Response::from_parts(parts, if is_head { Body::empty() } else { Body::from(body) })
}

/// The client's id if it can stand in a log line, else our own.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=REQUEST_ID_CHARS).contains(&id.len()) && id.bytes().all(is_plain))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Headers that every response has, unless its handler set its own.
fn set_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Refuses requests that name a host which the server does not answer to.
pub(super) async fn check_host(State(rule): State<HostRule>, request: Request, next: Next) -> Result<Response> {
    rule.check(request.uri(), request.headers()).map_err(|what| {
        let detail = format!(
            "{what} is not answered: the server has no keys, so it answers loopback names only (localhost, 127.0.0.1, [::1])"
        );
        Error::new(code::HOST_NOT_ALLOWED, detail)
    })?;
    Ok(next.run(request).await)
}

/// A handler that panicked.
#[allow(clippy::needless_pass_by_value)] // the layer's signature
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    Error::internal(format!("a handler panicked: {what}")).into_response()
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// An answer is due within the limit, and what the client asked to wait.
    Quick,
    /// Bytes flow: only a stall ends it.
    Stream,
}

/// Ends a request that takes too long.
pub(super) async fn limit_time(
    State((pace, limit)): State<(Pace, Duration)>,
    request: Request,
    next: Next,
) -> Result<Response> {
    if pace == Pace::Stream {
        return Ok(next.run(request).await);
    }
    let limit = limit.saturating_add(prefer::wait(request.headers()).unwrap_or_default());
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(Error::unavailable("the answer took too long; try again")),
    }
}
