//! What a client is told when something is wrong: RFC 9457 problems with stable codes.
//!
//! A handler returns [`Error`]; it becomes a response without a body, and the outermost layer ([`super::layers`])
//! writes the document, because it alone knows the request's id, and logs the cause of a 5xx, once.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::code::{self, Code};
use crate::db::Conflict;
use crate::engine::problem::{self, Problem};
use crate::{db, store};

/// How long a client should wait before it tries again what failed for our sake.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// JSON pointer into what was given; `/files/<path>` in an upload.
    pub pointer: String,
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

impl Detail {
    /// A problem at `pointer`.
    pub(super) fn new(pointer: impl Into<String>, code: impl Into<Code>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.into().text.to_owned(), detail: detail.into() }
    }

    /// The same problem in a document that holds what it was found in at `pointer`.
    pub(super) fn under(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }
}

impl From<Problem> for Detail {
    fn from(problem: Problem) -> Self {
        Self { pointer: problem.pointer, code: problem.code.as_str().to_owned(), detail: problem.detail }
    }
}

/// A refusal or a failure on its way to the client.
#[derive(Debug, Clone)]
pub(super) struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: String,
    detail: String,
    errors: Vec<Detail>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The document that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// A URI that names the code; nothing is to be found there.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// Stable, for programs: the first problem's.
    pub code: String,
    /// Names the request in the server's log.
    pub request_id: String,
    /// Every problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Detail>,
}

impl Error {
    /// A refusal with the status that belongs to the code.
    pub(super) fn new(code: impl Into<Code>, detail: impl Into<String>) -> Self {
        let code = code.into();
        Self::build(code.status, code.text, detail.into(), Vec::new())
    }

    /// Every problem of one request; the first is the reason that is shown.
    pub(super) fn problems(status: StatusCode, errors: Vec<Detail>) -> Self {
        let (code, detail) = match errors.as_slice() {
            [] => (code::BAD_REQUEST.text.to_owned(), String::new()),
            [only] => (only.code.clone(), only.detail.clone()),
            [first, rest @ ..] => (first.code.clone(), format!("{} (and {} more)", first.detail, rest.len())),
        };
        Self::build(status, code, detail, errors)
    }

    /// 422 with every problem.
    pub(super) fn invalid(errors: Vec<Detail>) -> Self {
        Self::problems(StatusCode::UNPROCESSABLE_ENTITY, errors)
    }

    /// 404.
    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(code::NOT_FOUND, format!("there is no {what}"))
    }

    /// 500. The client learns nothing of the cause; the log does.
    pub(super) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(code::INTERNAL, "something went wrong on our side; the log names the cause under this request id")
            .caused_by(cause)
    }

    /// 503 with `Retry-After`.
    pub(super) fn unavailable(detail: &str) -> Self {
        Self::new(code::UNAVAILABLE, detail).with_header(RETRY_AFTER, RETRY_SECONDS)
    }

    /// 503 that names each thing that is amiss.
    pub(super) fn not_ready(errors: Vec<Detail>) -> Self {
        Self::problems(StatusCode::SERVICE_UNAVAILABLE, errors).with_header(RETRY_AFTER, RETRY_SECONDS)
    }

    fn build(status: StatusCode, code: impl Into<String>, detail: String, errors: Vec<Detail>) -> Self {
        Self(Arc::new(Inner { status, code: code.into(), detail, errors, headers: Vec::new(), cause: None }))
    }

    /// Adds a header to the response.
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.headers.push((name, value));
        }
        self
    }

    fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.cause = Some(cause.into());
        }
        self
    }

    /// A refusal for a response that something else than a handler made.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let code = code::of_status(status);
        Self::build(status, code.text, code.title.to_owned(), Vec::new())
    }

    /// What went wrong behind a 5xx, with its sources, for the log.
    pub(super) fn cause(&self) -> Option<String> {
        let mut error: &dyn std::error::Error = self.0.cause.as_deref()?;
        let mut text = error.to_string();
        while let Some(source) = error.source() {
            text.push_str(": ");
            text.push_str(&source.to_string());
            error = source;
        }
        Some(text)
    }

    /// The document, for the request of that id.
    pub(super) fn document(&self, request_id: &str) -> Document {
        let inner = &self.0;
        Document {
            r#type: format!("urn:pare:problem:{}", inner.code),
            title: code::title(inner.status).to_owned(),
            status: inner.status.as_u16(),
            detail: inner.detail.clone(),
            code: inner.code.clone(),
            request_id: request_id.to_owned(),
            errors: inner.errors.clone(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        for (name, value) in &self.0.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Unavailable(_) => {
                Self::unavailable("the database does not answer; what was acknowledged is kept").caused_by(error)
            }
            db::Error::Removing => Self::unavailable("an old copy of the same bytes is being removed; send them again"),
            db::Error::Conflict(Conflict::Missing { column }) if column == "retry_of" => {
                Self::not_found("job any more that could be retried")
            }
            db::Error::Conflict(Conflict::Missing { column }) => {
                let detail = "there is no such thing any more";
                Self::invalid(vec![Detail::new(pointer(&column), code::NOT_FOUND, detail)])
            }
            db::Error::Conflict(conflict @ Conflict::InUse { .. }) => Self::new(code::IN_USE, conflict.to_string()),
            db::Error::Conflict(conflict @ Conflict::JobIsLive { .. }) => {
                Self::new(code::JOB_LIVE, conflict.to_string())
            }
            db::Error::Conflict(Conflict::Refused { rule }) => {
                let detail = format!("a value is not one that the database holds ({rule})");
                Self::invalid(vec![Detail::new("", problem::Code::OutOfRange, detail)])
            }
            error => Self::internal(error),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Full(_) => Self::new(code::STORAGE_FULL, "the store is full; what was acknowledged is kept")
                .with_header(RETRY_AFTER, HeaderValue::from_static("60"))
                .caused_by(error),
            store::Error::Unavailable(_) => {
                Self::unavailable("the blob store does not answer; what was acknowledged is kept").caused_by(error)
            }
            error => Self::internal(error),
        }
    }
}

/// The field of a request that a column holds: `model`, as constraints have it, and `model_id` are one.
fn pointer(column: &str) -> String {
    format!("/{}_id", column.strip_suffix("_id").unwrap_or(column))
}

/// What a handler returns.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_named_by_the_field_that_named_it() {
        for column in ["calibration_dataset", "calibration_dataset_id"] {
            let error = Error::from(db::Error::from(Conflict::Missing { column: column.to_owned() }));
            let document = error.document("1");
            let pointers: Vec<_> = document.errors.iter().map(|one| one.pointer.as_str()).collect();
            assert_eq!(pointers, ["/calibration_dataset_id"]);
        }
    }
}
