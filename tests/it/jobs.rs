//! Jobs over HTTP.

use pare::db;
use pare::db::jobs::JobState;
use pare::id::{DatasetId, JobId, ModelId};
use serde_json::{Value, json};

use crate::datasets::summary;
use crate::support::app::{App, Form};
use crate::support::engine::shared;

fn pairs<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected.into_iter().map(|(pointer, code)| (pointer.to_owned(), code.to_owned())).collect()
}

async fn revision(app: &App, id: JobId) -> String {
    app.get(&format!("/v1/jobs/{id}")).await.expect(200).header("etag").to_owned()
}

#[tokio::test]
async fn a_job_that_names_what_is_not_there_is_told_all_at_once() {
    let app = App::start().await;
    let body = json!({
        "model_id": ModelId::new(), "recipe_name": "int8", "evaluation_dataset_id": DatasetId::new(),
        "calibration_dataset_id": DatasetId::new(),
    });
    let answer = app.post("/v1/jobs", &body).await.expect(422);
    let missing = "not_found";
    let expected = [("/model_id", missing), ("/calibration_dataset_id", missing), ("/evaluation_dataset_id", missing)];
    assert_eq!(answer.problems(), pairs(expected));
    let answer = app.post("/v1/jobs", &json!({"modelid": "x", "deadline_seconds": 0})).await.expect(422);
    let expected = [
        ("/modelid", "unknown_field"),
        ("/model_id", "missing_field"),
        ("/recipe_name", "missing_field"),
        ("/deadline_seconds", "out_of_range"),
    ];
    assert_eq!(answer.problems(), pairs(expected));
    assert!(answer.json()["detail"].as_str().unwrap().contains("did you mean 'model_id'?"));
}

#[tokio::test]
async fn recipes_are_checked_where_they_stand() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let answer = app.post("/v1/jobs", &json!({"model_id": model, "recipe_name": "int9"})).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/recipe_name", "unknown_recipe")]));
    assert!(answer.json()["detail"].as_str().unwrap().contains("int8"));
    let recipe = json!({"version": 1, "stages": [{"method": "quantize", "param": {}}], "sede": 1});
    let answer = app.post("/v1/jobs", &json!({"model_id": model, "recipe": recipe})).await.expect(422);
    let mut problems = answer.problems();
    problems.sort();
    assert_eq!(problems, pairs([("/recipe/sede", "unknown_field"), ("/recipe/stages/0/param", "unknown_field")]));
    let body = json!({"model_id": model, "recipe_name": "int8", "evaluate": {"max_seq_len": 9}});
    let answer = app.post("/v1/jobs", &body).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/evaluate/max_seq_len", "unknown_field")]));
    let answer = app.post("/v1/jobs", &json!({"kind": "export", "model_id": model})).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/kind", "not_yet_supported")]));
}

