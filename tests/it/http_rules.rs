//! What holds for every request.

use std::time::Duration;

use http::Method;
use pare::http::{HostRule, Limits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::{App, Form};

#[tokio::test]
async fn a_server_without_keys_answers_loopback_names_only() {
    let app = App::start().await;
    for host in ["localhost:1", "127.0.0.1", "[::1]:8080"] {
        app.get_with("/healthz", &[("host", host)]).await.expect(200);
    }
    let refused = (403, "host_not_allowed".to_owned());
    assert_eq!(app.get_with("/v1/models", &[("host", "attacker.example")]).await.problem(), refused);
    assert_eq!(app.get_with("/v1/models", &[("origin", "https://attacker.example")]).await.problem(), refused);
    assert_eq!(app.get_with("/v1/models", &[("origin", "null")]).await.problem(), refused);
    app.get_with("/v1/models", &[("origin", "http://localhost:3000")]).await.expect(200);
}

#[tokio::test]
async fn every_answer_has_an_id_and_safe_headers() {
    let app = App::start().await;
    let answer = app.get_with("/healthz", &[("x-request-id", "mine.1-2_3")]).await.expect(200);
    assert_eq!(answer.header("x-request-id"), "mine.1-2_3");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    for bad in ["", "a b", "<script>", &"x".repeat(65)] {
        let answer = app.get_with("/v1/nothing", &[("x-request-id", bad)]).await.expect(404);
        assert_ne!(answer.header("x-request-id"), bad);
        assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there_are_problems() {
    let app = App::start().await;
    assert_eq!(app.get("/v1/nothing").await.problem(), (404, "not_found".to_owned()));
    assert_eq!(app.get("/nothing").await.problem(), (404, "not_found".to_owned()));
    assert_eq!(app.get("/v1/jobs/").await.problem(), (404, "not_found".to_owned()));
    let answer = app.send(Method::PUT, "/v1/jobs", &[], Vec::new()).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed".to_owned()));
    let allowed = answer.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn json_bodies_are_read_strictly() {
    let app = App::start().await;
    let send = |media: &'static str, body: Vec<u8>| app_send(&app, media, body);
    assert_eq!(send("application/json", b"{".to_vec()).await, (400, "json_invalid".to_owned()));
    assert_eq!(send("application/json", b"\xff".to_vec()).await, (400, "json_invalid".to_owned()));
    assert_eq!(send("application/json", Vec::new()).await, (400, "json_invalid".to_owned()));
    assert_eq!(send("text/plain", b"{}".to_vec()).await, (415, "media_type_unsupported".to_owned()));
    assert_eq!(send("application/json; charset=utf-8", b"{}".to_vec()).await.0, 422);
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    assert_eq!(send("application/json", deep).await, (400, "json_invalid".to_owned()));
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(send("application/json", large).await, (413, "body_too_large".to_owned()));
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = app.send(Method::POST, "/v1/jobs", &packed, b"{}".to_vec()).await;
    assert_eq!(answer.problem(), (415, "content_encoding_unsupported".to_owned()));
    // a slip must not start a job
    let answer = app.post("/v1/jobs?validate-only=true", &json!({})).await;
    assert_eq!(answer.problem(), (400, "query_invalid".to_owned()));
}

async fn app_send(app: &App, media: &str, body: Vec<u8>) -> (u16, String) {
    app.send(Method::POST, "/v1/jobs", &[("content-type", media)], body).await.problem()
}

#[tokio::test]
async fn without_a_database_everything_is_503_and_readiness_says_why() {
    let app = App::start().await;
    app.get("/readyz").await.expect(200);
    app.pool.close().await;
    app.get("/healthz").await.expect(200);
    let ready = app.get("/readyz").await.expect(503);
    assert_eq!(ready.problems(), [("/database".to_owned(), "unavailable".to_owned())]);
    for path in ["/v1/models", "/v1/jobs", "/v1/datasets"] {
        let answer = app.get(path).await;
        assert_eq!(answer.problem(), (503, "unavailable".to_owned()), "{path}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok());
    }
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    assert_eq!(app.upload("/v1/models/files", form).await.problem().0, 503);
}

#[tokio::test]
async fn the_document_is_served_and_its_page_loads_nothing_from_elsewhere() {
    let app = App::start().await;
    let yaml = app.get("/openapi.yaml").await.expect(200);
    assert_eq!(yaml.body, pare::http::OPENAPI_YAML);
    let json = app.get("/openapi.json").await.expect(200).json();
    assert_eq!(json["openapi"], "3.0.3");
    let page = app.get("/docs").await.expect(200);
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://"));
    assert!(!page.header("content-security-policy").contains("script-src 'self' 'unsafe-inline'"));
    let linked: Vec<&str> = text.split('"').filter(|part| part.starts_with("/docs/")).collect();
    assert_eq!(linked.len(), 3);
    for path in linked {
        let response = reqwest::get(format!("{}{path}", app.base)).await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn capabilities_name_methods_and_limits() {
    let app = App::start().await;
    let can = app.get("/v1/capabilities").await.expect(200).json();
    let methods = can["methods"].as_array().unwrap();
    assert!(methods.iter().any(|method| method["name"] == "quantize" && method["params"]["type"] == "object"));
    assert_eq!(can["limits"]["json_bytes"], 1 << 20);
    assert_eq!(can["job_kinds"], serde_json::json!(["compress", "evaluate", "sensitivity"]));
    assert!(can["families"].as_array().unwrap().contains(&Value::from("bert")));
}

#[tokio::test]
async fn a_connection_that_never_finishes_its_request_is_closed() {
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let app = App::with(limits, HostRule::Loopback).await;
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    // the server's own limit ends this; the outer one only keeps a broken server from hanging the test
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection was left open");
}

#[tokio::test]
async fn a_stalled_upload_is_told_so() {
    let limits = Limits { stall: Duration::from_millis(200), ..Limits::default() };
    let app = App::with(limits, HostRule::Loopback).await;
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    let head = "POST /v1/models/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\
                Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
