//! What names a request in the logs: its id, and the trace that it is part of.

use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;
use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

use crate::db::jobs;

/// The header of the id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest request id that is taken over from a client.
const REQUEST_ID_CHARS: usize = 64;

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The client's id if it can stand in a log line, else our own.
    pub(super) request_id: Arc<str>,
    /// The W3C `traceparent`, if there is one that can be read.
    trace_parent: Option<Arc<str>>,
}

impl Origin {
    /// From a request's headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(&REQUEST_ID).filter(|id| is_request_id(id));
        Self {
            request_id: request_id.map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from),
            trace_parent: text(&TRACE_PARENT).filter(|text| trace_id(text).is_some()).map(Arc::from),
        }
    }

    /// What all lines of the request stand in.
    pub(super) fn span(&self) -> Span {
        let span = tracing::info_span!("request", request_id = %self.request_id, trace_id = Empty);
        if let Some(trace_id) = self.trace_parent.as_deref().and_then(trace_id) {
            span.record("trace_id", trace_id);
        }
        span
    }

    /// For the job that the request submits.
    pub(super) fn of_job(&self) -> jobs::Origin {
        jobs::Origin {
            request_id: Some(self.request_id.to_string()),
            trace_parent: self.trace_parent.as_deref().map(str::to_owned),
        }
    }
}

fn is_request_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=REQUEST_ID_CHARS).contains(&id.len()) && id.bytes().all(is_plain)
}

/// The trace of `00-<32 hex digits>-<16 hex digits>-<2 hex digits>` (W3C Trace Context, version 00). Neither id is all
/// zeros.
fn trace_id(text: &str) -> Option<&str> {
    let parts: Vec<&str> = text.split('-').collect();
    let &["00", trace, span, flags] = parts.as_slice() else { return None };
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
    let good = is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2) && is_set(trace) && is_set(span);
    good.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(HeaderName, &str)]) -> Origin {
        Origin::of(&pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect())
    }

    #[test]
    fn a_clients_id_is_taken_over_if_it_is_plain() {
        assert_eq!(&*of(&[(REQUEST_ID, "mine.1-2_3")]).request_id, "mine.1-2_3");
        for bad in ["", "a b", "<b>", &"x".repeat(65)] {
            let id = of(&[(REQUEST_ID, bad)]).request_id;
            assert!(Uuid::try_parse(&id).is_ok(), "{bad}: {id}");
        }
    }

    #[test]
    fn a_trace_is_taken_over_if_it_follows_the_standard() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let origin = of(&[(TRACE_PARENT, good)]);
        assert_eq!(origin.of_job().trace_parent.as_deref(), Some(good));
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }
}
