//! A server on a socket of its own, and a client that holds every answer against the document.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pare::db::jobs::{Claimed, JobKind, NewJob, NewJobFile, Worker};
use pare::db::{self, Pool};
use pare::engine::data::DatasetSummary;
use pare::engine::job::InputFile;
use pare::engine::model::{Dtype, ModelHeader, Support, inspect};
use pare::http::{HostRule, Limits, State, serve};
use pare::id::{JobId, ModelId};
use pare::store::{Store, StoreConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{cluster, document};

/// A server and its client.
pub(crate) struct App {
    /// `http://127.0.0.1:port`
    pub(crate) base: String,
    pub(crate) pool: Pool,
    pub(crate) store: Store,
    /// Where a local store of its own lies.
    pub(crate) folder: Option<TempDir>,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Fails unless the status is that.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The status, which must be one of those.
    pub(crate) fn expect_one_of(&self, allowed: &[u16]) -> u16 {
        let status = self.status.as_u16();
        assert!(allowed.contains(&status), "{status}: {}", String::from_utf8_lossy(&self.body));
        status
    }

    /// The problem's status and code.
    pub(crate) fn problem(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The problem's list: pointers with codes.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let body = self.json();
        let list = body["errors"].as_array().unwrap_or_else(|| panic!("{body}"));
        list.iter().map(|one| (text(&one["pointer"]), text(&one["code"]))).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(&self) -> T {
        self.json()["id"].as_str().unwrap().parse().unwrap()
    }
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), HostRule::Loopback).await
    }

    pub(crate) async fn with(limits: Limits, rule: HostRule) -> Self {
        Self::beside(cluster::database().await.pool, limits, rule).await
    }

    /// A server over a database that others use too.
    pub(crate) async fn beside(pool: Pool, limits: Limits, rule: HostRule) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::Local(folder.path().to_owned())).await.unwrap();
        let app = Self::over(pool, store, limits, rule).await;
        Self { folder: Some(folder), ..app }
    }

    /// A server over what there is already.
    pub(crate) async fn over(pool: Pool, store: Store, limits: Limits, rule: HostRule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let state = State::new(pool.clone(), store.clone(), limits, rule);
        tokio::spawn(serve(listener, state, async {
            let _ = stopped.await;
        }));
        // plain HTTP alone, but the client wants to know whose TLS it would use
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, pool, store, folder: None, client, stop: Some(stop) }
    }

    /// Tells the server to stop. What is on its way may end.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    /// The server's address without `http://`.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Sends a request and holds the answer against the document.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let Answer { status, headers, body } = self.fetch(method.clone(), path, headers, body).await;
        document::check(method.as_str(), path, status, &headers, &body);
        Answer { status, headers, body }
    }

    /// Sends a request to what is no part of the document. Follows no redirection.
    pub(crate) async fn fetch(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Vec::new()).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(Method::POST, path, &headers, body.to_string().into_bytes()).await
    }

    pub(crate) async fn upload(&self, path: &str, form: Form) -> Answer {
        self.send(Method::POST, path, &[("content-type", &Form::media_type())], form.finish()).await
    }

    /// A ready model with a header that nothing can be planned on.
    pub(crate) async fn bare_model(&self) -> ModelId {
        let form = Form::new().text("name", "bare").file("config.json", b"{}");
        let id = self.upload("/v1/models/files", form).await.expect(201).id();
        self.validate(&bare_header(), None).await;
        id
    }

    /// Uploads a folder as a model and validates it here, as a worker would.
    pub(crate) async fn model(&self, folder: &Path) -> ModelId {
        let names = ["config.json", "tokenizer.json", "model.safetensors"];
        let files: Vec<_> = names.iter().map(|name| (*name, folder.join(name))).filter(|(_, at)| at.exists()).collect();
        let mut form = Form::new();
        for (name, at) in &files {
            form = form.file(name, &std::fs::read(at).unwrap());
        }
        let id = self.upload("/v1/models/files", form.text("name", "real")).await.expect(201).id();
        let inputs: Vec<InputFile> = files
            .into_iter()
            .map(|(name, location)| InputFile {
                path: name.to_owned(),
                size_bytes: location.metadata().unwrap().len(),
                location,
                sha256: None,
            })
            .collect();
        let header = inspect::inspect(&inputs).unwrap().0.header;
        self.validate(&header, None).await;
        id
    }

    /// Uploads rows as a dataset and makes it ready.
    pub(crate) async fn dataset(&self, summary: DatasetSummary) -> String {
        let form = Form::new().text("name", "rows").file("rows.jsonl", b"{\"text\": \"a\"}\n");
        let id = self.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
        self.validate(&bare_header(), Some(&summary)).await;
        id
    }

    /// Claims the job that is next.
    pub(crate) async fn claim(&self) -> Claimed {
        let worker = Worker {
            id: Uuid::now_v7(),
            host_id: Uuid::now_v7(),
            memory_bytes: 1 << 50,
            disk_bytes: 1 << 50,
            devices: vec!["cpu".to_owned()],
        };
        db::jobs::claim(&self.pool, &worker).await.unwrap().expect("a job waits")
    }

    /// Does the validation that is next, with that outcome.
    pub(crate) async fn validate(&self, header: &ModelHeader, summary: Option<&DatasetSummary>) {
        let claimed = self.claim().await;
        assert_eq!(claimed.job.kind, JobKind::Validate);
        let mut tx = self.pool.begin().await.unwrap();
        match (claimed.job.model_id, claimed.job.dataset_id, summary) {
            (Some(id), None, None) => assert!(db::models::finish(&mut tx, id, header).await.unwrap()),
            (None, Some(id), Some(summary)) => assert!(db::datasets::finish(&mut tx, id, summary).await.unwrap()),
            other => panic!("{other:?}"),
        }
        assert!(db::jobs::finish_succeeded(&mut tx, claimed.job.id, claimed.token, &[], None).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// A queued job on a model, made without a plan.
    pub(crate) async fn queued_job(&self) -> JobId {
        let model_id = Some(self.bare_model().await);
        let new = NewJob { model_id, recipe_name: Some("int8".to_owned()), ..NewJob::default() };
        let mut tx = self.pool.begin().await.unwrap();
        let job = db::jobs::enqueue(&mut tx, db::DEFAULT_TENANT, &new).await.unwrap();
        tx.commit().await.unwrap();
        job.id
    }

    /// A succeeded job with one file of that name and those bytes, and a report.
    pub(crate) async fn finished_job(&self, path: &str, bytes: &[u8]) -> JobId {
        let id = self.queued_job().await;
        let claimed = self.claim().await;
        let mut staged = self.store.writer().await.unwrap();
        staged.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        let stored = staged.finish().await.unwrap();
        let file = |role: &str, path: &str| NewJobFile {
            role: role.to_owned(),
            path: path.to_owned(),
            format: "safetensors".to_owned(),
            sha256: stored.digest.to_string(),
            size_bytes: stored.size_bytes,
            loaders: vec!["transformers".to_owned()],
        };
        let files = [file("artifact", path), file("checkpoint", "hidden")];
        let report = json!({
            "version": 1, "model": {}, "recipe": null, "plan": null, "result": {}, "measurements": {},
            "provenance": {}, "unmeasured": {},
        });
        let mut tx = self.pool.begin().await.unwrap();
        let done = db::jobs::finish_succeeded(&mut tx, id, claimed.token, &files, Some(&report)).await.unwrap();
        assert!(done);
        tx.commit().await.unwrap();
        id
    }
}

const BOUNDARY: &str = "----pare-test-7d1";

/// A `multipart/form-data` body, made by hand so that it can be as wrong as a test wants it.
pub(crate) struct Form(Vec<u8>);

impl Form {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), value.as_bytes())
    }

    pub(crate) fn file(self, filename: &str, bytes: &[u8]) -> Self {
        self.part(&format!("form-data; name=\"files\"; filename=\"{filename}\""), bytes)
    }

    pub(crate) fn part(mut self, disposition: &str, bytes: &[u8]) -> Self {
        self.0.extend(format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n").into_bytes());
        self.0.extend(bytes);
        self.0.extend(b"\r\n");
        self
    }

    /// The media type of the body.
    pub(crate) fn media_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        self.0
    }
}

/// A header without anything in it.
pub(crate) fn bare_header() -> ModelHeader {
    ModelHeader {
        support: Support::WeightsOnly,
        family: Some("mamba9000".to_owned()),
        architecture: None,
        spec: None,
        tensors: Vec::new(),
        sites: Vec::new(),
        parameters: 0,
        dtype: Dtype::F32,
        size_bytes: 0,
        files: Vec::new(),
        has_tokenizer: false,
    }
}
