//! How uploads end that do not become files, and what is allowed at all.

use futures::future::join_all;
use http::Method;
use pare::http::{HostRule, Limits};
use pare::store::Digest;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{PART, begin, complete, folder, limits, look, over_both_stores, pattern, problem, put, start, uploaded};
use crate::support::app::{Answer, App};
use crate::support::worker::{Bench, until};

async fn cancel(app: &App, id: &str) -> Answer {
    app.send(Method::DELETE, &format!("/v1/uploads/{id}"), &[], Vec::new()).await
}

/// Lets an upload's time be up.
async fn age(app: &App, id: &str, by: &str) {
    let uuid = id.strip_prefix("upl_").unwrap();
    let text = format!("update uploads set expires_at = now() - interval '{by}' where id = '{uuid}'");
    sqlx::query(AssertSqlSafe(text)).execute(&app.pool).await.unwrap();
}

/// A server and a worker on the same rows and blobs.
async fn with_worker() -> (Bench, App) {
    let bench = Bench::new().await;
    let app = App::over(bench.pool().clone(), bench.store.clone(), limits(), HostRule::Loopback).await;
    (bench, app)
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    over_both_stores(|app| async move {
        let data = pattern(2 * PART);
        let id = begin(&app, data.len()).await;
        put(&app, &id, 0, &data[..PART]).await.expect(204);
        cancel(&app, &id).await.expect(204);
        cancel(&app, &id).await.expect(204);
        if app.folder.is_some() {
            assert!(!folder(&app, &id).exists(), "its bytes are gone at once");
        }
        let seen = look(&app, &id).await;
        assert_eq!((seen["state"].as_str(), seen["received_bytes"].as_u64()), (Some("cancelled"), Some(0)));
        assert_eq!(put(&app, &id, 1, &data[PART..]).await.problem(), problem(409, "upload_closed"));
        assert_eq!(complete(&app, &id).await.problem(), problem(409, "upload_closed"));
        let unknown = pare::id::UploadId::new().to_string();
        assert_eq!(cancel(&app, &unknown).await.problem(), problem(404, "not_found"));
    })
    .await;
}

#[tokio::test]
async fn an_upload_whose_time_is_up_is_expired_before_anyone_collects_it() {
    let app = start().await;
    let data = pattern(2 * PART);
    let (late, done) = (begin(&app, data.len()).await, uploaded(&app, &data).await);
    put(&app, &late, 0, &data[..PART]).await.expect(204);
    for id in [&late, &done] {
        age(&app, id, "1 second").await;
        assert_eq!(look(&app, id).await["state"], "expired");
        assert_eq!(put(&app, id, 1, &data[PART..]).await.problem(), problem(409, "upload_closed"));
        assert_eq!(complete(&app, id).await.problem(), problem(409, "upload_closed"));
    }
    let body = json!({"name": "x", "files": [{"path": "a", "upload_id": done}]});
    assert_eq!(app.post("/v1/models", &body).await.problem(), problem(409, "upload_incomplete"));
}

#[tokio::test]
async fn collection_takes_what_is_over_and_nothing_else() {
    let (bench, app) = with_worker().await;
    let data = pattern(2 * PART);
    let (live, late, done) =
        (begin(&app, data.len()).await, begin(&app, data.len()).await, uploaded(&app, &data).await);
    for id in [&live, &late] {
        put(&app, id, 0, &data[..PART]).await.expect(204);
    }
    let body = json!({"name": "rows", "files": [{"path": "rows.txt", "upload_id": done}]});
    app.post("/v1/datasets", &body).await.expect(201);
    age(&app, &late, "1 second").await;
    age(&app, &done, "8 days").await;
    let root = bench.folder.path().join("store/uploads");
    // what a process left behind that died while it tidied up
    let stray = root.join(uuid::Uuid::now_v7().to_string());
    std::fs::create_dir(&stray).unwrap();
    let place = |id: &str| root.join(id.strip_prefix("upl_").unwrap());
    let worker = bench.start(bench.config());
    until("the collection", async || (!stray.exists() && !place(&late).exists()).then_some(())).await;
    until("the end of the old row", async || {
        let answer = app.get(&format!("/v1/uploads/{done}")).await;
        (answer.status.as_u16() == 404).then_some(())
    })
    .await;
    assert!(place(&live).join("data").exists());
    assert_eq!(look(&app, &live).await["received_bytes"], json!(PART));
    assert_eq!(app.store.size_bytes(&Digest::of(&data)).await.unwrap(), data.len() as u64, "a dataset has it");
    put(&app, &live, 1, &data[PART..]).await.expect(204);
    complete(&app, &live).await.expect(200);
    worker.stop().await;
}

