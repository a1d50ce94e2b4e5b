//! What happens around every request: its id, panics, time limits, headers, the problem document, the log.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use tracing::Instrument;

use super::error::{Document, Error, Result};
use super::origin::{Origin, REQUEST_ID};
use super::prefer;
use crate::telemetry::metrics;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Lies with a response whose refusal is to be a page for people, which this writes, and not a problem document.
#[derive(Clone, Copy)]
pub(super) struct AsPage(pub(super) fn(&Document) -> String);

/// Lies with a response that says itself what is wrong: a form with its problems.
#[derive(Clone, Copy)]
pub(super) struct Written;

/// The outermost layer: gives the request its id, makes every refusal a problem document, writes the log line, counts.
///
/// All that is logged on the way stands in the request's span, and so carries its id.
pub(super) async fn finish(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let origin = Origin::of(request.headers());
    let span = origin.span();
    request.extensions_mut().insert(origin.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    async move {
        let response = next.run(request).await;
        let mut response = match problem(&response) {
            Some(error) => render(response, &error, &origin.request_id, method == http::Method::HEAD),
            None => response,
        };
        set_headers(response.headers_mut(), &origin.request_id);
        let (status, duration) = (response.status().as_u16(), started.elapsed());
        let duration_ms = duration.as_millis() as u64;
        tracing::info!(%method, path, status, duration_ms, "answered a request");
        metrics::request_answered(method_label(&method), route, class_label(status), duration);
        response
    }
    .instrument(span)
    .await
}

/// A method as a label: what clients make up is one.
fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

const fn class_label(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// The error that a response stands for. A response with an error's status that no handler of ours made (an unknown
/// route, a wrong method) stands for its status.
fn problem(response: &Response) -> Option<Error> {
    if response.extensions().get::<Written>().is_some() {
        return None;
    }
    let status = response.status();
    let own = response.extensions().get::<Error>().cloned();
    own.or_else(|| (status.is_client_error() || status.is_server_error()).then(|| Error::of_status(status)))
}

fn render(response: Response, error: &Error, id: &str, is_head: bool) -> Response {
    let (mut parts, _) = response.into_parts();
    if let Some(cause) = error.cause() {
        tracing::error!(status = parts.status.as_u16(), "a request failed: {cause}");
    }
    let document = error.document(id);
    let (media_type, body) = match parts.extensions.get::<AsPage>() {
        Some(AsPage(write)) => ("text/html; charset=utf-8", write(&document).into_bytes()),
        None => ("application/problem+json", serde_json::to_vec(&document).unwrap_or_default()),
    };
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if parts.headers.get(ALLOW).is_some_and(HeaderValue::is_empty) {
        parts.headers.remove(ALLOW);
    }
    Response::from_parts(parts, if is_head { Body::empty() } else { Body::from(body) })
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
