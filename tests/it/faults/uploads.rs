//! Uploads whose server is killed, and whose client goes away.

use std::time::{Duration, Instant};

use http::Method;
use pare::http::{HostRule, Limits};
use pare::store::Digest;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, Sending};
use super::local;
use crate::support::app::App;
use crate::support::cluster::database;
use crate::support::invariants::{Fault, Part};
use crate::support::program::Server;
use crate::support::worker::{self, until};
use crate::uploads::pattern;

/// Small parts, so that small files have many.
const PART: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn f05_a_server_is_killed_while_parts_come() {
    const ROUNDS: usize = 3;
    let (folder, database) = (tempfile::tempdir().unwrap(), database().await);
    let what = "kill -9 of a server while a part is written; the client sends the rest to the next one";
    let mut fault = Fault::begin("F5", what, &database.pool).await;
    let serve = || Server::start(folder.path(), &["--workers", "0", "--database-url", &database.url], &[]);
    let first = serve();
    let client = Client::of(first.base());
    let mut sending = Sending::begin(&client, pattern(60 << 20)).await.unwrap();
    let mut server = Some(first);
    for round in 1..=ROUNDS {
        let there = sending.received(&client).await.unwrap();
        let kept = sending.acknowledged.iter().all(|number| there.contains(number));
        assert!(kept, "{:?} became {there:?}", sending.acknowledged);
        let missing = sending.missing();
        assert!(sending.put(&client, missing[0]).await);
        if round == ROUNDS {
            break;
        }
        // The next one is on its way when the server is killed.
        let uuid = sending.id.strip_prefix("upl_").unwrap();
        let lock = folder.path().join("uploads").join(uuid).join(format!("{}.lock", missing[1]));
        let killed = async {
            until("the part's first bytes", async || lock.exists().then_some(())).await;
            drop(server.take());
        };
        // It is acknowledged or not; if it is, it is in the list.
        tokio::join!(sending.put(&client, missing[1]), killed);
        let next = serve();
        client.turn_to(next.base());
        server = Some(next);
    }
    for number in sending.missing() {
        assert!(sending.put(&client, number).await);
    }
    assert!(sending.complete(&client).await, "the whole file has its hash");
    sending.parts().into_iter().for_each(|part| fault.acknowledge_part(part));
    fault.count("kills of the server", ROUNDS as u64 - 1);
    server.unwrap().stop();
    fault.held(&database.pool, &local(folder.path()).await).await;
}

/// Begins to send a part, and stops in the middle.
async fn half_a_part(app: &App, id: &str, number: usize, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(app.address()).await.unwrap();
    let head = format!(
        "PUT /v1/uploads/{id}/parts/{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Content-Type: application/octet-stream\r\n\r\n",
        bytes.len()
    );
    stream.write_all(&[head.as_bytes(), &bytes[..bytes.len() / 2]].concat()).await.unwrap();
    stream
}

async fn begin(app: &App, size_bytes: usize) -> (u16, String) {
    let made = app.post("/v1/uploads", &json!({"filename": "f", "size_bytes": size_bytes})).await;
    (made.status.as_u16(), made.json()["id"].as_str().unwrap_or_default().to_owned())
}

/// Sends a byte at a time for as long as it is let; what it was told at the end.
async fn drip(mut slow: TcpStream) -> String {
    let (mut answer, started) = (vec![0; 4096], Instant::now());
    loop {
        let _ = slow.write_all(b"a").await;
        match tokio::time::timeout(Duration::from_millis(20), slow.read(&mut answer)).await {
            Err(_) => assert!(started.elapsed() < PATIENCE, "it was never cut off"),
            Ok(read) => return String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned(),
        }
    }
}

#[tokio::test]
async fn f06_clients_vanish_in_the_middle_of_a_part_or_drip() {
    let limits =
        Limits { part_bytes: PART as u64, stall: Duration::from_secs(1), live_uploads: 1, ..Limits::default() };
    let app = App::with(limits, HostRule::Loopback).await;
    let what = "clients that vanish in the middle of a part, that drip, and that never come back";
    let mut fault = Fault::begin("F6", what, &app.pool).await;
    let data = pattern(3 * PART);
    let parts: Vec<&[u8]> = data.chunks(PART).collect();
    let (_, id) = begin(&app, data.len()).await;
    drop(half_a_part(&app, &id, 0, parts[0]).await);
    let said = drip(half_a_part(&app, &id, 1, parts[1]).await).await;
    assert!(said.starts_with("HTTP/1.1 408") || said.is_empty(), "{said}");
    let seen = app.get(&format!("/v1/uploads/{id}")).await.expect(200).json();
    assert_eq!(seen["received_parts"], json!([]), "half a part is none");
    for (number, bytes) in parts.iter().enumerate() {
        let path = format!("/v1/uploads/{id}/parts/{number}");
        until("the part", async || {
            // 409 while the server has not noticed yet that the first client is gone
            let headers = [("content-type", "application/octet-stream")];
            let put = app.send(Method::PUT, &path, &headers, bytes.to_vec()).await;
            (put.expect_one_of(&[204, 409]) == 204).then_some(())
        })
        .await;
        let (offset_bytes, size_bytes) = (number * PART, bytes.len());
        fault.acknowledge_part(Part {
            upload: id.clone(),
            number,
            offset_bytes,
            size_bytes,
            sha256: Digest::of(bytes),
        });
    }
    let done = app.send(Method::POST, &format!("/v1/uploads/{id}/complete"), &[], Vec::new()).await.expect(200);
    assert_eq!(done.json()["sha256"], Digest::of(&data).to_string());

    // One that nobody ends takes the only place until its time is up; then its bytes go too.
    let (status, lost) = begin(&app, 10 * PART).await;
    assert_eq!(status, 201);
    drop(half_a_part(&app, &lost, 0, parts[0]).await);
    assert_eq!(begin(&app, PART).await.0, 429, "there is one place");
    let over = format!("update uploads set expires_at = now() where id = '{}'", lost.strip_prefix("upl_").unwrap());
    sqlx::query(AssertSqlSafe(over)).execute(&app.pool).await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let worker = worker::start(&app.pool, &app.store, worker::config(scratch.path().join("scratch")));
    until("the collection of its bytes", async || {
        (!app.store.list_uploads().await.unwrap().iter().any(|id| lost.ends_with(&id.to_string()))).then_some(())
    })
    .await;
    let (status, next) = begin(&app, PART).await;
    assert_eq!(status, 201, "its place is free");
    app.send(Method::DELETE, &format!("/v1/uploads/{next}"), &[], Vec::new()).await.expect(204);
    worker.stop().await;
    fault.held(&app.pool, &app.store).await;
}
