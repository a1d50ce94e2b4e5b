//! Who may do what, and how often.
//!
//! ```text
//! request ── is a key asked for? ─┬─ no: loopback names alone, everything allowed
//!                                 └─ yes: key ── scope of the route ── rate ──► handler, with the key's tenant
//! ```
//!
//! A key is asked for as soon as one was made, and always on an address that other machines reach. A route that is not
//! named here needs a scope by its method, so that a new one is closed from the start.

mod caller;
mod credentials;
mod known;
mod rate;

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};

use super::error::{Error, Result};
use super::host::HostRule;
use super::{State as Server, code};
use crate::db::keys::{Key, Scope};
use crate::key::Secret;

pub(super) use caller::{App, Caller};
pub(super) use known::Known;
pub(super) use rate::{Limiter, Taken};

/// What a route asks of those who come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Nothing.
    Open,
    /// A key with that scope, where keys are asked for.
    Needs(Scope),
}

/// Routes for whoever runs the server or wants to know what it is.
const OPEN: &[&str] = &["/healthz", "/readyz", "/openapi.yaml", "/openapi.json", "/docs"];
const METRICS: &str = "/metrics";
/// How long such a route waits for the database to say whether there are keys.
const GLANCE: Duration = Duration::from_millis(500);
/// Where the files of pages lie.
const OPEN_BELOW: &[&str] = &["/docs/", "/assets/"];
/// Routes for whoever runs the service. Below them too.
const ADMIN: &[&str] = &["/v1/api-keys", "/v1/workers", "/v1/usage"];

impl Access {
    /// By the route's template; `None` is a path that no route has, which 404 answers.
    fn of(method: &Method, route: Option<&str>) -> Self {
        let Some(route) = route else { return Self::Open };
        let is_below =
            |root: &str| route.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if OPEN.contains(&route) || OPEN_BELOW.iter().any(|root| route.starts_with(root)) {
            Self::Open
        } else if ADMIN.iter().any(|root| is_below(root)) {
            Self::Needs(Scope::Admin)
        } else if method.is_safe() {
            Self::Needs(Scope::Read)
        } else {
            Self::Needs(Scope::Write)
        }
    }
}

/// Lets a request through to its handler, with its [`Caller`], or refuses it.
pub(super) async fn check(State(server): State<Server>, mut request: Request, next: Next) -> Result<Response> {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let access = Access::of(request.method(), route);
    let look = are_keys_asked_for(&server, request.headers().contains_key(AUTHORIZATION));
    // what is asked where the database hangs must not hang with it
    let asked = if access == Access::Open || route == Some(METRICS) {
        let silent = |_| Err(Error::unavailable("the database does not answer"));
        tokio::time::timeout(GLANCE, look).await.unwrap_or_else(silent)
    } else {
        look.await
    };
    let caller = match asked {
        Ok(true) => match access {
            Access::Open => None,
            Access::Needs(scope) => {
                let gate = Gate::of(request.method(), route, scope);
                Some(recognize(&server, request.headers(), gate).await?)
            }
        },
        // what needs nothing of the database also works without it
        unsure_or_not => {
            check_host(server.host_rule, &request)?;
            match access {
                Access::Open => None,
                // counters alone, which are wanted most when the database is away
                Access::Needs(_) if route == Some(METRICS) && server.known.were_none() => Some(Caller::ANYBODY),
                Access::Needs(_) => unsure_or_not.map(|_| Some(Caller::ANYBODY))?,
            }
        }
    };
    let Some(caller) = caller else { return Ok(next.run(request).await) };
    let taken = server.limiter.take(caller.key, Instant::now());
    if let Some(seconds) = taken.as_ref().and_then(Taken::wait_seconds) {
        return Err(refuse_rate(taken, seconds));
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let Some(taken) = taken {
        response.headers_mut().extend(taken.headers());
    }
    Ok(response)
}

/// Whoever comes with a key is not taken for anybody, however young the key is.
async fn are_keys_asked_for(server: &Server, has_key: bool) -> Result<bool> {
    match server.host_rule {
        HostRule::Any => Ok(true),
        HostRule::Loopback => Ok(server.known.exist(&server.pool, has_key).await?),
    }
}

fn check_host(rule: HostRule, request: &Request) -> Result<()> {
    rule.check(request.uri(), request.headers()).map_err(|what| {
        let detail = format!(
            "{what} is not answered: the server has no keys, so it answers loopback names only (localhost, 127.0.0.1, [::1])"
        );
        Error::new(code::HOST_NOT_ALLOWED, detail)
    })
}

/// The owner of the key that came with a request, if it may do what the route does.
async fn recognize(server: &Server, headers: &HeaderMap, gate: Gate) -> Result<Caller> {
    let Some(text) = credentials::key(headers, gate.takes_passwords) else {
        let detail = "this needs a key: send it as 'Authorization: Bearer pare_…'; 'pare keys create' makes one";
        return Err(Error::new(code::KEY_MISSING, detail).with_header(WWW_AUTHENTICATE, gate.challenge("Bearer")));
    };
    let refuse = |why: &str| {
        let challenge = gate.challenge("Bearer error=\"invalid_token\"");
        Error::new(code::KEY_INVALID, format!("the key is not taken: {why}")).with_header(WWW_AUTHENTICATE, challenge)
    };
    let secret = Secret::parse(&text).ok_or_else(|| refuse("it does not look like 'pare_…' as it was shown"))?;
    let kept = server.known.recognize(&server.pool, secret.id()).await?;
    // whoever has the right text may know what became of it
    let kept = kept.filter(|kept| secret.is_kept_as(&kept.sha256)).ok_or_else(|| refuse("nobody has it"))?;
    match &kept.key {
        Key { revoked_at: Some(_), .. } => Err(refuse("it was revoked")),
        Key { is_usable: false, .. } => Err(refuse("it has expired")),
        key if key.scopes.contains(&gate.scope) => Ok(Caller { tenant: key.tenant_id, key: Some(key.id) }),
        key => Err(refuse_scope(key, gate.scope)),
    }
}

/// A route that needs a key, and how it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gate {
    scope: Scope,
    /// It is a page for people, whose browser asks them for a password: the key.
    is_page: bool,
    /// Whether a key may come as a password. A browser adds passwords to whatever another site makes it send, so a
    /// change is taken with one only from pages, which refuse what other sites send.
    takes_passwords: bool,
}

