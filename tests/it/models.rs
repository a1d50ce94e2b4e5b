//! Models over HTTP: what is taken, what is refused, what is shown.

use http::Method;
use pare::engine::problem::{Code, Problem};
use pare::http::{HostRule, Limits};
use pare::id::ModelId;
use pare::store::Digest;
use serde_json::json;

use crate::support::app::{App, Form, bare_header};
use crate::support::engine::shared;

const FILES: &str = "/v1/models/files";

#[tokio::test]
async fn an_upload_is_stored_whole_in_any_order_of_parts() {
    let app = App::start().await;
    let large = vec![7_u8; 3 << 20];
    let form = Form::new().file("a/model.safetensors", &large).text("name", "my model").file("config.json", b"");
    let answer = app.upload(FILES, form).await.expect(201);
    let model = answer.json();
    assert_eq!((model["name"].as_str(), model["state"].as_str()), (Some("my model"), Some("validating")));
    assert_eq!(model["size_bytes"], json!(3 << 20));
    assert_eq!(answer.header("location"), format!("/v1/models/{}", model["id"].as_str().unwrap()));
    let files = model["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    let digest = Digest::of(&large);
    assert_eq!(files[0]["path"], "a/model.safetensors");
    assert_eq!(files[0]["sha256"], digest.to_string());
    assert_eq!(app.store.size_bytes(&digest).await.unwrap(), 3 << 20);
}

#[tokio::test]
async fn refused_files_are_all_named_and_nothing_is_stored() {
    let app = App::start().await;
    let form = Form::new()
        .file("pytorch_model.bin", b"anything")
        .file("model.tar.gz", b"anything")
        .file("model.safetensors", b"\x80\x04\x95\x10\0\0\0\0\0\0\0\0")
        .file("weights.safetensors", b"PK\x03\x04and so on")
        .file("model.gguf", b"GGUF")
        .file("config.json", b"{}")
        .text("name", "x");
    let answer = app.upload(FILES, form).await.expect(415);
    let expected = [
        ("/files/pytorch_model.bin", "pickle_refused"),
        ("/files/model.tar.gz", "archive_refused"),
        ("/files/model.safetensors", "pickle_refused"),
        ("/files/weights.safetensors", "archive_refused"),
        ("/files/model.gguf", "format_unsupported"),
    ];
    assert_eq!(answer.problems(), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    assert!(answer.json()["detail"].as_str().unwrap().contains("python"), "the command that converts");
    assert!(app.store.size_bytes(&Digest::of(b"{}")).await.is_err(), "the good file was stored");
    assert_eq!(app.get("/v1/models").await.json()["data"], json!([]));
}

#[tokio::test]
async fn paths_are_relative_and_unique() {
    let app = App::start().await;
    let form = Form::new()
        .text("name", "x")
        .file("/etc/passwd", b"")
        .file("../up", b"")
        .file("a//b", b"")
        .file("c:\\x", b"")
        .file("good.json", b"1")
        .file("good.json", b"2")
        .part("form-data; name=\"files\"", b"no name");
    let answer = app.upload(FILES, form).await.expect(422);
    let codes: Vec<String> = answer.problems().into_iter().map(|(_, code)| code).collect();
    let wrong = "path_invalid";
    assert_eq!(codes, [wrong, wrong, wrong, wrong, "path_duplicate", "filename_missing"]);
}

#[tokio::test]
async fn the_form_is_asked_for_what_it_lacks() {
    let app = App::start().await;
    let empty = app.upload(FILES, Form::new()).await;
    // a form without any part is broken already
    assert!(matches!(empty.status.as_u16(), 400 | 422), "{}", empty.status);
    let answer = app.upload(FILES, Form::new().text("nam", "x").file("config.json", b"{}")).await.expect(422);
    assert_eq!(answer.problems()[0], ("/nam".to_owned(), "unknown_field".to_owned()));
    let answer = app.upload(FILES, Form::new().file("config.json", b"{}")).await.expect(422);
    assert_eq!(answer.problems(), [("/name".to_owned(), "missing_field".to_owned())]);
    let answer = app.upload(FILES, Form::new().text("name", "x")).await.expect(422);
    assert_eq!(answer.problems(), [("/files".to_owned(), "missing_field".to_owned())]);
    let answer = app.upload(FILES, Form::new().text("name", "a\u{1}").file("config.json", b"")).await.expect(422);
    assert_eq!(answer.problems(), [("/name".to_owned(), "out_of_range".to_owned())]);
    let nothing = app.send(Method::POST, FILES, &[("content-type", "multipart/form-data")], Vec::new()).await;
    assert_eq!(nothing.problem(), (400, "multipart_invalid".to_owned()));
    let json = app.post(FILES, &json!({})).await;
    assert_eq!(json.problem(), (415, "media_type_unsupported".to_owned()));
    let cut = [("content-type", "multipart/form-data; boundary=b")];
    let body = b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a\"\r\n\r\nhalf".to_vec();
    assert_eq!(app.send(Method::POST, FILES, &cut, body).await.problem().0, 400);
}

#[tokio::test]
async fn limits_hold_for_bytes_files_and_headers() {
    let limits = Limits { upload_bytes: 2 << 20, upload_files: 2, ..Limits::default() };
    let app = App::with(limits, HostRule::Loopback).await;
    let form = Form::new().text("name", "x").file("a", &vec![0; (2 << 20) + 1]);
    assert_eq!(app.upload(FILES, form).await.problem(), (413, "body_too_large".to_owned()));
    let form = Form::new().text("name", "x").file("a", b"").file("b", b"").file("c", b"");
    assert_eq!(app.upload(FILES, form).await.problem(), (413, "too_many_files".to_owned()));
    let endless = format!("form-data; name=\"files\"; filename=\"a\"\r\nX: {}", "y".repeat(3 << 19));
    let form = Form::new().part(&endless, b"");
    assert_eq!(app.upload(FILES, form).await.problem(), (400, "multipart_invalid".to_owned()));
    let headers = [("content-type", "multipart/form-data; boundary=b"), ("content-encoding", "gzip")];
    let answer = app.send(Method::POST, FILES, &headers, Vec::new()).await;
    assert_eq!(answer.problem(), (415, "content_encoding_unsupported".to_owned()));
}

#[tokio::test]
async fn a_wait_ends_when_the_model_is_validated() {
    let app = App::start().await;
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    let id: ModelId = app.upload(FILES, form).await.expect(201).id();
    let path = format!("/v1/models/{id}");
    let header = bare_header();
    let (answer, ()) = tokio::join!(app.get_with(&path, &[("prefer", "wait=30")]), app.validate(&header, None));
    let model = answer.expect(200);
    assert_eq!(model.header("preference-applied"), "wait=30");
    let model = model.json();
    assert_eq!((model["state"].as_str(), model["support"].as_str()), (Some("ready"), Some("weights_only")));
}

#[tokio::test]
async fn an_invalid_model_says_why() {
    let app = App::start().await;
    let form = Form::new().text("name", "x").file("model.safetensors", b"{}");
    let id: ModelId = app.upload(FILES, form).await.expect(201).id();
    let problem = Problem::new("/files/model.safetensors", Code::SafetensorsTruncated, "it ends early");
    let mut tx = app.pool.begin().await.unwrap();
    assert!(pare::db::models::reject(&mut tx, id, &[problem]).await.unwrap());
    tx.commit().await.unwrap();
    let model = app.get(&format!("/v1/models/{id}")).await.expect(200).json();
    assert_eq!(model["state"], "invalid");
    assert_eq!(model["errors"][0]["code"], "safetensors_truncated");
    let job = app.post("/v1/jobs", &json!({"model_id": id, "recipe_name": "int8"})).await.expect(422);
    assert_eq!(job.problems(), [("/model_id".to_owned(), "model_invalid".to_owned())]);
}

#[tokio::test]
async fn a_real_model_shows_what_is_in_it() {
    let Some(folder) = shared("edge/valid/bert-tiny-oddvocab") else { return };
    let app = App::start().await;
    let id = app.model(&folder).await;
    let model = app.get(&format!("/v1/models/{id}")).await.expect(200).json();
    assert_eq!((model["state"].as_str(), model["family"].as_str()), (Some("ready"), Some("bert")));
    let groups = model["bytes_by_group"].as_object().unwrap();
    let sum: u64 = groups.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    let weights = model["weight_bytes"].as_u64().unwrap();
    assert!(sum > 0 && sum <= weights, "{sum} of {weights}");
}

#[tokio::test]
async fn lists_are_paged_newest_first() {
    let app = App::start().await;
    for name in ["one", "two", "three"] {
        app.upload(FILES, Form::new().text("name", name).file("config.json", b"{}")).await.expect(201);
    }
    let first = app.get("/v1/models?limit=2").await.expect(200).json();
    let names: Vec<_> = first["data"].as_array().unwrap().iter().map(|model| model["name"].clone()).collect();
    assert_eq!(names, ["three", "two"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = app.get(&format!("/v1/models?limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(second["data"][0]["name"], "one");
    assert_eq!(second["next_cursor"], json!(null));
    assert_eq!(app.get("/v1/models?cursor=x").await.problem(), (400, "cursor_invalid".to_owned()));
    for query in ["limit=0", "limit=201", "limit=x", "limits=1", "limit=1&limit=2"] {
        assert_eq!(app.get(&format!("/v1/models?{query}")).await.problem(), (400, "query_invalid".to_owned()));
    }
}

#[tokio::test]
async fn an_id_that_names_nothing_is_404() {
    let app = App::start().await;
    for id in [ModelId::new().to_string(), "mdl_x".to_owned(), "job_1".to_owned(), "%FF".to_owned()] {
        assert_eq!(app.get(&format!("/v1/models/{id}")).await.problem(), (404, "not_found".to_owned()), "{id}");
    }
}
