//! What is stored, as it is told and as it is.

use futures::TryStreamExt;
use http::Method;
use pare::db::{self, DEFAULT_TENANT};
use pare::store::Stored;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::datasets::summary;
use crate::support::app::{App, Form, bare_header};
use crate::support::results::{compress, report};

async fn usage(app: &App) -> Value {
    app.get("/v1/usage").await.expect(200).json()
}

fn bytes(usage: &Value, name: &str) -> u64 {
    usage[name].as_u64().or_else(|| usage[name]["size_bytes"].as_u64()).unwrap()
}

/// What the store itself says.
async fn stored_bytes(app: &App) -> u64 {
    app.store.list().try_fold(0, async |sum, blob| Ok(sum + blob.size_bytes)).await.unwrap()
}

/// The groups add up to more than the total, and the total is what lies in the store.
async fn check(app: &App) -> Value {
    let usage = usage(app).await;
    assert_eq!(bytes(&usage, "total_bytes") + bytes(&usage, "collectable_bytes"), stored_bytes(app).await, "{usage}");
    let groups = ["models", "datasets", "artifacts", "intermediate", "uploads"];
    assert!(groups.iter().map(|name| bytes(&usage, name)).sum::<u64>() >= bytes(&usage, "total_bytes"), "{usage}");
    usage
}

async fn upload(app: &App, name: &str, weights: &[u8]) -> String {
    let form = Form::new().text("name", name).file("config.json", b"{}").file("weights", weights);
    let id = app.upload("/v1/models/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    app.validate(&bare_header(), None).await;
    id
}

async fn blob(app: &App, text: &[u8]) -> Stored {
    let mut staged = app.store.writer().await.unwrap();
    staged.write(bytes::Bytes::copy_from_slice(text)).await.unwrap();
    staged.finish().await.unwrap()
}

#[tokio::test]
async fn the_total_is_what_lies_in_the_store() {
    let app = App::start().await;
    let empty = check(&app).await;
    assert_eq!((bytes(&empty, "total_bytes"), empty["jobs"].as_u64()), (0, Some(0)));

    let weights = vec![1; 1000];
    let first = upload(&app, "one", &weights).await;
    let second = upload(&app, "two", &weights).await;
    let shared = check(&app).await;
    assert_eq!(shared["models"], json!({"count": 2, "size_bytes": 1002}), "equal files are one blob");
    assert_eq!(shared["jobs"], 2, "each was validated by a job");

    app.dataset(summary(&["01"], "x")).await;
    let model = first.parse().unwrap();
    let left: [(&str, &str, &[u8]); 3] =
        [("artifact", "weights", &weights), ("report", "report.json", b"{\"a\": 1}"), ("checkpoint", "c", b"half")];
    let job = app.result(&compress(model, None), &report(1, 0.5), &left).await;
    let all = check(&app).await;
    assert_eq!(all["datasets"], json!({"count": 1, "size_bytes": 14}));
    assert_eq!(all["artifacts"], json!({"count": 2, "size_bytes": 1008}));
    assert_eq!(all["intermediate"], json!({"count": 1, "size_bytes": 4}));
    assert_eq!(all["total_bytes"], 1002 + 14 + 8 + 4, "the result that equals its model counts once");

    for path in [format!("/v1/models/{first}"), format!("/v1/models/{second}"), format!("/v1/jobs/{job}")] {
        app.send(Method::DELETE, &path, &[], Vec::new()).await.expect(204);
    }
    let after = check(&app).await;
    assert_eq!(after["models"], json!({"count": 0, "size_bytes": 0}));
    assert_eq!((after["total_bytes"].as_u64(), after["collectable_bytes"].as_u64()), (Some(14), Some(1014)));
}

#[tokio::test]
async fn uploads_on_their_way_count_too() {
    let app = App::start().await;
    let part = blob(&app, b"the first part").await;
    let mut tx = app.pool.begin().await.unwrap();
    db::blobs::insert(&mut tx, &part.digest.to_string(), part.size_bytes).await.unwrap();
    let id = Uuid::now_v7();
    for statement in [
        format!(
            "insert into uploads (id, tenant_id, filename, size_bytes, part_size_bytes, expires_at)
            values ('{id}', '{DEFAULT_TENANT}', 'x', 100, 14, now() + interval '1 day')"
        ),
        format!(
            "insert into upload_parts (upload_id, number, size_bytes, sha256)
            values ('{id}', 0, 14, decode('{}', 'hex'))",
            part.digest
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let usage = check(&app).await;
    assert_eq!(usage["uploads"], json!({"count": 1, "size_bytes": 14}), "what has come, not what will");
}