#[tokio::test]
async fn limits_hold_for_bytes_and_for_uploads_at_once() {
    let limits = Limits { live_uploads: 3, upload_bytes: 1 << 20, ..limits() };
    let app = App::with(limits, HostRule::Loopback).await;
    let body = |size_bytes: u64| json!({"filename": "f", "size_bytes": size_bytes});
    assert_eq!(app.post("/v1/uploads", &body((1 << 20) + 1)).await.problem(), problem(413, "upload_too_large"));
    let size = body(10);
    let answers = join_all((0..8).map(|_| app.post("/v1/uploads", &size))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status.as_u16() == 201);
    assert_eq!(taken.len(), 3, "the limit is exact");
    assert!(refused.iter().all(|answer| answer.problem() == problem(429, "too_many_uploads")));
    let ids: Vec<String> = taken.iter().map(|answer| answer.json()["id"].as_str().unwrap().to_owned()).collect();
    // each way to end frees its place
    cancel(&app, &ids[0]).await.expect(204);
    begin(&app, 10).await;
    put(&app, &ids[1], 0, &pattern(10)).await.expect(204);
    complete(&app, &ids[1]).await.expect(200);
    begin(&app, 10).await;
    age(&app, &ids[2], "1 second").await;
    begin(&app, 10).await;
    assert_eq!(app.post("/v1/uploads", &size).await.problem(), problem(429, "too_many_uploads"));
}

#[tokio::test]
async fn what_the_disk_can_not_hold_is_refused_before_a_byte_moves() {
    let app = App::with(Limits { upload_bytes: u64::MAX, ..limits() }, HostRule::Loopback).await;
    let body = json!({"filename": "f", "size_bytes": 1_u64 << 52});
    assert_eq!(app.post("/v1/uploads", &body).await.problem(), problem(507, "insufficient_storage"));
    let root = app.folder.as_ref().unwrap().path().join("uploads");
    assert_eq!(std::fs::read_dir(root).unwrap().count(), 0);
    let rows: i64 = sqlx::query_scalar("select count(*) from uploads").fetch_one(&app.pool).await.unwrap();
    assert_eq!(rows, 0, "it never was");
    uploaded(&app, &pattern(PART)).await;
}

#[tokio::test]
async fn a_request_for_an_upload_is_read_strictly() {
    let app = start().await;
    let found = async |body: serde_json::Value| app.post("/v1/uploads", &body).await.expect(422).problems();
    let one = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
    let missing = [one("/filename", "missing_field"), one("/size_bytes", "missing_field")];
    assert_eq!(found(json!({})).await, missing);
    let body = json!({"filename": "a\nb", "size_bytes": -1, "sha256": "no", "purpose": "model"});
    let all = [
        one("/purpose", "unknown_field"),
        one("/filename", "out_of_range"),
        one("/size_bytes", "out_of_range"),
        one("/sha256", "out_of_range"),
    ];
    assert_eq!(found(body).await, all);
    assert_eq!(found(json!({"filename": 1, "size_bytes": "9"})).await.len(), 2);
    assert_eq!(found(json!([])).await, [one("", "wrong_type")]);
}
