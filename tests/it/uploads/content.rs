//! A whole file in one stream.

use std::time::Duration;

use http::Method;
use pare::http::{HostRule, Limits};
use pare::store::Digest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval;

use super::{PART, begin, complete, folder, limits, look, over_both_stores, pattern, problem, put, start};
use crate::support::app::{Answer, App};
use crate::support::worker::until;

async fn put_content(app: &App, id: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
    app.send(Method::PUT, &format!("/v1/uploads/{id}/content"), headers, bytes.to_vec()).await
}

/// A connection that has sent the head of a request.
async fn connect(app: &App, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status of the answer.
async fn status(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test]
async fn a_stream_is_taken_apart() {
    over_both_stores(|app| async move {
        let data = pattern(5 * PART + 99);
        let id = begin(&app, data.len()).await;
        let there = put_content(&app, &id, &[], &data).await.expect(200).json();
        assert_eq!(there["received_parts"], json!([{"first": 0, "last": 5}]));
        put_content(&app, &id, &[], &data).await.expect(200);
        let done = complete(&app, &id).await.expect(200).json();
        assert_eq!(done["sha256"], Digest::of(&data).to_string());
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_a_length_is_taken_too() {
    let app = start().await;
    let data = pattern(2 * PART + 5);
    let id = begin(&app, data.len()).await;
    let path = format!("/v1/uploads/{id}/content");
    let mut stream = connect(&app, &path, "Transfer-Encoding: chunked\r\n").await;
    for piece in data.chunks(10_007) {
        stream.write_all(&chunk(piece)).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(status(&mut stream).await, "200");
    assert_eq!(complete(&app, &id).await.expect(200).json()["sha256"], Digest::of(&data).to_string());

    // one that ends early or goes on is told so, and what came whole is kept
    for sent in [data.len() - 3, data.len() + 1] {
        let id = begin(&app, data.len()).await;
        let mut stream = connect(&app, &format!("/v1/uploads/{id}/content"), "Transfer-Encoding: chunked\r\n").await;
        for piece in pattern(sent).chunks(PART / 2) {
            stream.write_all(&chunk(piece)).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        assert_eq!(status(&mut stream).await, "422", "{sent}");
        let seen = look(&app, &id).await;
        assert_eq!(seen["received_parts"], json!([{"first": 0, "last": 1}]), "{sent}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_leaves_whole_parts() {
    over_both_stores(|app| async move {
        let data = pattern(4 * PART);
        let id = begin(&app, data.len()).await;
        let mut stream =
            connect(&app, &format!("/v1/uploads/{id}/content"), &format!("Content-Length: {}\r\n", data.len())).await;
        stream.write_all(&data[..2 * PART + PART / 2]).await.unwrap();
        let kept = async || {
            let seen = look(&app, &id).await;
            (seen["received_parts"] == json!([{"first": 0, "last": 1}])).then_some(())
        };
        until("the acknowledgement of two parts", kept).await;
        drop(stream);
        // from the third part on, as `curl -C` does
        let range = format!("bytes {}-{}/{}", 2 * PART, data.len() - 1, data.len());
        put_content(&app, &id, &[("content-range", &range)], &data[2 * PART..]).await.expect(200);
        assert_eq!(complete(&app, &id).await.expect(200).json()["sha256"], Digest::of(&data).to_string());
    })
    .await;
}

#[tokio::test]
async fn nothing_is_passed_over_in_silence() {
    let app = start().await;
    let data = pattern(3 * PART);
    let id = begin(&app, data.len()).await;
    put(&app, &id, 1, &vec![0; PART]).await.expect(204);
    assert_eq!(put_content(&app, &id, &[], &data).await.problem(), problem(409, "part_differs"));
    assert_eq!(look(&app, &id).await["received_parts"], json!([{"first": 0, "last": 1}]), "what came whole is kept");
    for (range, length) in [
        (format!("bytes 1-{}/{}", data.len() - 1, data.len()), data.len() - 1),
        (format!("bytes 0-{}/{}", PART - 1, data.len()), PART),
        ("bytes */9".to_owned(), 0),
    ] {
        let answer = put_content(&app, &id, &[("content-range", &range)], &data[..length]).await;
        assert_eq!(answer.problem(), problem(400, "content_range_invalid"), "{range}");
    }
    assert_eq!(put_content(&app, &id, &[], &data[1..]).await.problem(), problem(422, "size_mismatch"));
    let digest = super::content_digest(&data);
    let answer = put_content(&app, &id, &[("content-digest", &digest)], &data).await;
    assert_eq!(answer.problem(), problem(422, "digest_invalid"), "it could only be checked when it is too late");
}

#[tokio::test]
async fn a_client_that_stalls_or_vanishes_frees_its_part() {
    let limits = Limits { stall: Duration::from_millis(300), ..limits() };
    let app = App::with(limits, HostRule::Loopback).await;
    let data = pattern(PART);
    let id = begin(&app, data.len()).await;
    let path = format!("/v1/uploads/{id}/parts/0");
    let headers = format!("Content-Length: {PART}\r\n");
    // it stalls: others wait until it is found out
    let mut stalled = connect(&app, &path, &headers).await;
    stalled.write_all(&[9; 1000]).await.unwrap();
    let told = async { status(&mut stalled).await };
    let (told, other) = tokio::join!(told, put(&app, &id, 0, &data));
    assert_eq!(told, "408");
    other.expect(204);
    assert_eq!(complete(&app, &id).await.expect(200).json()["sha256"], Digest::of(&data).to_string());
    // it vanishes
    let id = begin(&app, data.len()).await;
    let mut gone = connect(&app, &format!("/v1/uploads/{id}/parts/0"), &headers).await;
    gone.write_all(&[9; 1000]).await.unwrap();
    drop(gone);
    put(&app, &id, 0, &data).await.expect(204);
    assert_eq!(complete(&app, &id).await.expect(200).json()["sha256"], Digest::of(&data).to_string());
}

#[tokio::test]
async fn a_client_that_drips_is_ended() {
    let app = App::with(Limits { part_time: Duration::from_millis(600), ..limits() }, HostRule::Loopback).await;
    let id = begin(&app, PART).await;
    let path = format!("/v1/uploads/{id}/parts/0");
    let mut stream = connect(&app, &path, &format!("Content-Length: {PART}\r\n")).await;
    let (mut read, mut write) = stream.split();
    let drip = async {
        let mut pace = interval(Duration::from_millis(20));
        while write.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 12];
    tokio::select! {
        read = read.read_exact(&mut answer) => { read.unwrap(); }
        () = drip => {}
    }
    assert_eq!(&answer[9..], b"408");
    put(&app, &id, 0, &pattern(PART)).await.expect(204);
}

#[tokio::test]
async fn a_part_that_is_being_sent_is_busy() {
    let app = App::with(Limits { stall: Duration::from_secs(1), ..limits() }, HostRule::Loopback).await;
    let data = pattern(PART);
    let id = begin(&app, PART).await;
    let mut steady = connect(&app, &format!("/v1/uploads/{id}/parts/0"), &format!("Content-Length: {PART}\r\n")).await;
    // longer than another request waits, and more than 16 KiB within a stall
    let sending = async {
        let mut pace = interval(Duration::from_millis(100));
        for piece in data.chunks(PART / 32) {
            steady.write_all(piece).await.unwrap();
            pace.tick().await;
        }
        status(&mut steady).await
    };
    let lock = folder(&app, &id).join("0.lock");
    let is_held = || std::fs::File::open(&lock).is_ok_and(|file| file.try_lock().is_err());
    let other = async {
        until("the lock of the part", async || is_held().then_some(())).await;
        put(&app, &id, 0, &data).await
    };
    let (sent, other) = tokio::join!(sending, other);
    assert_eq!(sent, "204");
    assert_eq!(other.problem(), problem(409, "part_busy"));
    assert!(other.header("retry-after").parse::<u64>().is_ok());
}
