//! Clients that take their time, and servers that have no more of it.

use std::time::{Duration, Instant};

use pare::http::{HostRule, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::{App, Form};

/// A test that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the servers of these tests allow: short, so that the tests are.
const SHORT: Duration = Duration::from_millis(300);

async fn impatient() -> App {
    let limits = Limits { head: SHORT, stall: SHORT, connections: 2, ..Limits::default() };
    App::with(limits, HostRule::Loopback).await
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.address()).await.unwrap()
}

/// All that the server still says, until it closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // a reset counts as closed
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the connection was left open");
    String::from_utf8_lossy(&text).into_owned()
}

/// Sends a byte at a time for as long as the server takes them, then reads what it says.
async fn drip(stream: &mut TcpStream) -> String {
    let started = Instant::now();
    let mut text = vec![0; 4096];
    loop {
        let _ = stream.write_all(b"a").await;
        match timeout(Duration::from_millis(20), stream.read(&mut text)).await {
            Err(_) => assert!(started.elapsed() < PATIENCE, "the client was never cut off"),
            Ok(Ok(length)) if length > 0 => return String::from_utf8_lossy(&text[..length]).into_owned(),
            Ok(_) => return String::new(),
        }
    }
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let app = impatient().await;
    let mut slow = [connect(&app).await, connect(&app).await];
    for stream in &mut slow {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
    }
    let [one, two] = &mut slow;
    futures::join!(drip(one), drip(two));
    // their places are free again
    app.get("/healthz").await.expect(200);
}

#[tokio::test]
async fn connections_are_kept_and_idle_ones_are_closed() {
    let app = impatient().await;
    let mut stream = connect(&app).await;
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut text = String::new();
        while !text.ends_with('}') {
            let mut part = [0; 1024];
            let length = timeout(PATIENCE, stream.read(&mut part)).await.unwrap().unwrap();
            assert!(length > 0, "the connection was closed after {text}");
            text.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off() {
    let app = impatient().await;
    for (path, media_type) in [
        ("/v1/jobs", "application/json"),
        ("/v1/recipes", "application/json"),
        ("/v1/models/files", "multipart/form-data; boundary=b"),
        ("/v1/datasets/files", "multipart/form-data; boundary=b"),
    ] {
        let mut stream = connect(&app).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nContent-Type: {media_type}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = drip(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_head_without_measure_is_refused() {
    let app = App::start().await;
    let many = "X-Many: 1\r\n".repeat(101);
    let long = format!("X-Long: {}\r\n", "x".repeat(17 << 10));
    for headers in [many, long] {
        let mut stream = connect(&app).await;
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        // it may be closed before all is sent
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    let most = [("x-long", "x".repeat(12 << 10))];
    let most: Vec<(&str, &str)> = most.iter().map(|(name, value)| (*name, value.as_str())).collect();
    app.get_with("/healthz", &most).await.expect(200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let app = impatient().await;
    // more than all buffers on the way hold
    let id = app.finished_job("model.safetensors", &vec![7; 64 << 20]).await;
    let files = app.get(&format!("/v1/jobs/{id}/artifacts")).await.expect(200).json();
    let path = format!("/v1/artifacts/{}/content", files["data"][0]["id"].as_str().unwrap());
    let mut lazy = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&app).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        lazy.push(stream);
    }
    // both places are taken until they are cut off; this client is given one of them then
    let answer = timeout(PATIENCE, app.get("/healthz")).await.expect("the lazy clients keep their places");
    answer.expect(200);
}

#[tokio::test]
async fn what_is_on_its_way_ends_before_the_server_does() {
    let mut app = App::start().await;
    let id = app.queued_job().await;
    let tag = app.get(&format!("/v1/jobs/{id}")).await.header("etag").to_owned();
    let address = app.address().to_owned();
    let form = Form::new().text("name", "x").file("config.json", b"{}").finish();
    let (first, second) = form.split_at(form.len() / 2);
    let mut upload = connect(&app).await;
    let head = format!(
        "POST /v1/models/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nContent-Type: {}\r\n\r\n",
        form.len(),
        Form::media_type()
    );
    upload.write_all(&[head.as_bytes(), first].concat()).await.unwrap();
    let mut waiting = connect(&app).await;
    let poll =
        format!("GET /v1/jobs/{id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\nIf-None-Match: {tag}\r\n\r\n");
    waiting.write_all(poll.as_bytes()).await.unwrap();
    // both have begun when the poll's watching has: the server reads of the job
    app.get("/healthz").await.expect(200);
    app.stop();
    let answer = rest(&mut waiting).await;
    assert!(answer.starts_with("HTTP/1.1 304") || answer.is_empty(), "{answer}");
    upload.write_all(second).await.unwrap();
    let answer = rest(&mut upload).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(TcpStream::connect(address).await.is_err(), "nobody is let in any more");
}
