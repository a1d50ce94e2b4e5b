//! What stands in the log, and what never does.

use serde_json::{Value, json};

use crate::support::process::{Program, client, pare, said};
use crate::support::worker::{Bench, until};

const PASSWORD: &str = "canary-password-7f3a";

/// The database's address with a password in it, which the cluster of these tests does not ask for.
fn with_password(url: &str) -> String {
    let changed = url.replacen("postgres://postgres@", &format!("postgres://postgres:{PASSWORD}@"), 1);
    assert_ne!(changed, url);
    changed
}

#[tokio::test]
async fn lines_carry_the_ids_of_request_and_job_and_no_secret() {
    let bench = Bench::new().await;
    let (url, state) = (with_password(&bench.database.url), bench.folder.path().join("state"));
    let at = [("DATABASE_URL", url.as_str()), ("PARE_STATE_DIR", state.to_str().unwrap())];
    let key = said(&pare(&["keys", "create", "--name", "log", "--scopes", "read,write,admin"], &at)).trim().to_owned();
    let arguments =
        ["serve", "--listen", "127.0.0.1:0", "--memory-limit", "1GiB", "--log", "trace", "--log-format", "json"];
    let mut server = Program::start(bench.folder.path(), &arguments, &at);
    let address = server.address();
    let client = client();
    let send = async |method: reqwest::Method, path: &str, key: &str, body: Value| {
        let request = client.request(method, format!("{address}{path}")).bearer_auth(key);
        let request = request.header("x-request-id", "req-of-the-test");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request
            .header("traceparent", trace)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    };
    // used, wrong, and new
    let forged = format!("{}{}", &key[..38], "canary-secret-0123456789-canary-secret-0123");
    assert_eq!(send(reqwest::Method::GET, "/v1/models", &key, json!(null)).await.status(), 200);
    assert_eq!(send(reqwest::Method::GET, "/v1/models", &forged, json!(null)).await.status(), 401);
    let made = send(reqwest::Method::POST, "/v1/api-keys", &key, json!({"name": "n", "scopes": ["read"]})).await;
    let made: Value = serde_json::from_slice(&made.bytes().await.unwrap()).unwrap();
    let made = made["secret"].as_str().unwrap().to_owned();

    let model = upload(&client, &address, &key).await;
    let body = json!({"model_id": model, "recipe_name": "int8"});
    let job = send(reqwest::Method::POST, "/v1/jobs", &key, body).await;
    let job: Value = serde_json::from_slice(&job.bytes().await.unwrap()).unwrap();
    let job = job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned();
    until("the job's end", async || {
        let shown = send(reqwest::Method::GET, &format!("/v1/jobs/{job}"), &key, json!(null)).await;
        let shown: Value = serde_json::from_slice(&shown.bytes().await.unwrap()).unwrap();
        ["succeeded", "failed"].contains(&shown["state"].as_str().unwrap()).then_some(())
    })
    .await;

    let log = server.log();
    for secret in [&key[38..], &forged[38..], &made[38..], PASSWORD] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret stands in the log");
    }
    carries_the_ids(&log, &job);
    assert!(server.stop());
}

/// The request that queued the job, and the job's own lines, name the request and its trace.
fn carries_the_ids(log: &str, job: &str) {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let in_span = |line: &Value, name: &str, field: &str, value: &str| {
        line["spans"]
            .as_array()
            .is_some_and(|spans| spans.iter().any(|span| span["name"] == name && span[field] == value))
    };
    let said = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let answered = said("answered a request");
    assert!(answered.iter().any(|line| line["path"] == "/v1/jobs"
        && in_span(line, "request", "request_id", "req-of-the-test")
        && in_span(line, "request", "trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")));
    assert!(said("queued a job").iter().any(|line| line["job_id"] == job));
    for message in ["a job begins", "a job's attempt ended"] {
        let line = said(message).into_iter().find(|line| in_span(line, "job", "job_id", job));
        let line = line.unwrap_or_else(|| panic!("{message}"));
        assert!(in_span(line, "job", "request_id", "req-of-the-test"), "{line}");
        assert!(in_span(line, "job", "trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), "{line}");
    }
}

/// Uploads what a worker then checks.
async fn upload(client: &reqwest::Client, address: &str, key: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tickets");
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nlog\r\n".to_vec();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\r\n");
        body.extend(head.into_bytes());
        body.extend(std::fs::read(folder.join(name)).unwrap());
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    let request = client.post(format!("{address}/v1/models/files")).bearer_auth(key);
    let answer = request.header("content-type", "multipart/form-data; boundary=b").body(body).send().await.unwrap();
    let shown: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    shown["id"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
}

#[test]
fn a_database_that_can_not_be_reached_is_named_without_its_password() {
    let url = format!("postgres://someone:{PASSWORD}@127.0.0.1:1/none?connect_timeout=1");
    let folder = tempfile::tempdir().unwrap();
    // who does not wait for it: `database_away` has the others
    for arguments in [&["migrate"][..], &["keys", "list"]] {
        let at = [
            ("DATABASE_URL", url.as_str()),
            ("PARE_STATE_DIR", folder.path().to_str().unwrap()),
            ("PARE_LOG", "trace"),
        ];
        let failed = pare(arguments, &at);
        let told = format!("{}{}", String::from_utf8_lossy(&failed.stdout), String::from_utf8_lossy(&failed.stderr));
        assert_eq!(failed.status.code(), Some(1), "{told}");
        assert!(told.contains("pare: ") && !told.contains(PASSWORD), "{told}");
    }
}