#[tokio::test]
async fn a_job_on_a_model_that_is_validating_waits_for_it() {
    let app = App::start().await;
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    let model: ModelId = app.upload("/v1/models/files", form).await.expect(201).id();
    let body = json!({"model_id": model, "recipe_name": "int8", "labels": {"for": "this"}});
    let early = app.send(
        http::Method::POST,
        "/v1/jobs?validate_only=true",
        &[("content-type", "application/json")],
        body.to_string().into_bytes(),
    );
    assert_eq!(early.await.problem(), (409, "not_ready".to_owned()));
    let answer = app.post("/v1/jobs", &body).await.expect(201);
    let job = answer.json();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    assert_eq!((job["state"].as_str(), job["kind"].as_str()), (Some("queued"), Some("compress")));
    assert!(job.get("plan").is_none());
    assert_eq!(job["recipe"]["stages"][0]["method"], "quantize");
    let list =
        |query: &'static str| async { app.get(query).await.expect(200).json()["data"].as_array().unwrap().len() };
    assert_eq!(list("/v1/jobs").await, 1);
    assert_eq!(list("/v1/jobs?kind=validate").await, 1);
    assert_eq!(list("/v1/jobs?state=running").await, 0);
    assert_eq!(list("/v1/jobs?label=for:this&recipe_name=int8").await, 1);
    assert_eq!(list("/v1/jobs?label=for:that").await, 0);
    let filtered = app.get(&format!("/v1/jobs?model_id={model}")).await.expect(200).json();
    assert_eq!(filtered["data"][0]["id"], job["id"]);
    for query in ["state=done", "kind=x", "model_id=job_1", "label=x", "labels=a:b"] {
        assert_eq!(app.get(&format!("/v1/jobs?{query}")).await.problem(), (400, "query_invalid".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_ready_model_is_planned_at_submission() {
    let Some(folder) = shared("edge/valid/bert-tiny-oddvocab") else { return };
    let app = App::start().await;
    let model = app.model(&folder).await;
    let body = json!({"model_id": model, "recipe_name": "int8", "evaluate": {"max_seq_length": 8}});
    let plan = app.post("/v1/jobs?validate_only=true", &body).await.expect(200).json();
    assert_eq!(plan["evaluate"]["max_seq_length"], 8);
    assert!(plan["predicted"]["size_bytes"].as_u64().unwrap() > 0);
    assert_eq!(app.get("/v1/jobs").await.json()["data"], json!([]), "nothing was queued");
    let job = app.post("/v1/jobs", &body).await.expect(201).json();
    assert_eq!(job["plan"], plan);
    let listed = app.get("/v1/jobs").await.json();
    assert!(listed["data"][0].get("plan").is_none(), "plans are long");
    let body = json!({
        "model_id": model, "recipe": {"version": 1, "stages": [{"method": "quantize", "targets": ["nowhere.*"]}]},
    });
    let answer = app.post("/v1/jobs", &body).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/recipe/stages/0/targets/0", "no_such_site")]));
}

#[tokio::test]
async fn rows_must_be_disjoint_and_labels_known() {
    let Some(folder) = shared("edge/valid/bert-tiny-oddvocab") else { return };
    let app = App::start().await;
    let model = app.model(&folder).await;
    let shown = app.get(&format!("/v1/models/{model}")).await.json();
    let label = shown["labels"][0].as_str().unwrap().to_owned();
    let good = app.dataset(summary(&["01", "02", "03"], &label)).await;
    let same = app.dataset(summary(&["03", "02", "09"], &label)).await;
    let slip = app.dataset(summary(&["0a"], &format!("{label}x"))).await;
    let unknown = app.bare_model().await;
    let job = |calibration: &str, evaluation: &str| {
        json!({"model_id": model, "recipe_name": "int8", "calibration_dataset_id": calibration,
            "evaluation_dataset_id": evaluation, "evaluate": {"max_seq_length": 8}})
    };
    let answer = app.post("/v1/jobs", &job(&good, &same)).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/evaluation_dataset_id", "datasets_overlap")]));
    assert!(
        answer.json()["detail"].as_str().unwrap().starts_with("2 rows of the evaluation data "),
        "{}",
        answer.json()["detail"]
    );
    let answer = app.post("/v1/jobs", &job(&good, &slip)).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/evaluation_dataset_id", "label_unknown")]));
    assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("'{label}'")));
    let measured = json!({"kind": "evaluate", "model_id": model, "evaluation_dataset_id": good});
    let answer = app.post("/v1/jobs", &measured).await.expect(201).json();
    assert_eq!((answer["kind"].as_str(), answer.get("recipe")), (Some("evaluate"), None));
    let measured = json!({"kind": "evaluate", "model_id": unknown, "evaluation_dataset_id": good});
    let answer = app.post("/v1/jobs", &measured).await.expect(422);
    assert_eq!(answer.problems(), pairs([("/model_id", "unsupported_model")]));
}

#[tokio::test]
async fn a_wait_ends_with_the_job_or_with_a_change() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let path = format!("/v1/jobs/{id}");
    let tag = revision(&app, id).await;
    app.get_with(&path, &[("if-none-match", &tag)]).await.expect(304);
    let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=30")];
    let (changed, claimed) = tokio::join!(app.get_with(&path, &headers), app.claim());
    let changed = changed.expect(200);
    assert_eq!(changed.json()["state"], "running");
    assert_eq!(changed.header("retry-after"), "1");
    assert_ne!(changed.header("etag"), tag);
    let finish = async {
        let mut tx = app.pool.begin().await.unwrap();
        assert!(db::jobs::finish_succeeded(&mut tx, id, claimed.token, &[], None).await.unwrap());
        tx.commit().await.unwrap();
    };
    let (ended, ()) = tokio::join!(app.get_with(&path, &[("prefer", "wait=30")]), finish);
    let ended = ended.expect(200);
    assert_eq!(ended.json()["state"], "succeeded");
    assert!(!ended.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn cancelling_twice_is_fine_and_after_the_end_refused() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let path = format!("/v1/jobs/{id}/cancel");
    for _ in 0..2 {
        let job = app.post(&path, &Value::Null).await.expect(200).json();
        assert_eq!(job["state"], JobState::Cancelled.as_str());
    }
    let running = app.queued_job().await;
    app.claim().await;
    let job = app.post(&format!("/v1/jobs/{running}/cancel"), &Value::Null).await.expect(200).json();
    assert_eq!(job["state"], "cancelling");
    let done = app.finished_job("model.safetensors", b"x").await;
    let answer = app.post(&format!("/v1/jobs/{done}/cancel"), &Value::Null).await;
    assert_eq!(answer.problem(), (409, "job_finished".to_owned()));
    let answer = app.post(&format!("/v1/jobs/{}/cancel", JobId::new()), &Value::Null).await;
    assert_eq!(answer.problem(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn the_log_is_paged_by_number() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let claimed = app.claim().await;
    for line in 0..3 {
        let body = json!({"message": format!("line {line}")});
        assert!(db::jobs::append_event(&app.pool, id, claimed.token, "note", &body).await.unwrap());
    }
    let all = app.get(&format!("/v1/jobs/{id}/events")).await.expect(200).json();
    let seq: Vec<i64> = all["data"].as_array().unwrap().iter().map(|line| line["seq"].as_i64().unwrap()).collect();
    assert_eq!(seq, (1..=seq.len() as i64).collect::<Vec<_>>(), "no gap");
    let page = app.get(&format!("/v1/jobs/{id}/events?limit=1&after=1")).await.expect(200).json();
    assert_eq!(page["data"][0]["seq"], 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = app.get(&format!("/v1/jobs/{id}/events?limit=1&cursor={cursor}")).await.expect(200).json();
    assert_eq!(next["data"][0]["seq"], 3);
    assert_eq!(app.get(&format!("/v1/jobs/{id}/events?after=-1")).await.problem(), (400, "query_invalid".to_owned()));
}

#[tokio::test]
async fn stored_recipes_are_versions_of_a_name() {
    let app = App::start().await;
    let recipe = json!({"version": 1, "stages": [{"method": "quantize", "params": {"bits": 8}}]});
    let body = json!({"name": "mine", "recipe": recipe});
    let first = app.post("/v1/recipes", &body).await.expect(201);
    assert_eq!((first.json()["version"].as_i64(), first.header("location")), (Some(1), "/v1/recipes/mine"));
    assert_eq!(app.post("/v1/recipes", &body).await.expect(201).json()["version"], 2);
    let found = app.get("/v1/recipes/mine").await.expect(200).json();
    assert_eq!((found["version"].as_i64(), &found["recipe"]), (Some(2), &recipe));
    let list = app.get("/v1/recipes?limit=1").await.expect(200).json();
    assert_eq!(list["data"][0]["is_preset"], true);
    let mut names = vec![list["data"][0]["name"].clone()];
    let mut cursor = list["next_cursor"].clone();
    while let Some(text) = cursor.as_str() {
        let page = app.get(&format!("/v1/recipes?limit=1&cursor={text}")).await.expect(200).json();
        names.push(page["data"][0]["name"].clone());
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(names.last().unwrap(), "mine");
    assert_eq!(names.len(), 1 + pare::engine::recipe::presets().len());
    let answer = app.post("/v1/recipes", &json!({"name": "int8", "recipe": {"version": 2}})).await.expect(422);
    assert_eq!(answer.problems()[0], ("/name".to_owned(), "name_reserved".to_owned()));
    assert!(answer.problems().len() > 1, "the recipe's problems too");
    assert_eq!(app.get("/v1/recipes/None").await.problem(), (404, "not_found".to_owned()));
    let model = app.bare_model().await;
    let job = app.post("/v1/jobs", &json!({"model_id": model, "recipe_name": "mine"})).await;
    assert!(matches!(job.status.as_u16(), 201 | 422), "a stored recipe is found");
}
