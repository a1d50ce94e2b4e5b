//! Downloads.

use http::Method;
use pare::id::{ArtifactId, JobId};
use pare::store::Digest;

use crate::support::app::App;

const BYTES: &[u8] = b"0123456789";

/// A finished job's only artifact.
async fn artifact(app: &App, path: &str) -> (JobId, String) {
    let job = app.finished_job(path, BYTES).await;
    let list = app.get(&format!("/v1/jobs/{job}/artifacts")).await.expect(200).json();
    let data = list["data"].as_array().unwrap();
    assert_eq!(data.len(), 1, "checkpoints are no artifacts");
    assert_eq!(data[0]["path"], path);
    let id = data[0]["id"].as_str().unwrap();
    (job, format!("/v1/artifacts/{id}/content"))
}

#[tokio::test]
async fn a_whole_file_comes_with_its_name_hash_and_tag() {
    let app = App::start().await;
    let (_, path) = artifact(&app, "sub/modèle \"1\".safetensors").await;
    let answer = app.get(&path).await.expect(200);
    assert_eq!(answer.body, BYTES);
    assert_eq!(answer.header("etag"), format!("\"{}\"", Digest::of(BYTES)));
    // base64 of SHA-256 of "0123456789", by coreutils
    assert_eq!(answer.header("repr-digest"), "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"mod_le _1_.safetensors\"; filename*=UTF-8''mod%C3%A8le%20%221%22.safetensors"
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("cache-control").contains("immutable"));
    let head = app.send(Method::HEAD, &path, &[], Vec::new()).await.expect(200);
    assert_eq!(head.header("content-length"), "10");
    assert_eq!(head.header("etag"), answer.header("etag"));
    let tag = answer.header("etag").to_owned();
    app.get_with(&path, &[("if-none-match", &tag)]).await.expect(304);
}

#[tokio::test]
async fn one_range_is_sent_and_a_bad_one_refused() {
    let app = App::start().await;
    let (_, path) = artifact(&app, "model.safetensors").await;
    for (range, body, content_range) in [
        ("bytes=2-4", &b"234"[..], "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ] {
        let answer = app.get_with(&path, &[("range", range)]).await.expect(206);
        assert_eq!((&answer.body[..], answer.header("content-range")), (body, content_range));
    }
    for range in ["bytes=10-", "bytes=4-2", "bytes=x", "bytes=-0"] {
        let answer = app.get_with(&path, &[("range", range)]).await;
        assert_eq!(answer.problem(), (416, "range_not_satisfiable".to_owned()), "{range}");
        assert_eq!(answer.header("content-range"), "bytes */10");
    }
    assert_eq!(app.get_with(&path, &[("range", "bytes=0-1,4-5")]).await.expect(200).body, BYTES);
    let tag = format!("\"{}\"", Digest::of(BYTES));
    assert_eq!(app.get_with(&path, &[("range", "bytes=0-0"), ("if-range", &tag)]).await.expect(206).body, &b"0"[..]);
    assert_eq!(app.get_with(&path, &[("range", "bytes=0-0"), ("if-range", "\"old\"")]).await.expect(200).body, BYTES);
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_lost_is_500() {
    let app = App::start().await;
    let path = format!("/v1/artifacts/{}/content", ArtifactId::new());
    assert_eq!(app.get(&path).await.problem(), (404, "not_found".to_owned()));
    app.send(Method::HEAD, &path, &[], Vec::new()).await.expect(404);
    let (_, path) = artifact(&app, "model.safetensors").await;
    app.store.delete(&Digest::of(BYTES)).await.unwrap();
    let lost = app.get(&path).await;
    assert_eq!(lost.problem(), (500, "internal_error".to_owned()));
    assert!(!String::from_utf8_lossy(&lost.body).contains("blob"), "a 5xx tells no cause");
}

#[tokio::test]
async fn a_report_is_there_when_the_job_has_succeeded() {
    let app = App::start().await;
    let queued = app.queued_job().await;
    let missing = (404, "report_unavailable".to_owned());
    assert_eq!(app.get(&format!("/v1/jobs/{queued}/report")).await.problem(), missing);
    assert_eq!(app.get(&format!("/v1/jobs/{queued}/report.html")).await.problem(), missing);
    assert_eq!(app.get(&format!("/v1/jobs/{}/report", JobId::new())).await.problem(), (404, "not_found".to_owned()));
    app.claim().await;
    let (job, _) = artifact(&app, "model.safetensors").await;
    assert_eq!(app.get(&format!("/v1/jobs/{job}/report")).await.expect(200).json()["version"], 1);
    let page = app.get(&format!("/v1/jobs/{job}/report.html")).await.expect(200);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
}
