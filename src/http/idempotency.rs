//! `Idempotency-Key`: a request that creates something and is sent again is answered again, and creates nothing.
//!
//! A handler that creates asks [`Once::of`] with what was asked for, answers what [`Once::replay`] finds, does its
//! work in the transaction that [`Once::begin`] opens, and ends with [`Work::finish`]:
//!
//! ```text
//! let once = Once::of(&headers, &uri, &body)?;
//! if let Some(answer) = once.replay(&app).await? { return Ok(answer) }
//! let mut work = once.begin(&app).await?;
//! let thing = db::things::insert_in(work.conn(), app.tenant, &new).await?;
//! work.finish(Answer::created(&location, &thing)?).await
//! ```
//!
//! Only answers of work that was done are kept, in its own transaction: a refusal or a failure leaves the key unused.
//! Without the header the same lines are just a transaction. Nothing in between may take a second connection.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{Error, Result};
use super::{App, code};
use crate::db::idempotency::Kept;
use crate::db::{self, idempotency};
use crate::store::Digest;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key.
const KEY_BYTES: usize = 255;

/// A request that may be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Once {
    key: Option<String>,
    request_sha256: String,
}

impl Once {
    /// What is asked for: a `POST` to that address with that payload, as far as it decides what is created.
    ///
    /// # Errors
    ///
    /// 400 for a key that is not 1 to 255 printable characters.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri, payload: &impl Serialize) -> Result<Self> {
        let Some(key) = key(headers)? else { return Ok(Self { key: None, request_sha256: String::new() }) };
        let address = uri.path_and_query().map_or(uri.path(), |address| address.as_str());
        let asked = serde_json::to_string(&("POST", address, payload)).map_err(Error::internal)?;
        Ok(Self { key: Some(key), request_sha256: Digest::of(asked.as_bytes()).to_string() })
    }

    /// The answer that this request had before.
    ///
    /// # Errors
    ///
    /// 422 where the key was used for another request.
    pub(super) async fn replay(&self, app: &App) -> Result<Option<Response>> {
        let Some(key) = &self.key else { return Ok(None) };
        let kept = idempotency::find(&app.pool, app.tenant, key).await?;
        kept.map(|kept| self.check(&kept).and_then(|()| replayed(kept))).transpose()
    }

    /// Opens the transaction in which the work is done.
    ///
    /// # Errors
    ///
    /// 409 where the same key is being worked on, or was until just now: asked again, the answer is there.
    pub(super) async fn begin(self, app: &App) -> Result<Work> {
        let mut tx = app.pool.begin().await.map_err(db::Error::from)?;
        if let Some(key) = &self.key {
            if !idempotency::lock(&mut tx, app.tenant, key).await? {
                return Err(in_use());
            }
            // a statement of its own after the lock, so that it sees what the one before committed
            if let Some(kept) = idempotency::find(&mut *tx, app.tenant, key).await? {
                self.check(&kept)?;
                return Err(in_use());
            }
        }
        Ok(Work { tx, tenant: app.tenant, once: self })
    }

    fn check(&self, kept: &Kept) -> Result<()> {
        if kept.request_sha256 == self.request_sha256 {
            return Ok(());
        }
        let detail = "this Idempotency-Key was used for another request: a new request needs a new key";
        Err(Error::new(code::IDEMPOTENCY_KEY_REUSED, detail))
    }
}

fn in_use() -> Error {
    let detail = "a request with this Idempotency-Key is being carried out: ask again for its answer";
    Error::new(code::IDEMPOTENCY_KEY_IN_USE, detail).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut given = headers.get_all(KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let is_one = given.next().is_none();
    let key = key.to_str().ok().filter(|key| is_one && (1..=KEY_BYTES).contains(&key.len()));
    let key = key.filter(|key| key.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let detail =
            format!("one Idempotency-Key of 1 to {KEY_BYTES} printable ASCII characters is taken: a UUID does");
        Error::new(code::IDEMPOTENCY_KEY_INVALID, detail)
    })
}

/// Work on its way. Dropped, it was never begun.
#[derive(Debug)]
pub(super) struct Work {
    tx: db::Transaction,
    tenant: Uuid,
    once: Once,
}

