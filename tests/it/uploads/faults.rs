//! Servers that end while files are on their way. `crate::faults::uploads` kills them.

use pare::http::HostRule;
use pare::store::{Digest, Store, StoreConfig};
use serde_json::json;

use super::{PART, begin, complete, limits, look, pattern, put, start};
use crate::support::app::App;

/// Another server over the same rows and bytes, which knows nothing of what the first one had in memory.
async fn restarted(app: &App) -> App {
    let folder = app.folder.as_ref().unwrap().path().to_owned();
    let store = Store::open(&StoreConfig::Local(folder)).await.unwrap();
    App::over(app.pool.clone(), store, limits(), HostRule::Loopback).await
}

#[tokio::test]
async fn another_server_goes_on_where_the_first_one_ended() {
    let first = start().await;
    let data = pattern(5 * PART + 3);
    let parts: Vec<&[u8]> = data.chunks(PART).collect();
    let id = begin(&first, data.len()).await;
    for number in [0, 1, 4] {
        put(&first, &id, number, parts[number]).await.expect(204);
    }
    let second = restarted(&first).await;
    let seen = look(&second, &id).await;
    assert_eq!(seen["received_parts"], json!([{"first": 0, "last": 1}, {"first": 4, "last": 4}]));
    put(&second, &id, 2, parts[2]).await.expect(204);
    put(&second, &id, 4, parts[4]).await.expect(204);
    let third = restarted(&first).await;
    for number in [5, 3] {
        put(&third, &id, number, parts[number]).await.expect(204);
    }
    let digest = Digest::of(&data);
    assert_eq!(complete(&third, &id).await.expect(200).json()["sha256"], digest.to_string());
    assert_eq!(complete(&first, &id).await.expect(200).json()["state"], "completed");
}

#[tokio::test]
async fn a_completion_that_was_cut_short_is_done_again() {
    let app = start().await;
    let data = pattern(2 * PART);
    let id = begin(&app, data.len()).await;
    for (number, part) in data.chunks(PART).enumerate() {
        put(&app, &id, number, part).await.expect(204);
    }
    // A server that died in it left this.
    let uuid = id.strip_prefix("upl_").unwrap();
    let text = format!("update uploads set state = 'completing' where id = '{uuid}'");
    sqlx::query(sqlx::AssertSqlSafe(text)).execute(&app.pool).await.unwrap();
    let seen = look(&app, &id).await;
    assert_eq!((seen["state"].as_str(), seen["received_bytes"].as_u64()), (Some("completing"), Some(2 * PART as u64)));
    let second = restarted(&app).await;
    let (one, other) = tokio::join!(complete(&second, &id), complete(&app, &id));
    for answer in [one, other] {
        assert_eq!(answer.expect(200).json()["sha256"], Digest::of(&data).to_string());
    }
}
