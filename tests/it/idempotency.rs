//! `Idempotency-Key`: what is asked for twice is done once.

use http::Method;
use pare::db::{self, idempotency};
use pare::id::ModelId;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Form};

async fn post(app: &App, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send(Method::POST, path, &headers, body.to_string().into_bytes()).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

async fn count(app: &App, path: &str) -> usize {
    app.get(path).await.expect(200).json()["data"].as_array().unwrap().len()
}

/// A job on a model that is not ready: it is not planned, so it is taken as it is.
async fn job_body(app: &App) -> Value {
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    let model: ModelId = app.upload("/v1/models/files", form).await.expect(201).id();
    json!({"model_id": model, "recipe_name": "int8"})
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let app = App::start().await;
    let recipe = |bits: u32| json!({"name": "mine", "recipe": {"version": 1, "stages": [{"method": "quantize", "params": {"bits": bits}}]}});
    let first = post(&app, "/v1/recipes", "k", &recipe(8)).await.expect(201);
    assert!(!is_replayed(&first));
    let again = post(&app, "/v1/recipes", "k", &recipe(8)).await.expect(201);
    assert!(is_replayed(&again));
    assert_eq!((again.json()["version"].as_u64(), &again.body), (Some(1), &first.body));
    let reused = (422, "idempotency_key_reused".to_owned());
    assert_eq!(post(&app, "/v1/recipes", "k", &recipe(4)).await.problem(), reused);
    assert_eq!(post(&app, "/v1/jobs", "k", &recipe(8)).await.problem(), reused);
    assert_eq!(post(&app, "/v1/recipes", "l", &recipe(8)).await.expect(201).json()["version"], 2);
    let plain = app.post("/v1/recipes", &recipe(8)).await.expect(201);
    assert_eq!(plain.json()["version"], 3, "without a key each is new");
    for bad in ["", "a\tb", &"x".repeat(256)] {
        let answer = post(&app, "/v1/recipes", bad, &recipe(8)).await;
        assert_eq!(answer.problem(), (400, "idempotency_key_invalid".to_owned()), "{bad:?}");
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_key_unused() {
    let app = App::start().await;
    let body = job_body(&app).await;
    let mut wrong = body.clone();
    wrong["recipe_name"] = json!("int9");
    assert_eq!(post(&app, "/v1/jobs", "k", &wrong).await.problem().0, 422);
    assert_eq!(post(&app, "/v1/jobs", "k", &json!({})).await.problem().0, 422);
    let done = post(&app, "/v1/jobs", "k", &body).await.expect(201);
    assert!(!is_replayed(&done));
    assert_eq!(count(&app, "/v1/jobs").await, 1);
}

#[tokio::test]
async fn a_request_that_is_being_carried_out_is_not_begun_again() {
    let app = App::start().await;
    let recipe = json!({"name": "mine", "recipe": {"version": 1, "stages": [{"method": "quantize"}]}});
    // another server, in the midst of it
    let mut other = app.pool.begin().await.unwrap();
    assert!(idempotency::lock(&mut other, db::DEFAULT_TENANT, "k").await.unwrap());
    let answer = post(&app, "/v1/recipes", "k", &recipe).await;
    assert_eq!(answer.problem(), (409, "idempotency_key_in_use".to_owned()));
    post(&app, "/v1/recipes", "l", &recipe).await.expect(201);
    // it broke down
    other.rollback().await.unwrap();
    assert!(!is_replayed(&post(&app, "/v1/recipes", "k", &recipe).await.expect(201)));
}

#[tokio::test]
async fn uploads_are_the_same_by_what_is_in_them() {
    let app = App::start().await;
    for path in ["/v1/models", "/v1/datasets"] {
        let upload = async |form: Form| {
            let media_type = Form::media_type();
            let headers = [("content-type", media_type.as_str()), ("idempotency-key", path)];
            app.send(Method::POST, &format!("{path}/files"), &headers, form.finish()).await
        };
        let form = || Form::new().text("name", "x").file("a.json", b"{}").file("b.json", b"[]");
        let first = upload(form()).await.expect(201);
        assert!(!is_replayed(&first));
        let turned = Form::new().file("b.json", b"[]").file("a.json", b"{}").text("name", "x");
        let again = upload(turned).await.expect(201);
        assert!(is_replayed(&again));
        assert_eq!(again.body, first.body);
        assert_eq!(count(&app, path).await, 1);
        let other = upload(Form::new().text("name", "x").file("a.json", b"{}").file("b.json", b"[1]")).await;
        assert_eq!(other.problem(), (422, "idempotency_key_reused".to_owned()));
    }
}

#[tokio::test]
async fn keys_expire_and_are_collected() {
    let app = App::start().await;
    let recipe = json!({"name": "mine", "recipe": {"version": 1, "stages": [{"method": "quantize"}]}});
    for key in ["k", "l"] {
        post(&app, "/v1/recipes", key, &recipe).await.expect(201);
    }
    let kept: i64 = sqlx::query_scalar(
        "select count(*) from idempotency_keys
        where expires_at between now() + interval '6 days 23 hours' and now() + interval '7 days'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(kept, 2);
    sqlx::query("update idempotency_keys set expires_at = now()").execute(&app.pool).await.unwrap();
    let anew = post(&app, "/v1/recipes", "k", &recipe).await.expect(201);
    assert!(!is_replayed(&anew));
    assert!(is_replayed(&post(&app, "/v1/recipes", "k", &recipe).await.expect(201)));
    assert_eq!(idempotency::forget_expired(&app.pool).await.unwrap(), 1);
    assert!(is_replayed(&post(&app, "/v1/recipes", "k", &recipe).await.expect(201)));
}
