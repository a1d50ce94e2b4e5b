//! How often a key may ask.

use http::Method;
use pare::db::DEFAULT_TENANT;
use pare::db::keys::Scope;
use pare::http::{HostRule, Limits};

use crate::keys::{make, send};
use crate::support::app::App;

/// So slow that no request comes back while a test runs.
fn limits(per_minute: u32, is_for_all: bool) -> Limits {
    Limits { rate_per_minute: per_minute, is_rate_for_all: is_for_all, ..Limits::default() }
}

#[tokio::test]
async fn a_key_is_told_what_is_left_and_refused_beyond() {
    let app = App::with(limits(2, false), HostRule::Loopback).await;
    let key = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    for left in ["1", "0"] {
        let answer = send(&app, &key, Method::GET, "/v1/models").await.expect(200);
        assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=2;w=60");
        assert!(answer.header("ratelimit").starts_with(&format!("\"default\";r={left};t=")), "{left}");
    }
    let refused = send(&app, &key, Method::GET, "/v1/models").await;
    assert_eq!(refused.problem(), (429, "rate_limited".to_owned()));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").starts_with("\"default\";r=0;t="));
    assert_eq!(refused.header("ratelimit-policy"), "\"default\";q=2;w=60");

    let other = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    send(&app, &other, Method::GET, "/v1/models").await.expect(200);
    app.get("/healthz").await.expect(200);
}

#[tokio::test]
async fn refusals_of_a_handler_count_and_say_what_is_left() {
    let app = App::with(limits(2, false), HostRule::Loopback).await;
    let key = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    for _ in 0..2 {
        let answer = send(&app, &key, Method::GET, "/v1/models/mdl_x").await.expect(404);
        assert!(answer.header("ratelimit").starts_with("\"default\";r="));
    }
    assert_eq!(send(&app, &key, Method::GET, "/v1/models/mdl_x").await.status, 429);
}

#[tokio::test]
async fn without_keys_only_a_limit_that_was_asked_for_holds() {
    let free = App::with(limits(1, false), HostRule::Loopback).await;
    for _ in 0..50 {
        let answer = free.get("/v1/models").await.expect(200);
        assert!(answer.headers.get("ratelimit").is_none());
    }
    let limited = App::with(limits(1, true), HostRule::Loopback).await;
    limited.get("/v1/models").await.expect(200);
    assert_eq!(limited.get("/v1/models").await.problem(), (429, "rate_limited".to_owned()));
    limited.get("/readyz").await.expect(200);
}
