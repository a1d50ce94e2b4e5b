//! Doing a job once more.

use chrono::{DateTime, Utc};
use pare::id::{JobId, ModelId};
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Form};
use crate::support::engine::own;
use crate::support::results::compress;

async fn retry(app: &App, id: &Value) -> Answer {
    app.send(http::Method::POST, &format!("/v1/jobs/{}/retry", id.as_str().unwrap()), &[], Vec::new()).await
}

async fn cancel(app: &App, id: &Value) {
    app.post(&format!("/v1/jobs/{}/cancel", id.as_str().unwrap()), &Value::Null).await.expect(200);
}

fn seconds(job: &Value) -> i64 {
    let time = |field: &str| job[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    (time("deadline_at") - time("created_at")).num_seconds()
}

#[tokio::test]
async fn a_retry_is_a_new_job_with_all_that_was_asked_for() {
    let app = App::start().await;
    let model = app.model(&own("tickets")).await;
    let body = json!({
        "model_id": model, "recipe_name": "int8", "evaluate": {"max_seq_length": 8}, "labels": {"for": "this"},
        "priority": 7, "deadline_seconds": 4000,
    });
    let old = app.post("/v1/jobs", &body).await.expect(201).json();
    assert_eq!(retry(&app, &old["id"]).await.problem(), (409, "job_live".to_owned()));
    cancel(&app, &old["id"]).await;
    let answer = retry(&app, &old["id"]).await.expect(201);
    let new = answer.json();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", new["id"].as_str().unwrap()));
    assert_ne!(new["id"], old["id"]);
    assert_eq!((new["retry_of"].clone(), new["state"].as_str()), (old["id"].clone(), Some("queued")));
    for field in ["kind", "model_id", "recipe_name", "recipe", "evaluate", "labels", "priority", "plan"] {
        assert_eq!(new[field], old[field], "{field}");
        assert!(!new[field].is_null(), "{field}");
    }
    assert_eq!(seconds(&new), 4000);
    let kept = app.get(&format!("/v1/jobs/{}", old["id"].as_str().unwrap())).await.expect(200).json();
    assert_eq!(kept["state"], "cancelled", "the old one stays as it ended");
}

#[tokio::test]
async fn a_retry_runs_the_recipe_that_was_written_then() {
    let app = App::start().await;
    let model = app.model(&own("tickets")).await;
    let recipe = |bits: u32| {
        let stages = json!([{"method": "quantize", "params": {"bits": bits}}]);
        json!({"name": "mine", "recipe": {"version": 1, "stages": stages}})
    };
    app.post("/v1/recipes", &recipe(8)).await.expect(201);
    let old = app.post("/v1/jobs", &json!({"model_id": model, "recipe_name": "mine"})).await.expect(201).json();
    app.post("/v1/recipes", &recipe(4)).await.expect(201);
    cancel(&app, &old["id"]).await;
    let new = retry(&app, &old["id"]).await.expect(201).json();
    assert_eq!((new["recipe_name"].as_str(), &new["recipe"]), (Some("mine"), &recipe(8)["recipe"]));
    assert_eq!(new["plan"], old["plan"]);
}

#[tokio::test]
async fn a_retry_may_have_more_time() {
    let app = App::start().await;
    let id = app.queue(&compress(app.model(&own("tickets")).await, None)).await;
    cancel(&app, &json!(id)).await;
    let path = format!("/v1/jobs/{id}/retry");
    let job = app.post(&path, &json!({"deadline_seconds": 99})).await.expect(201).json();
    assert_eq!(seconds(&job), 99);
    let job = app.post(&path, &Value::Null).await.expect(201).json();
    assert_eq!(seconds(&job), 24 * 3600);
    let answer = app.post(&path, &json!({"deadline_seconds": 0, "priority": 1})).await.expect(422);
    let mut problems = answer.problems();
    problems.sort();
    let pairs = [("/deadline_seconds", "out_of_range"), ("/priority", "unknown_field")];
    assert_eq!(problems, pairs.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
}

#[tokio::test]
async fn what_can_not_be_retried_says_why() {
    let app = App::start().await;
    assert_eq!(retry(&app, &json!(JobId::new())).await.problem(), (404, "not_found".to_owned()));
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    let model: ModelId = app.upload("/v1/models/files", form).await.expect(201).id();
    let list = app.get("/v1/jobs?kind=validate").await.expect(200).json();
    let validate = &list["data"][0]["id"];
    assert_eq!(retry(&app, validate).await.problem(), (409, "not_retryable".to_owned()));
    cancel(&app, validate).await;
    assert_eq!(retry(&app, validate).await.problem(), (409, "not_retryable".to_owned()));
    let invalid = app.get(&format!("/v1/models/{model}")).await.expect(200).json();
    assert_eq!(invalid["state"], "invalid");

    let id = app.queued_job().await;
    cancel(&app, &json!(id)).await;
    let job = app.get(&format!("/v1/jobs/{id}")).await.expect(200).json();
    let gone = format!("/v1/models/{}", job["model_id"].as_str().unwrap());
    app.send(http::Method::DELETE, &gone, &[], Vec::new()).await.expect(204);
    let answer = retry(&app, &json!(id)).await.expect(422);
    assert_eq!(answer.problems(), [("/model_id".to_owned(), "not_found".to_owned())]);
}
