//! Models and datasets that are made of uploads and of results.

use pare::http::HostRule;
use pare::id::{JobId, UploadId};
use pare::store::Digest;
use serde_json::{Value, json};

use super::{begin, limits, over_both_stores, problem, start, uploaded};
use crate::support::app::App;
use crate::support::engine::own;
use crate::support::worker::Bench;

fn files(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(path, id)| json!({"path": path, "upload_id": id})).collect()
}

#[tokio::test]
async fn uploads_become_a_model() {
    over_both_stores(|app| async move {
        let (config, weights) = (uploaded(&app, b"{}").await, uploaded(&app, b"weights").await);
        let body =
            json!({"name": "mine", "files": files(&[("config.json", &config), ("a/model.safetensors", &weights)])});
        let answer = app.post("/v1/models", &body).await.expect(201);
        let model = answer.json();
        assert_eq!((model["name"].as_str(), model["state"].as_str()), (Some("mine"), Some("validating")));
        assert_eq!(answer.header("location"), format!("/v1/models/{}", model["id"].as_str().unwrap()));
        assert_eq!(model["files"][0]["path"], "a/model.safetensors");
        assert_eq!(model["files"][0]["sha256"], Digest::of(b"weights").to_string());
        assert_eq!(model["size_bytes"], 9);
        assert_eq!(app.claim().await.job.model_id.unwrap().to_string(), model["id"].as_str().unwrap());
        // one upload may be in several models
        app.post("/v1/models", &body).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_real_model_is_uploaded_checked_and_ready() {
    let bench = Bench::new().await;
    let app = App::over(bench.pool().clone(), bench.store.clone(), limits(), HostRule::Loopback).await;
    let worker = bench.start(bench.config());
    let mut list = Vec::new();
    let names = ["config.json", "tokenizer.json", "model.safetensors"];
    for name in names.iter().filter(|name| own("tickets").join(name).exists()) {
        list.push((*name, uploaded(&app, &std::fs::read(own("tickets").join(name)).unwrap()).await));
    }
    let list: Vec<(&str, &str)> = list.iter().map(|(name, id)| (*name, id.as_str())).collect();
    let made = app.post("/v1/models", &json!({"name": "tickets", "files": files(&list)})).await.expect(201).json();
    let path = format!("/v1/models/{}", made["id"].as_str().unwrap());
    let model = app.get_with(&path, &[("prefer", "wait=60")]).await.expect(200).json();
    assert_eq!((model["state"].as_str(), model["support"].as_str()), (Some("ready"), Some("full")), "{model}");
    worker.stop().await;
}

#[tokio::test]
async fn uploads_become_a_dataset() {
    let app = start().await;
    let id = uploaded(&app, b"{\"text\": \"a\"}\n").await;
    let body = json!({"name": "rows", "files": files(&[("test.jsonl", &id)])});
    let answer = app.post("/v1/datasets", &body).await.expect(201);
    assert_eq!(answer.header("location"), format!("/v1/datasets/{}", answer.json()["id"].as_str().unwrap()));
    assert_eq!(answer.json()["files"][0]["path"], "test.jsonl");
    let body = json!({"name": "rows", "source_job_id": JobId::new()});
    assert_eq!(app.post("/v1/datasets", &body).await.problems()[0].1, "unknown_field");
}

#[tokio::test]
async fn foreign_files_and_bad_paths_are_refused_all_at_once() {
    let app = start().await;
    let (good, pickle, zip) = (
        uploaded(&app, b"{}").await,
        uploaded(&app, b"\x80\x04\x95\x10\0\0\0\0\0\0\0\0").await,
        uploaded(&app, b"PK\x03\x04and so on").await,
    );
    let pending = begin(&app, 9).await;
    let unknown = UploadId::new().to_string();
    let list = files(&[
        ("model.safetensors", &pickle),
        ("weights.safetensors", &zip),
        ("pytorch_model.bin", &good),
        ("../up", &good),
        ("config.json", &good),
        ("config.json", &good),
        ("a", &pending),
        ("b", &unknown),
    ]);
    let answer = app.post("/v1/models", &json!({"name": "x", "files": list})).await.expect(415);
    let expected = [
        ("/files/0/path", "pickle_refused"),
        ("/files/1/path", "archive_refused"),
        ("/files/2/path", "pickle_refused"),
        ("/files/3/path", "path_invalid"),
        ("/files/5/path", "path_duplicate"),
        ("/files/6/upload_id", "upload_incomplete"),
        ("/files/7/upload_id", "not_found"),
    ];
    assert_eq!(answer.problems(), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    assert_eq!(app.get("/v1/models").await.json()["data"], json!([]));
    let answer = app.post("/v1/models", &json!({"name": "x", "files": files(&[("b", &unknown)])})).await.expect(422);
    assert_eq!(answer.problems()[0].1, "not_found");
    let rows = json!({"name": "x", "files": files(&[("rows.jsonl", &zip)])});
    assert_eq!(app.post("/v1/datasets", &rows).await.problem(), problem(415, "archive_refused"));
}

#[tokio::test]
async fn a_request_is_read_strictly() {
    let app = start().await;
    let found = async |body: Value| app.post("/v1/models", &body).await.problems();
    let one = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
    assert_eq!(found(json!({})).await, [one("/name", "missing_field"), one("/files", "missing_field")]);
    assert_eq!(found(json!({"name": "x", "files": []})).await, [one("/files", "missing_field")]);
    assert_eq!(found(json!({"name": "x", "files": {}})).await, [one("/files", "wrong_type")]);
    let body = json!({"name": "x", "files": [1, {"path": 2, "upload": "upl_1"}, {"path": "a", "upload_id": "mdl_1"}]});
    let expected = [
        one("/files/0", "wrong_type"),
        one("/files/1/upload", "unknown_field"),
        one("/files/1/path", "wrong_type"),
        one("/files/1/upload_id", "missing_field"),
        one("/files/2/upload_id", "out_of_range"),
    ];
    assert_eq!(found(body).await, expected);
    let both =
        json!({"name": "x", "files": [{"path": "a", "upload_id": UploadId::new()}], "source_job_id": JobId::new()});
    assert_eq!(found(both).await[0], one("/source_job_id", "out_of_range"));
}

#[tokio::test]
async fn a_result_becomes_a_model_without_moving_a_byte() {
    let app = start().await;
    let job = app.finished_job("model.safetensors", b"small weights").await;
    let before = std::fs::read_dir(app.folder.as_ref().unwrap().path().join("staging")).unwrap().count();
    let body = json!({"name": "small", "source_job_id": job});
    let model = app.post("/v1/models", &body).await.expect(201).json();
    assert_eq!(model["source_job_id"], json!(job));
    let list = model["files"].as_array().unwrap();
    assert_eq!(list.len(), 1, "checkpoints and reports are no part of it");
    assert_eq!(list[0]["path"], "model.safetensors");
    assert_eq!(list[0]["sha256"], Digest::of(b"small weights").to_string());
    assert_eq!(std::fs::read_dir(app.folder.as_ref().unwrap().path().join("staging")).unwrap().count(), before);

    let unknown = json!({"name": "x", "source_job_id": JobId::new()});
    let answer = app.post("/v1/models", &unknown).await.expect(422);
    assert_eq!(answer.problems(), [("/source_job_id".to_owned(), "not_found".to_owned())]);
    let queued =
        app.post("/v1/jobs", &json!({"model_id": model["id"], "recipe_name": "int8"})).await.expect(201).json();
    let queued = &queued["id"];
    let answer = app.post("/v1/models", &json!({"name": "x", "source_job_id": queued})).await;
    assert_eq!(answer.problem(), problem(409, "job_not_succeeded"));
}
