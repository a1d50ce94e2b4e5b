//! Servers that end, politely or not, while files are on their way.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::Method;
use pare::http::HostRule;
use pare::store::{Digest, Store, StoreConfig};
use serde_json::{Value, json};

use super::{PART, begin, complete, limits, look, pattern, put, start};
use crate::support::app::App;
use crate::support::cluster::{PARE, database};
use crate::support::worker::until;

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

/// A server in a process of its own.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start(state_dir: &Path, database_url: &str) -> Self {
        let mut child = Command::new(PARE)
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "0", "--log", "warn", "--state-dir"])
            .arg(state_dir)
            .args(["--database-url", database_url])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, base }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client without the test's comfort: connections may break.
async fn send(base: &str, method: Method, path: &str, body: Vec<u8>) -> reqwest::Result<(u16, Value)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let kind = if method == Method::POST { "application/json" } else { "application/octet-stream" };
    let response =
        client.request(method, format!("{base}{path}")).header("content-type", kind).body(body).send().await?;
    let status = response.status().as_u16();
    Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or_default()))
}

#[tokio::test]
async fn parts_that_were_acknowledged_survive_kill_9() {
    const SIZE: usize = 40 << 20;
    let folder = tempfile::tempdir().unwrap();
    let database = database().await;
    let data = pattern(SIZE);
    let mut id = String::new();
    let mut acknowledged: Vec<usize> = Vec::new();
    for round in 0..3 {
        let server = Server::start(folder.path(), &database.url);
        if id.is_empty() {
            let body = json!({"filename": "f", "size_bytes": SIZE}).to_string().into_bytes();
            let (status, made) = send(&server.base, Method::POST, "/v1/uploads", body).await.unwrap();
            assert_eq!(status, 201, "{made}");
            id = made["id"].as_str().unwrap().to_owned();
        }
        let path = format!("/v1/uploads/{id}");
        let (_, seen) = send(&server.base, Method::GET, &path, Vec::new()).await.unwrap();
        let part = seen["part_size_bytes"].as_u64().unwrap() as usize;
        let there: Vec<usize> = seen["received_parts"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|range| range["first"].as_u64().unwrap()..=range["last"].as_u64().unwrap())
            .map(|number| number as usize)
            .collect();
        assert!(acknowledged.iter().all(|number| there.contains(number)), "{acknowledged:?} became {there:?}");
        let missing = data.chunks(part).enumerate().filter(|(number, _)| !there.contains(number));
        // The first one is acknowledged; the second one is on its way when the server is killed.
        let mut missing = missing.take(if round == 2 { usize::MAX } else { 2 });
        if let Some((number, bytes)) = missing.next() {
            let (status, _) =
                send(&server.base, Method::PUT, &format!("{path}/parts/{number}"), bytes.to_vec()).await.unwrap();
            assert_eq!(status, 204);
            acknowledged.push(number);
        }
        if round < 2 {
            let base = server.base.clone();
            let (number, bytes) = missing.next().unwrap();
            let (place, bytes) = (format!("{path}/parts/{number}"), bytes.to_vec());
            let sending = tokio::spawn(async move { send(&base, Method::PUT, &place, bytes).await.map(|_| ()) });
            let lock = folder.path().join("uploads").join(id.strip_prefix("upl_").unwrap());
            let lock = lock.join(format!("{number}.lock"));
            until("the second part's first bytes", async || lock.exists().then_some(())).await;
            drop(server);
            // it was answered or not; if it was, nobody minds that it is not in our list
            let _ = sending.await.unwrap();
            continue;
        }
        for (number, bytes) in missing {
            let (status, _) =
                send(&server.base, Method::PUT, &format!("{path}/parts/{number}"), bytes.to_vec()).await.unwrap();
            assert_eq!(status, 204);
        }
        let sha256 = Digest::of(&data).to_string();
        let body = json!({"sha256": sha256}).to_string().into_bytes();
        let (status, done) = send(&server.base, Method::POST, &format!("{path}/complete"), body).await.unwrap();
        assert_eq!((status, done["sha256"].as_str()), (200, Some(sha256.as_str())), "{done}");
    }
}
