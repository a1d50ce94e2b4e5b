//! API keys: made, listed, revoked. Their text is shown by the answer that makes them, and never again.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header::LOCATION;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::App;
use super::error::{Detail, Error, Result};
use super::extract::{Id, JsonBody, Params};
use super::fields::Fields;
use super::page::{List, Page};
use crate::db;
use crate::db::keys::{Key, NewKey, Scope};
use crate::engine::problem::Code;
use crate::id::KeyId;
use crate::key::Secret;

/// The longest name of a key.
const NAME_CHARS: usize = 200;
/// The longest life of a key: ten years.
const LONGEST_SECONDS: i64 = 10 * 366 * 24 * 60 * 60;

/// A key as clients see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    id: KeyId,
    name: String,
    scopes: Vec<String>,
    is_usable: bool,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<DateTime<Utc>>,
    /// In the answer that made it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<Key> for Shown {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes.into_iter().map(|scope| scope.as_str().to_owned()).collect(),
            is_usable: key.is_usable,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            secret: None,
        }
    }
}

/// `POST /v1/api-keys`
pub(super) async fn create(app: App, uri: Uri, JsonBody(body): JsonBody) -> Result<Response> {
    Params::of(&uri, &[])?;
    let Asked { name, scopes, expires_in_seconds } = read(&body).map_err(Error::invalid)?;
    let secret = Secret::new(KeyId::new()).map_err(Error::internal)?;
    let new = NewKey { id: secret.id(), name: name.to_owned(), sha256: secret.sha256(), scopes, expires_in_seconds };
    let key = db::keys::insert(&app.pool, app.tenant, &new).await?;
    app.known.made();
    tracing::info!(key = %key.id, by = by(&app), "made an API key");
    let location = format!("/v1/api-keys/{}", key.id);
    let shown = Shown { secret: Some(secret.reveal().to_owned()), ..Shown::from(key) };
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(shown)).into_response())
}

/// `GET /v1/api-keys`
pub(super) async fn list(app: App, uri: Uri) -> Result<Json<List<Shown>>> {
    let page = Page::of(&Params::of(&uri, &["limit", "cursor"])?)?;
    let rows = db::keys::list(&app.pool, app.tenant, &page.filter()).await?;
    Ok(Json(page.list(rows, |key| key.id.0, Shown::from)))
}

/// `GET /v1/api-keys/{id}`
pub(super) async fn find(app: App, Id(id): Id<KeyId>, uri: Uri) -> Result<Json<Shown>> {
    Params::of(&uri, &[])?;
    let key = db::keys::find(&app.pool, app.tenant, id).await?;
    key.map(Shown::from).map(Json).ok_or_else(|| Error::not_found(format_args!("key {id}")))
}

/// `DELETE /v1/api-keys/{id}`: revokes it. Doing it twice is fine.
pub(super) async fn revoke(app: App, Id(id): Id<KeyId>, uri: Uri) -> Result<StatusCode> {
    Params::of(&uri, &[])?;
    let revoked = db::keys::revoke(&app.pool, app.tenant, id).await?;
    app.known.changed(id);
    if revoked.is_none() {
        return Err(Error::not_found(format_args!("key {id}")));
    }
    tracing::info!(key = %id, by = by(&app), "revoked an API key");
    Ok(StatusCode::NO_CONTENT)
}

/// Who did it, for the log.
fn by(app: &App) -> String {
    app.key.map_or_else(|| "anybody on loopback".to_owned(), |key| key.to_string())
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    name: &'a str,
    scopes: Vec<Scope>,
    expires_in_seconds: Option<u32>,
}

/// `{name, scopes, expires_in_seconds?}`, with every problem.
pub(super) fn read(body: &Value) -> Result<Asked<'_>, Vec<Detail>> {
    let mut fields = Fields::of(body, &["name", "scopes", "expires_in_seconds"])?;
    let name = fields.text("name", NAME_CHARS);
    if fields.value("name").is_none() {
        fields.add("name", Code::MissingField, "a name is wanted: who or what uses the key");
    }
    let expires = fields.integer("expires_in_seconds", 1..=LONGEST_SECONDS);
    let scopes = scopes(&mut fields);
    let problems = fields.finish();
    match name {
        Some(name) if problems.is_empty() => {
            Ok(Asked { name, scopes, expires_in_seconds: expires.and_then(|seconds| u32::try_from(seconds).ok()) })
        }
        _ => Err(problems),
    }
}

fn scopes(fields: &mut Fields<'_>) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    match fields.value("scopes") {
        None => fields.add("scopes", Code::MissingField, "scopes are wanted: some of read, write and admin"),
        Some(Value::Array(list)) if (1..=Scope::ALL.len()).contains(&list.len()) => {
            for (index, one) in list.iter().enumerate() {
                match one.as_str().map(str::parse) {
                    Some(Ok(scope)) if scopes.contains(&scope) => {
                        fields.add(
                            &format!("scopes/{index}"),
                            Code::OutOfRange,
                            format!("'{}' stands twice", scope.as_str()),
                        );
                    }
                    Some(Ok(scope)) => scopes.push(scope),
                    Some(Err(error)) => fields.add(&format!("scopes/{index}"), Code::OutOfRange, error.to_string()),
                    None => fields.wrong_type(&format!("scopes/{index}"), "a text", one),
                }
            }
        }
        Some(Value::Array(_)) => fields.add("scopes", Code::OutOfRange, "1 to 3 of read, write and admin are allowed"),
        Some(other) => fields.wrong_type("scopes", "a list of texts", other),
    }
    scopes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_of_a_wish_is_told() {
        let good = json!({"name": "ci", "scopes": ["write", "read"], "expires_in_seconds": 60});
        let asked = Asked { name: "ci", scopes: vec![Scope::Write, Scope::Read], expires_in_seconds: Some(60) };
        assert_eq!(read(&good).unwrap(), asked);
        let pointers = |body: Value| read(&body).unwrap_err().into_iter().map(|one| one.pointer).collect::<Vec<_>>();
        assert_eq!(pointers(json!({})), ["/name", "/scopes"]);
        assert_eq!(
            pointers(json!({"name": "", "scopes": ["read", "read", "all", 1], "expires_in_seconds": 0})),
            ["/name", "/expires_in_seconds", "/scopes"]
        );
        assert_eq!(pointers(json!({"name": "x", "scopes": ["read", "read", "all"]})), ["/scopes/1", "/scopes/2"]);
        assert_eq!(pointers(json!({"name": "x", "scopes": []})), ["/scopes"]);
        assert_eq!(pointers(json!({"name": "x", "scopes": "read"})), ["/scopes"]);
    }
}