impl Gate {
    fn of(method: &Method, route: Option<&str>, scope: Scope) -> Self {
        let is_page = route.is_some_and(|route| !route.starts_with("/v1/") && route != METRICS);
        Self { scope, is_page, takes_passwords: is_page || method.is_safe() }
    }

    fn challenge(self, bearer: &'static str) -> HeaderValue {
        HeaderValue::from_static(if self.is_page {
            "Basic realm=\"pare: a key as password\", charset=\"UTF-8\""
        } else {
            bearer
        })
    }
}

fn refuse_scope(key: &Key, scope: Scope) -> Error {
    let (wanted, given) =
        (scope.as_str(), key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", "));
    let detail = format!("this needs a key with the scope '{wanted}'; this one has {given}");
    let challenge = HeaderValue::from_str(&format!("Bearer error=\"insufficient_scope\", scope=\"{wanted}\""));
    Error::new(code::SCOPE_MISSING, detail)
        .with_header(WWW_AUTHENTICATE, challenge.unwrap_or(HeaderValue::from_static("Bearer")))
}

fn refuse_rate(taken: Option<Taken>, seconds: u64) -> Error {
    let detail = format!("that is more than the server takes from one key; the next request is taken in {seconds} s");
    let error = Error::new(code::RATE_LIMITED, detail).with_header(RETRY_AFTER, HeaderValue::from(seconds));
    let headers = taken.map(|taken| taken.headers()).into_iter().flatten();
    headers.fold(error, |error, (name, value)| error.with_header(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_closed_unless_they_are_named() {
        let of = |method: Method, route: &str| Access::of(&method, Some(route));
        for open in ["/healthz", "/docs", "/docs/start.js", "/docs/assets/swagger-ui.css"] {
            assert_eq!(of(Method::GET, open), Access::Open, "{open}");
        }
        for admin in ["/v1/api-keys", "/v1/api-keys/{key_id}", "/v1/workers", "/v1/usage"] {
            assert_eq!(of(Method::GET, admin), Access::Needs(Scope::Admin), "{admin}");
        }
        for read in ["/v1/jobs", "/metrics", "/", "/v1/api-keysx", "/docsx", "/healthz/more"] {
            assert_eq!(of(Method::GET, read), Access::Needs(Scope::Read), "{read}");
            assert_eq!(of(Method::HEAD, read), Access::Needs(Scope::Read), "{read}");
            assert_eq!(of(Method::POST, read), Access::Needs(Scope::Write), "{read}");
            assert_eq!(of(Method::DELETE, read), Access::Needs(Scope::Write), "{read}");
        }
    }

    #[test]
    fn passwords_change_nothing_but_through_pages() {
        let takes = |method: Method, route| Gate::of(&method, Some(route), Scope::Write).takes_passwords;
        assert!(takes(Method::GET, "/v1/jobs/{job_id}/events/stream"));
        assert!(takes(Method::POST, "/jobs"));
        assert!(!takes(Method::POST, "/v1/models/files"));
        assert!(!takes(Method::DELETE, "/v1/models/{model_id}"));
    }
}