impl Work {
    /// The connection whose transaction this is.
    pub(super) fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Keeps the answer with the work, and makes both durable.
    pub(super) async fn finish(mut self, answer: Answer) -> Result<Response> {
        if let Some(key) = &self.once.key {
            let kept = answer.kept(self.once.request_sha256);
            idempotency::keep(&mut self.tx, self.tenant, key, &kept).await?;
        }
        self.tx.commit().await.map_err(db::Error::from)?;
        Ok(answer.into_response())
    }
}

/// An answer that can be given again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// 201 with `Location` and a JSON body.
    pub(super) fn created(location: &str, body: &impl Serialize) -> Result<Self> {
        let location = HeaderValue::from_str(location).map_err(Error::internal)?;
        let body = serde_json::to_string(body).map_err(Error::internal)?;
        Ok(Self { status: StatusCode::CREATED, headers: HeaderMap::new(), body }.with(LOCATION, location))
    }

    /// Adds a header; its value is a text.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn kept(&self, request_sha256: String) -> Kept {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let others = self.headers.iter().filter(|(name, _)| **name != LOCATION);
        let headers: Map<String, Value> =
            others.map(|(name, value)| (name.as_str().to_owned(), Value::String(text(value)))).collect();
        Kept {
            request_sha256,
            status: self.status.as_u16(),
            location: self.headers.get(LOCATION).map(text),
            headers: Value::Object(headers),
            body: self.body.clone(),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (self.status, self.headers, json, self.body).into_response()
    }
}

/// The answer as it was given, and that it is not new.
fn replayed(kept: Kept) -> Result<Response> {
    let status = StatusCode::from_u16(kept.status).map_err(Error::internal)?;
    let mut headers = HeaderMap::from_iter([(REPLAYED, HeaderValue::from_static("true"))]);
    let others = kept.headers.as_object().into_iter().flatten();
    let others = others.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    for (name, value) in kept.location.as_deref().map(|location| ("location", location)).into_iter().chain(others) {
        let name = HeaderName::try_from(name).map_err(Error::internal)?;
        headers.insert(name, HeaderValue::from_str(value).map_err(Error::internal)?);
    }
    Ok(Answer { status, headers, body: kept.body }.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keys: &[&[u8]], uri: &'static str, payload: &Value) -> Result<Once> {
        let headers = keys.iter().map(|key| (KEY, HeaderValue::from_bytes(key).unwrap())).collect();
        Once::of(&headers, &Uri::from_static(uri), payload)
    }

    #[test]
    fn keys_are_printable_and_not_too_long() {
        let longest = [b'k'; KEY_BYTES];
        for good in [&b"x"[..], b"8e03978e-40d5-43e8-bc93-6894a57f9324", b"\"a b\"", &longest] {
            assert!(of(&[good], "/v1/jobs", &Value::Null).unwrap().key.is_some());
        }
        for bad in [&[&b""[..]][..], &[b"a\tb"], &[&[b'k'; KEY_BYTES + 1]], &["é".as_bytes()], &[b"a", b"a"]] {
            assert!(of(bad, "/v1/jobs", &Value::Null).is_err(), "{bad:?}");
        }
        assert_eq!(of(&[], "/v1/jobs", &Value::Null).unwrap().key, None);
    }

    #[test]
    fn address_and_payload_are_the_request() {
        let one = of(&[b"k"], "/v1/jobs", &Value::from(1)).unwrap();
        assert_eq!(one, of(&[b"k"], "/v1/jobs", &Value::from(1)).unwrap());
        assert_ne!(one, of(&[b"k"], "/v1/jobs", &Value::from(2)).unwrap());
        assert_ne!(one, of(&[b"k"], "/v1/recipes", &Value::from(1)).unwrap());
        assert_ne!(one, of(&[b"k"], "/v1/jobs?x=1", &Value::from(1)).unwrap());
    }

    #[test]
    fn what_is_kept_is_given_again() {
        let answer = Answer::created("/v1/things/1", &Value::from(1.5)).unwrap();
        let answer = answer.with(http::header::ETAG, HeaderValue::from_static("\"1\""));
        let kept = answer.kept("00".repeat(32));
        let again = replayed(kept).unwrap();
        assert_eq!(again.status(), StatusCode::CREATED);
        assert_eq!(again.headers()["location"], "/v1/things/1");
        assert_eq!(again.headers()["etag"], "\"1\"");
        assert_eq!(again.headers()["idempotent-replayed"], "true");
        assert!(!answer.into_response().headers().contains_key(REPLAYED));
    }
}
