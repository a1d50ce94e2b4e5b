//! Who may do what: keys, scopes, tenants.

use http::Method;
use pare::db::keys::{self, NewKey, Scope};
use pare::db::{DEFAULT_TENANT, Pool};
use pare::http::{HostRule, Limits, ROUTES};
use pare::id::KeyId;
use pare::key::Secret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::{Answer, App, Form};
use crate::support::worker::until;

/// Keeps a key.
pub(crate) async fn make(pool: &Pool, tenant: Uuid, scopes: &[Scope]) -> Secret {
    let secret = Secret::new(KeyId::new()).unwrap();
    let new = NewKey {
        id: secret.id(),
        name: "test".to_owned(),
        sha256: secret.sha256(),
        scopes: scopes.to_vec(),
        expires_in_seconds: None,
    };
    keys::insert(pool, tenant, &new).await.unwrap();
    secret
}

/// A request with a key.
pub(crate) async fn send(app: &App, secret: &Secret, method: Method, path: &str) -> Answer {
    let bearer = format!("Bearer {}", secret.reveal());
    app.send(method, path, &[("authorization", &bearer), ("content-type", "application/json")], Vec::new()).await
}

async fn get(app: &App, secret: &Secret, path: &str) -> Answer {
    send(app, secret, Method::GET, path).await
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_key_is_asked_for_as_soon_as_one_was_made() {
    let app = App::start().await;
    app.get("/v1/models").await.expect(200);
    app.get("/metrics").await.expect(200);
    let body = json!({"name": "mine", "scopes": ["read", "admin"], "expires_in_seconds": 3600});
    let made = app.post("/v1/api-keys", &body).await.expect(201);
    let secret = Secret::parse(made.json()["secret"].as_str().unwrap()).unwrap();
    assert_eq!(made.header("location"), format!("/v1/api-keys/{}", secret.id()));
    assert!(made.json()["expires_at"].is_string());

    for path in ["/v1/models", "/v1/capabilities", "/v1/api-keys", "/metrics"] {
        let answer = app.get(path).await;
        assert_eq!(answer.problem(), refused(401, "key_missing"), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        get(&app, &secret, path).await.expect(200);
    }
    for path in ["/healthz", "/readyz", "/openapi.yaml", "/openapi.json", "/docs"] {
        // whoever has a key may use any name
        app.get_with(path, &[("host", "pare.example")]).await.expect(200);
    }
    let shown = get(&app, &secret, &format!("/v1/api-keys/{}", secret.id())).await.expect(200);
    let listed = get(&app, &secret, "/v1/api-keys").await.expect(200);
    assert_eq!(listed.json()["data"], json!([shown.json()]));
    let half = &secret.reveal()[38..];
    for answer in [shown, listed] {
        assert!(!String::from_utf8_lossy(&answer.body).contains(half), "a key is shown once");
    }
}

#[tokio::test]
async fn a_key_that_was_made_or_revoked_elsewhere_counts_within_a_second() {
    let app = App::start().await;
    app.get("/v1/models").await.expect(200);
    let secret = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    until("the question for a key", async || (app.get("/v1/models").await.status == 401).then_some(())).await;
    get(&app, &secret, "/v1/models").await.expect(200);
    keys::revoke(&app.pool, DEFAULT_TENANT, secret.id()).await.unwrap().unwrap();
    let answer = until("the end of the key", async || {
        Some(get(&app, &secret, "/v1/models").await).filter(|answer| answer.status == 401)
    });
    assert_eq!(answer.await.problem(), refused(401, "key_invalid"));
    // the last key's end opens nothing
    assert_eq!(app.get("/v1/models").await.problem(), refused(401, "key_missing"));
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let app = App::start().await;
    let reader = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    let writer = make(&app.pool, DEFAULT_TENANT, &[Scope::Write]).await;
    let admin = make(&app.pool, DEFAULT_TENANT, &[Scope::Admin]).await;
    let missing = async |secret: &Secret, method: Method, path: &str, scope: &str| {
        let answer = send(&app, secret, method, path).await;
        assert_eq!(answer.problem(), refused(403, "scope_missing"), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("'{scope}'")), "{path}");
        assert_eq!(
            answer.header("www-authenticate"),
            format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")
        );
    };
    get(&app, &reader, "/v1/jobs").await.expect(200);
    missing(&reader, Method::POST, "/v1/jobs", "write").await;
    missing(&reader, Method::GET, "/v1/api-keys", "admin").await;
    missing(&reader, Method::DELETE, &format!("/v1/api-keys/{}", reader.id()), "admin").await;
    missing(&writer, Method::GET, "/v1/jobs", "read").await;
    missing(&writer, Method::GET, "/metrics", "read").await;
    // let in, and then told that the body is empty
    assert_eq!(send(&app, &writer, Method::POST, "/v1/jobs").await.problem(), refused(400, "json_invalid"));
    missing(&admin, Method::GET, "/v1/jobs", "read").await;
    get(&app, &admin, "/v1/api-keys").await.expect(200);
}

#[tokio::test]
async fn a_key_that_is_revoked_here_is_refused_at_once() {
    let app = App::start().await;
    let admin = make(&app.pool, DEFAULT_TENANT, &[Scope::Admin, Scope::Read]).await;
    let reader = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    get(&app, &reader, "/v1/jobs").await.expect(200);
    let path = format!("/v1/api-keys/{}", reader.id());
    for _ in 0..2 {
        send(&app, &admin, Method::DELETE, &path).await.expect(204);
        assert_eq!(get(&app, &reader, "/v1/jobs").await.problem(), refused(401, "key_invalid"));
    }
    let shown = get(&app, &admin, &path).await.expect(200).json();
    assert_eq!((&shown["is_usable"], shown["revoked_at"].is_string()), (&json!(false), true));
    let nobody = format!("/v1/api-keys/{}", KeyId::new());
    assert_eq!(send(&app, &admin, Method::DELETE, &nobody).await.problem(), refused(404, "not_found"));
}

#[tokio::test]
async fn what_is_no_good_key_is_refused_with_the_reason() {
    let app = App::start().await;
    let good = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    let expired = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    sqlx::query("update api_keys set expires_at = now() where id = $1")
        .bind(expired.id().0)
        .execute(&app.pool)
        .await
        .unwrap();
    let answer = get(&app, &expired, "/v1/jobs").await;
    assert_eq!(answer.problem(), refused(401, "key_invalid"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("expired"));

    let forged = Secret::new(good.id()).unwrap();
    let stranger = Secret::new(KeyId::new()).unwrap();
    let cut = &good.reveal()[..good.reveal().len() - 1];
    for text in [forged.reveal(), stranger.reveal(), cut, "x", "pare__"] {
        let answer = app.get_with("/v1/jobs", &[("authorization", &format!("Bearer {text}"))]).await;
        assert_eq!(answer.problem(), refused(401, "key_invalid"), "{text}");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
        assert!(text.len() < 10 || !String::from_utf8_lossy(&answer.body).contains(text), "a refusal repeats no key");
    }
    for nothing in ["Bearer", "Bearer \u{fc}"] {
        let answer = app.get_with("/v1/jobs", &[("authorization", nothing)]).await;
        assert_eq!(answer.problem(), refused(401, "key_missing"), "{nothing}");
    }
    // a password is a key, for looking alone: browsers add it to whatever another site makes them send
    let basic = app.get_with("/v1/jobs", &[("authorization", "Basic eDp5")]).await;
    assert_eq!(basic.problem(), refused(401, "key_invalid"));
    let basic = app.send(Method::POST, "/v1/jobs", &[("authorization", "Basic eDp5")], Vec::new()).await;
    assert_eq!(basic.problem(), refused(401, "key_missing"));

    let other = Secret::new(good.id()).unwrap();
    get(&app, &good, "/v1/jobs").await.expect(200);
    keys::rotate(&app.pool, DEFAULT_TENANT, good.id(), &other.sha256()).await.unwrap().unwrap();
    until("the new text", async || (get(&app, &other, "/v1/jobs").await.status == 200).then_some(())).await;
    assert_eq!(get(&app, &good, "/v1/jobs").await.problem(), refused(401, "key_invalid"));
    let lapsed = keys::rotate(&app.pool, DEFAULT_TENANT, expired.id(), &other.sha256()).await.unwrap();
    assert_eq!(lapsed, None, "another text brings no key back");
}

#[tokio::test]
async fn an_address_that_others_reach_never_answers_without_a_key() {
    let app = App::with(Limits::default(), HostRule::Any).await;
    let host = [("host", "pare.example")];
    assert_eq!(app.get_with("/v1/models", &host).await.problem(), refused(401, "key_missing"));
    assert_eq!(app.post("/v1/api-keys", &json!({"name": "x", "scopes": ["admin"]})).await.problem().0, 401);
    app.get_with("/healthz", &host).await.expect(200);
    let secret = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    get(&app, &secret, "/v1/models").await.expect(200);
}

#[tokio::test]
async fn the_use_of_a_key_is_noted_once_a_minute() {
    let app = App::start().await;
    let secret = make(&app.pool, DEFAULT_TENANT, &[Scope::Read]).await;
    let used_at = async || keys::find(&app.pool, DEFAULT_TENANT, secret.id()).await.unwrap().unwrap().last_used_at;
    assert_eq!(used_at().await, None);
    get(&app, &secret, "/v1/models").await.expect(200);
    let first = used_at().await.expect("its first use was noted");
    keys::touch(&app.pool, secret.id()).await.unwrap();
    assert_eq!(used_at().await, Some(first));
    sqlx::query("update api_keys set last_used_at = now() - interval '61 seconds'").execute(&app.pool).await.unwrap();
    assert!(keys::recognize(&app.pool, secret.id()).await.unwrap().unwrap().is_stale);
    keys::touch(&app.pool, secret.id()).await.unwrap();
    assert!(used_at().await > Some(first));
}

/// Every route, with what one tenant has in its path, asked by another tenant.
#[tokio::test]
async fn one_tenant_never_sees_what_another_has() {
    let app = App::start().await;
    let model = app.bare_model().await.to_string();
    let form = Form::new().text("name", "rows").file("rows.jsonl", b"{\"text\": \"a\"}\n");
    let dataset = app.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    app.claim().await;
    let job = app.finished_job("model.safetensors", b"bytes").await.to_string();
    let artifacts = app.get(&format!("/v1/jobs/{job}/artifacts")).await.expect(200).json();
    let artifact = artifacts["data"][0]["id"].as_str().unwrap().to_owned();
    let upload = app.post("/v1/uploads", &json!({"filename": "x", "size_bytes": 1})).await.expect(201).json();
    let recipe = json!({"name": "mine", "recipe": {"version": 1, "stages": [{"method": "quantize", "params": {"bits": 8, "group_size": -1}}]}});
    app.post("/v1/recipes", &recipe).await.expect(201);
    let all = [Scope::Read, Scope::Write, Scope::Admin];
    let owner = make(&app.pool, DEFAULT_TENANT, &all).await;
    let things = [
        ("{model_id}", model),
        ("{dataset_id}", dataset),
        ("{job_id}", job),
        ("{artifact_id}", artifact),
        ("{upload_id}", upload["id"].as_str().unwrap().to_owned()),
        ("{number}", "0".to_owned()),
        ("{name}", "mine".to_owned()),
        ("{key_id}", owner.id().to_string()),
    ];
    let tenant = Uuid::now_v7();
    sqlx::query("insert into tenants (id, name) values ($1, 'other')").bind(tenant).execute(&app.pool).await.unwrap();
    let stranger = make(&app.pool, tenant, &all).await;

    let mut seen = 0;
    for route in ROUTES.iter().filter(|route| route.path.starts_with("/v1/")) {
        let path = things.iter().fold(route.path.to_owned(), |path, (name, id)| path.replace(name, id));
        assert!(!path.contains('{'), "the test has nothing for {path}");
        let method: Method = route.method.to_ascii_uppercase().parse().unwrap();
        if path != route.path {
            let answer = send(&app, &stranger, method, &path).await;
            assert_eq!(answer.status, 404, "{} {path}", route.method);
            seen += 1;
        } else if method == Method::GET {
            let answer = get(&app, &stranger, &path).await;
            if answer.status == 400 {
                continue; // it wants to be asked for something
            }
            let body = answer.expect(200).json();
            let Some(rows) = body["data"].as_array() else { continue };
            let foreign =
                |row: &&Value| things.iter().any(|(_, id)| row["id"] == json!(id) || row["name"] == json!("mine"));
            assert_eq!(rows.iter().find(foreign), None, "{path}");
            seen += 1;
        }
    }
    assert!(seen >= 14, "{seen} routes");
    for path in ["/v1/models", "/v1/datasets", "/v1/jobs", "/v1/api-keys"] {
        assert_ne!(get(&app, &owner, path).await.expect(200).json()["data"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn every_problem_with_a_new_key_is_told() {
    let app = App::start().await;
    let pair = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
    let answer =
        app.post("/v1/api-keys", &json!({"name": "", "scopes": ["read", "all"], "expires": 1})).await.expect(422);
    assert_eq!(
        answer.problems(),
        [pair("/expires", "unknown_field"), pair("/name", "out_of_range"), pair("/scopes/1", "out_of_range")]
    );
    app.get("/v1/models").await.expect(200);
}
