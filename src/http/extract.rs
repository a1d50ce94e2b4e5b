//! What handlers take from a request, with refusals of our own.

use std::str::FromStr;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde_json::Value;

use super::error::{Error, Result};
use super::{State as Server, code};
use crate::engine::problem::nearest;

/// The id in the path. One that can't be an id names nothing: 404.
pub(super) struct Id<T>(pub(super) T);

impl<T: FromStr<Err: std::fmt::Display>> FromRequestParts<Server> for Id<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self> {
        let Name(text) = Name::from_request_parts(parts, server).await?;
        text.parse().map(Self).map_err(|error: T::Err| Error::new(code::NOT_FOUND, error.to_string()))
    }
}

/// The name in the path.
pub(super) struct Name(pub(super) String);

impl FromRequestParts<Server> for Name {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self> {
        let params =
            RawPathParams::from_request_parts(parts, server).await.map_err(|_| Error::not_found("such path"))?;
        let name = params.iter().next().map(|(_, value)| Self(value.to_owned()));
        name.ok_or_else(|| Error::not_found("such path"))
    }
}

/// The parameters of a query.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query, whose parameters may be those in `known`. A slip is refused: `validate-only` must not start a job.
    pub(super) fn of(uri: &Uri, known: &[&'static str]) -> Result<Self> {
        let invalid = |detail: String| Error::new(code::QUERY_INVALID, detail);
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| invalid("the query is no list of name=value".to_owned()))?;
        let mut seen: Vec<&str> = Vec::new();
        for (name, _) in &pairs {
            let shown: String = name.chars().take(80).collect();
            if !known.contains(&name.as_str()) {
                let hint = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None if known.is_empty() => "none is taken here".to_owned(),
                    None => format!("known are {}", known.join(", ")),
                };
                return Err(invalid(format!("there is no query parameter '{shown}'; {hint}")));
            }
            if seen.contains(&name.as_str()) {
                return Err(invalid(format!("the query parameter '{shown}' stands twice")));
            }
            seen.push(name);
        }
        Ok(Self(pairs))
    }

    /// A parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of a type; `allowed` says in words what is.
    pub(super) fn parse<T: FromStr>(&self, name: &str, allowed: &str) -> Result<Option<T>> {
        self.get(name).map(|text| text.parse().map_err(|_| Self::refuse(name, text, allowed))).transpose()
    }

    /// The refusal of a parameter's value.
    pub(super) fn refuse(name: &str, text: &str, allowed: &str) -> Error {
        let shown: String = text.chars().take(80).collect();
        Error::new(code::QUERY_INVALID, format!("{name}={shown} is not allowed; {allowed} is"))
    }
}

/// A JSON body.
pub(super) struct JsonBody(pub(super) Value);

impl FromRequest<Server> for JsonBody {
    type Rejection = Error;

    async fn from_request(request: Request, server: &Server) -> Result<Self> {
        refuse_encoding(request.headers())?;
        let media_type = media_type(request.headers());
        if media_type != "application/json" {
            let detail = format!("the body must be application/json, not '{media_type}'");
            return Err(Error::new(code::MEDIA_TYPE_UNSUPPORTED, detail));
        }
        let limit = server.limits.json_bytes;
        let too_large =
            || Error::new(code::BODY_TOO_LARGE, format!("the body is longer than the {limit} bytes that are allowed"));
        if content_length(request.headers()).is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let body = tokio::time::timeout(server.limits.stall, to_bytes(request.into_body(), limit))
            .await
            .map_err(|_| Error::new(code::REQUEST_TIMEOUT, "the body did not arrive in time"))?
            .map_err(|_| too_large())?;
        // serde_json stops at 128 levels
        let parsed = serde_json::from_slice(&body);
        parsed.map(Self).map_err(|error| Error::new(code::JSON_INVALID, format!("the body is no JSON: {error}")))
    }
}

/// A JSON body that may be left out; `null` counts as left out.
pub(super) struct OptionalJson(pub(super) Option<Value>);

impl FromRequest<Server> for OptionalJson {
    type Rejection = Error;

    async fn from_request(request: Request, server: &Server) -> Result<Self> {
        let headers = request.headers();
        let is_empty = content_length(headers).unwrap_or(0) == 0 && !headers.contains_key(TRANSFER_ENCODING);
        if is_empty {
            return Ok(Self(None));
        }
        let JsonBody(body) = JsonBody::from_request(request, server).await?;
        Ok(Self(Some(body).filter(|body| !body.is_null())))
    }
}

/// Refuses a compressed body: what it unpacks to is not known before.
pub(super) fn refuse_encoding(headers: &HeaderMap) -> Result<()> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Error::new(code::CONTENT_ENCODING_UNSUPPORTED, "send the body as it is, without Content-Encoding"))
        }
        _ => Ok(()),
    }
}

/// The media type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().chars().take(80).collect::<String>().to_ascii_lowercase()
}

/// What the client says the body's length is.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
