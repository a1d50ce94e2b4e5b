//! A client without a test's comfort: servers go away under it, and it remembers what they acknowledged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use pare::store::Digest;
use serde_json::{Value, json};

use super::tickets;
use crate::support::invariants::Part;

/// Longer than an answer takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const BOUNDARY: &str = "----pare-test-c";

/// A client of whatever server is there now.
#[derive(Clone)]
pub(super) struct Client {
    base: Arc<Mutex<String>>,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn of(base: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // a connection for each request: none is left over from a server that is gone
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0).build().unwrap();
        Self { base: Arc::new(Mutex::new(base.to_owned())), http }
    }

    /// From now on it asks another server.
    pub(super) fn turn_to(&self, base: &str) {
        base.clone_into(&mut self.base.lock().unwrap());
    }

    /// Sends a request; an error where the connection breaks.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> reqwest::Result<(u16, Value)> {
        let url = format!("{}{path}", self.base.lock().unwrap());
        let answer = self.http.request(method, url).header("content-type", kind).body(body).send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or_default()))
    }

    pub(super) async fn get(&self, path: &str) -> reqwest::Result<(u16, Value)> {
        self.send(Method::GET, path, "application/json", Vec::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> reqwest::Result<(u16, Value)> {
        self.send(Method::POST, path, "application/json", body.to_string().into_bytes()).await
    }

    /// What was made, if that was acknowledged. A server that is there says 201, or 503 while its database is away.
    pub(super) async fn make(&self, path: &str, body: &Value) -> Option<Value> {
        let (status, made) = self.post(path, body).await.ok()?;
        assert!(matches!(status, 201 | 503), "{path}: {status} {made}");
        (status == 201).then_some(made)
    }

    /// Uploads files as one form.
    pub(super) async fn form(&self, path: &str, files: &[(&str, Vec<u8>)]) -> Option<Value> {
        let mut body =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n").into_bytes();
        for (name, bytes) in files {
            let head = format!("Content-Disposition: form-data; name=\"files\"; filename=\"{name}\"");
            body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").into_bytes());
            body.extend(bytes);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let (status, made) = self.send(Method::POST, path, &kind, body).await.ok()?;
        assert!(matches!(status, 201 | 503), "{path}: {status} {made}");
        (status == 201).then_some(made)
    }

    /// The small classifier and rows for it: what to post to `/v1/jobs`. The server must be there.
    pub(super) async fn tickets(&self) -> Value {
        let rows = std::fs::read(crate::support::engine::own("tickets/data/test.jsonl")).unwrap();
        let model = self.form("/v1/models/files", &tickets()).await.expect("a model");
        let rows = self.form("/v1/datasets/files", &[("test.jsonl", rows)]).await.expect("a dataset");
        json!({"model_id": model["id"], "recipe_name": "int8", "evaluation_dataset_id": rows["id"],
            "evaluate": {"max_seq_length": 64, "metrics": ["accuracy"]}})
    }
}

/// A file on its way in parts, over whatever happens to the server.
pub(super) struct Sending {
    pub(super) id: String,
    data: Vec<u8>,
    part_bytes: usize,
    /// Acknowledged, by number.
    pub(super) acknowledged: Vec<usize>,
}

impl Sending {
    /// Begins an upload; `None` where nobody acknowledged it.
    pub(super) async fn begin(client: &Client, data: Vec<u8>) -> Option<Self> {
        let made = client.make("/v1/uploads", &json!({"filename": "f", "size_bytes": data.len()})).await?;
        let part_bytes = made["part_size_bytes"].as_u64().unwrap() as usize;
        Some(Self { id: made["id"].as_str().unwrap().to_owned(), data, part_bytes, acknowledged: Vec::new() })
    }

    fn part(&self, number: usize) -> &[u8] {
        self.data.chunks(self.part_bytes).nth(number).unwrap()
    }

    /// The parts that nobody has acknowledged.
    pub(super) fn missing(&self) -> Vec<usize> {
        (0..self.data.len().div_ceil(self.part_bytes)).filter(|number| !self.acknowledged.contains(number)).collect()
    }

    /// Sends a part; whether it is acknowledged now.
    pub(super) async fn put(&mut self, client: &Client, number: usize) -> bool {
        let path = format!("/v1/uploads/{}/parts/{number}", self.id);
        let sent = client.send(Method::PUT, &path, "application/octet-stream", self.part(number).to_vec()).await;
        let Ok((status, problem)) = sent else { return false };
        // 409: a request that was cut off still writes it
        assert!(matches!(status, 204 | 409 | 503), "part {number}: {status} {problem}");
        if status == 204 {
            self.acknowledged.push(number);
        }
        status == 204
    }

    /// What the server says it has, by number; `None` where it says nothing.
    pub(super) async fn received(&self, client: &Client) -> Option<Vec<usize>> {
        let (status, seen) = client.get(&format!("/v1/uploads/{}", self.id)).await.ok()?;
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let ranges = seen["received_parts"].as_array().filter(|_| status == 200)?;
        Some(ranges.iter().flat_map(|range| number(&range["first"])..=number(&range["last"])).collect())
    }

    /// Completes it; whether that was acknowledged. The hash must be right.
    pub(super) async fn complete(&self, client: &Client) -> bool {
        let digest = Digest::of(&self.data).to_string();
        let path = format!("/v1/uploads/{}/complete", self.id);
        let Ok((status, done)) = client.post(&path, &json!({"sha256": digest})).await else { return false };
        assert!(matches!(status, 200 | 409 | 503), "{path}: {status} {done}");
        assert!(status != 200 || done["sha256"] == digest, "{done}");
        status == 200
    }

    /// What was acknowledged, for the end.
    pub(super) fn parts(&self) -> Vec<Part> {
        let part = |number: &usize| {
            let bytes = self.part(*number);
            let (offset_bytes, size_bytes) = (number * self.part_bytes, bytes.len());
            Part { upload: self.id.clone(), number: *number, offset_bytes, size_bytes, sha256: Digest::of(bytes) }
        };
        self.acknowledged.iter().map(part).collect()
    }
}
