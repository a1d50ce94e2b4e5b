//! Deleting what is not needed any more.

use http::Method;
use pare::db::jobs::NewJob;
use pare::db::models::NewModel;
use pare::db::{self, NewFile};
use pare::id::{DatasetId, JobId, ModelId};
use pare::store::Digest;
use serde_json::{Value, json};

use crate::datasets::summary;
use crate::support::app::{Answer, App, Form, bare_header};
use crate::support::engine::own;
use crate::support::results::{compress, report};

async fn delete(app: &App, path: &str) -> Answer {
    app.send(Method::DELETE, path, &[], Vec::new()).await
}

#[tokio::test]
async fn a_model_goes_once_no_job_needs_it() {
    let app = App::start().await;
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    let early: ModelId = app.upload("/v1/models/files", form).await.expect(201).id();
    let answer = delete(&app, &format!("/v1/models/{early}")).await;
    assert_eq!(answer.problem(), (409, "in_use".to_owned()), "it is being validated");
    assert!(answer.json()["detail"].as_str().unwrap().contains("job_"), "the job is named");
    app.validate(&bare_header(), None).await;

    let model = app.bare_model().await;
    let (path, job) = (format!("/v1/models/{model}"), app.queue(&compress(model, None)).await);
    assert_eq!(delete(&app, &path).await.problem(), (409, "in_use".to_owned()));
    app.post(&format!("/v1/jobs/{job}/cancel"), &Value::Null).await.expect(200);
    assert!(delete(&app, &path).await.expect(204).body.is_empty());
    for answer in [app.get(&path).await, delete(&app, &path).await] {
        assert_eq!(answer.problem(), (404, "not_found".to_owned()));
    }
    let list = app.get("/v1/models").await.expect(200).json();
    assert!(list["data"].as_array().unwrap().iter().all(|one| one["id"] != json!(model)));
    let job = app.get(&format!("/v1/jobs/{job}")).await.expect(200).json();
    assert_eq!(job["model_id"], json!(model), "the job still says what it worked on");
    let answer = app.post("/v1/jobs", &json!({"model_id": model, "recipe_name": "int8"})).await.expect(422);
    assert_eq!(answer.problems(), [("/model_id".to_owned(), "not_found".to_owned())]);
}

#[tokio::test]
async fn a_dataset_goes_once_no_job_needs_it() {
    let app = App::start().await;
    let (model, rows) = (app.bare_model().await, app.dataset(summary(&["01"], "x")).await);
    let path = format!("/v1/datasets/{rows}");
    let new = NewJob { calibration_dataset_id: Some(rows.parse::<DatasetId>().unwrap()), ..compress(model, None) };
    let job = app.queue(&new).await;
    assert_eq!(delete(&app, &path).await.problem(), (409, "in_use".to_owned()));
    app.post(&format!("/v1/jobs/{job}/cancel"), &Value::Null).await.expect(200);
    delete(&app, &path).await.expect(204);
    assert_eq!(app.get(&path).await.problem(), (404, "not_found".to_owned()));
    assert_eq!(delete(&app, &path).await.problem(), (404, "not_found".to_owned()));
    assert_eq!(app.get("/v1/datasets").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_job_goes_with_all_that_it_left_once_it_has_ended() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let live = app.queue(&compress(model, None)).await;
    let answer = delete(&app, &format!("/v1/jobs/{live}")).await;
    assert_eq!(answer.problem(), (409, "job_live".to_owned()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("queued"));
    app.claim().await;
    assert_eq!(delete(&app, &format!("/v1/jobs/{live}")).await.problem(), (409, "job_live".to_owned()));

    let job = app.result(&compress(model, None), &report(1, 0.5), &[("artifact", "a", b"bytes")]).await;
    let artifacts = app.get(&format!("/v1/jobs/{job}/artifacts")).await.expect(200).json();
    let artifact = format!("/v1/artifacts/{}/content", artifacts["data"][0]["id"].as_str().unwrap());
    app.get(&artifact).await.expect(200);
    delete(&app, &format!("/v1/jobs/{job}")).await.expect(204);
    for path in ["", "/report", "/artifacts", "/events", "/artifacts.tar"] {
        assert_eq!(app.get(&format!("/v1/jobs/{job}{path}")).await.problem(), (404, "not_found".to_owned()), "{path}");
    }
    assert_eq!(app.get(&artifact).await.problem(), (404, "not_found".to_owned()));
    for id in [job, JobId::new()] {
        assert_eq!(delete(&app, &format!("/v1/jobs/{id}")).await.problem(), (404, "not_found".to_owned()));
    }
}

#[tokio::test]
async fn what_was_made_of_a_job_s_result_outlives_the_job() {
    let app = App::start().await;
    let model = app.model(&own("tickets")).await;
    let job = app.result(&compress(model, None), &report(1, 0.5), &[("artifact", "w", b"weights")]).await;
    let sha256 = Digest::of(b"weights").to_string();
    let files = vec![NewFile { path: "w".to_owned(), sha256, size_bytes: 7 }];
    let new = NewModel { name: "made".to_owned(), files, source_job_id: Some(job) };
    let made = db::models::insert(&app.pool, db::DEFAULT_TENANT, &new).await.unwrap();
    let path = format!("/v1/models/{}", made.id);
    assert_eq!(app.get(&path).await.expect(200).json()["source_job_id"], json!(job));
    let retried = app.post(&format!("/v1/jobs/{job}/retry"), &Value::Null).await.expect(201).json();
    delete(&app, &format!("/v1/jobs/{job}")).await.expect(204);
    let shown = app.get(&path).await.expect(200).json();
    assert_eq!((shown.get("source_job_id"), shown["files"].as_array().unwrap().len()), (None, 1));
    let mut conn = app.pool.acquire().await.unwrap();
    let dead = db::blobs::list_unreferenced(&mut conn, -1.0, 100).await.unwrap();
    assert_eq!(dead, [], "the model names the bytes");
    let retry = app.get(&format!("/v1/jobs/{}", retried["id"].as_str().unwrap())).await.expect(200).json();
    assert_eq!(retry.get("retry_of"), None, "it names nothing that is not there");
}
