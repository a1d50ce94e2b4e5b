//! The real program, and what is asked of it over HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::cluster::PARE;
use super::engine::own;
use super::worker::until;

/// `pare` with a state folder, and nothing of the environment that these tests run in but its PATH.
pub(crate) fn pare(command: &str, state_dir: &Path) -> Command {
    let mut pare = Command::new(PARE);
    pare.arg(command).arg("--state-dir").arg(state_dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    pare
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// A `pare serve`, killed when a test fails.
pub(crate) struct Server {
    child: Child,
    base: String,
    client: reqwest::Client,
}

impl Server {
    /// Starts one on a port of its own, with those arguments and variables more.
    pub(crate) fn start(state_dir: &Path, arguments: &[&str], variables: &[(String, String)]) -> Self {
        let mut command = pare("serve", state_dir);
        command.args(["--listen", "127.0.0.1:0", "--memory-limit", "1GiB", "--threads", "1", "--log", "warn"]);
        command.args(arguments).envs(variables.iter().cloned());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said '{line}'")).to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
        Self { child, base, client }
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        read(self.answer(path).await).await
    }

    /// An answer as it comes.
    pub(crate) async fn answer(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        read(answer).await
    }

    /// Uploads files under their names.
    pub(crate) async fn upload(&self, path: &str, files: &[(&str, Vec<u8>)]) -> (u16, Value) {
        const BOUNDARY: &str = "----pare-test-p";
        let mut body =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n").into_bytes();
        for (name, bytes) in files {
            let head = format!("Content-Disposition: form-data; name=\"files\"; filename=\"{name}\"");
            body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").into_bytes());
            body.extend(bytes);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        let answer = request.body(body).send().await.unwrap();
        read(answer).await
    }

    /// Uploads the small classifier and its test rows, makes it smaller and measures that; the ids of model and job.
    pub(crate) async fn tickets(&self) -> (String, String) {
        let read = |name: &str| std::fs::read(own("tickets").join(name)).unwrap();
        let files = ["config.json", "tokenizer.json", "model.safetensors"].map(|name| (name, read(name)));
        let (status, model) = self.upload("/v1/models/files", &files).await;
        assert_eq!(status, 201, "{model}");
        let (status, rows) = self.upload("/v1/datasets/files", &[("test.jsonl", read("data/test.jsonl"))]).await;
        assert_eq!(status, 201, "{rows}");
        let job = json!({"model_id": model["id"], "recipe_name": "int8", "evaluation_dataset_id": rows["id"],
            "evaluate": {"max_seq_length": 64, "metrics": ["accuracy"]}});
        let (status, job) = self.post("/v1/jobs", &job).await;
        assert_eq!(status, 201, "{job}");
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        (id(&model), id(&job))
    }

    /// Waits until a job has succeeded.
    pub(crate) async fn succeeded(&self, job: &str) -> Value {
        let job = until("the job's end", async || {
            let (_, job) = self.get(&format!("/v1/jobs/{job}")).await;
            job["finished_at"].is_string().then_some(job)
        })
        .await;
        assert_eq!(job["state"], "succeeded", "{job}");
        job
    }
}

async fn read(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `pare work`, killed when a test lets go of it.
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    /// Starts one that shares a database and a store.
    pub(crate) fn start(state_dir: &Path, store: &str, database: &str, variables: &[(String, String)]) -> Self {
        let mut work = pare("work", state_dir);
        work.args(["--store-url", store, "--database-url", database, "--memory-limit", "1GiB", "--threads", "1"]);
        work.args(["--log", "warn"]).envs(variables.iter().cloned());
        Self { child: work.stdin(Stdio::null()).spawn().unwrap() }
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
