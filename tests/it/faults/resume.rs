//! Real jobs that look at data, on real workers, killed after every block in turn: each goes on behind the last block that
//! was finished, and comes to the bytes of a run that nobody killed.
//!
//! So that each attempt is killed behind exactly one block, however fast the machine is, the database takes one checkpoint of
//! each attempt and no end of a job until the last kill: to the service it is a database that is away for these statements.

use std::path::{Path, PathBuf};

use pare::db::jobs::{self, JobState};
use pare::db::{DEFAULT_TENANT, Pool};
use pare::id::JobId;
use serde_json::{Value, json};

use super::{end_of, find, let_leases_run_out, local};
use crate::support::cluster::{Database, database};
use crate::support::engine::{model, shared};
use crate::support::invariants::Fault;
use crate::support::program::{Server, Worker};
use crate::support::worker::{kill, processes_below, until};

/// 57P03, "cannot connect now", is what a worker waits for, or does without.
const GATE: [&str; 5] = [
    "create table gate (is_open boolean not null)",
    "insert into gate values (false)",
    "create function hold() returns trigger language plpgsql as $$ begin
        if not (select is_open from gate) then
            raise exception 'a test holds this back' using errcode = '57P03';
        end if;
        return new;
    end $$",
    "create trigger hold_checkpoints before update on job_checkpoints for each row
        when (old.attempt = new.attempt) execute function hold()",
    "create trigger hold_ends before update on jobs for each row
        when (new.kind = 'compress' and new.state = 'succeeded') execute function hold()",
];

/// A server without workers of its own, and the worker that runs its jobs now.
struct Stage {
    folder: tempfile::TempDir,
    db: Database,
    store: String,
    server: Server,
    worker: Option<Worker>,
    /// Workers so far that had a state folder of their own.
    hosts: u32,
}

impl Stage {
    async fn new() -> Self {
        let (folder, db) = (tempfile::tempdir().unwrap(), database().await);
        let store = format!("file://{}", folder.path().join("store").display());
        let arguments = ["--workers", "0", "--store-url", &store, "--database-url", &db.url];
        let server = Server::start(&folder.path().join("server"), &arguments, &[]);
        let mut stage = Self { folder, store, server, worker: None, hosts: 0, db };
        stage.start();
        stage
    }

    fn pool(&self) -> &Pool {
        &self.db.pool
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join(format!("worker-{}", self.hosts))
    }

    fn start(&mut self) {
        self.worker = Some(Worker::start(&self.state(), &self.store, &self.db.url, &[]));
    }

    /// Kills whoever works on a job: first its process, then its worker, for which another one comes every third time.
    async fn kill(&mut self, number: u64, id: JobId) {
        if number == 1 {
            let scratch = self.state().join("scratch");
            let process = until("the job's process", async || processes_below(&scratch).into_iter().next()).await;
            kill(process);
            let pool = self.pool();
            until("the crash", async || (find(pool, id).await.crashes == 1).then_some(())).await;
            return;
        }
        // its process dies with it
        self.worker = None;
        if number.is_multiple_of(3) {
            let_leases_run_out(self.pool()).await;
            self.hosts += 1;
        }
        self.start();
    }

    /// What to post to `/v1/jobs`.
    async fn job(&self, folder: &Path, data: (&Path, &str), calibration: &Value) -> Value {
        let files = model(folder).files;
        let read = |path: &Path| std::fs::read(path).unwrap();
        let files: Vec<_> = files.iter().map(|file| (file.path.as_str(), read(&file.location))).collect();
        let (status, model) = self.server.upload("/v1/models/files", &files).await;
        assert_eq!(status, 201, "{model}");
        let (status, rows) = self.server.upload("/v1/datasets/files", &[(data.1, read(&data.0.join(data.1)))]).await;
        assert_eq!(status, 201, "{rows}");
        let params = json!({"bits": 4, "group_size": 32, "observer": "weighted_mse"});
        // the tables, which no data is needed for, would take most of the time
        let stage = json!({"method": "quantize", "targets": ["block.**"], "params": params});
        let recipe = json!({"version": 1, "stages": [stage], "evaluate": {"metrics": []}, "calibration": calibration});
        json!({"model_id": model["id"], "calibration_dataset_id": rows["id"], "recipe": recipe})
    }

    async fn submit(&self, job: &Value) -> JobId {
        let (status, made) = self.server.post("/v1/jobs", job).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().parse().unwrap()
    }

    async fn weights(&self, id: JobId) -> Vec<u8> {
        let files = jobs::files(self.pool(), DEFAULT_TENANT, id).await.unwrap();
        let weights = files.iter().find(|file| file.path == "model.safetensors").unwrap();
        self.server.bytes(&format!("/v1/artifacts/{}/content", weights.id)).await
    }
}

async fn run_statements(pool: &Pool, statements: &[&'static str]) {
    for statement in statements {
        sqlx::query(*statement).execute(pool).await.unwrap();
    }
}

/// The steps that its log tells of, and those that attempts went on from.
async fn steps(pool: &Pool, id: JobId) -> (Vec<u64>, Vec<u64>) {
    let (mut published, mut resumed) = (Vec::new(), Vec::new());
    for line in jobs::events(pool, id, 0, 1000).await.unwrap() {
        if line.kind == "checkpoint" {
            published.push(line.body["step"].as_u64().unwrap());
        }
        let note = line.body["message"].as_str().unwrap_or_default();
        assert!(!note.contains("anew"), "{note}");
        resumed.extend(note.strip_prefix("goes on from step ").map(|step| step.parse::<u64>().unwrap()));
    }
    (published, resumed)
}

async fn run(what: &'static str, names: (&str, &str, &str), blocks: u64, calibration: Value) {
    let (Some(folder), Some(data)) = (shared(names.0), shared(names.1)) else { return };
    let mut stage = Stage::new().await;
    let mut fault = Fault::begin("F1, F2", what, stage.pool()).await;
    run_statements(stage.pool(), &GATE).await;
    let job = stage.job(&folder, (&data, names.2), &calibration).await;
    let id = stage.submit(&job).await;
    fault.acknowledge(&id);

    let mut killed_at = Vec::new();
    while killed_at.last().is_none_or(|step| *step < blocks) {
        let last = killed_at.last().copied().unwrap_or(0);
        let step = until("the next checkpoint", async || {
            jobs::checkpoint(stage.pool(), id).await.unwrap().map(|found| found.step).filter(|step| *step > last)
        });
        killed_at.push(step.await);
        stage.kill(killed_at.len() as u64, id).await;
    }
    assert_eq!(killed_at.len() as u64, blocks, "one kill behind each block: {killed_at:?}");
    run_statements(stage.pool(), &["update gate set is_open = true"]).await;

    let ended = end_of(stage.pool(), id).await;
    assert_eq!((ended.state, ended.crashes), (JobState::Succeeded, 1), "{:?}", ended.error);
    assert_eq!(ended.attempt as u64, blocks + 1, "each kill ended one attempt");
    // A finished block is one step: each was told of once, and every attempt went on behind the last
    let (published, resumed) = steps(stage.pool(), id).await;
    assert_eq!(resumed, killed_at);
    assert!(published.is_sorted_by(|a, b| a < b), "{published:?}");
    assert_eq!(published.iter().filter(|step| **step < blocks).count() as u64, blocks - 1, "{published:?}");

    // it is to look at its rows itself
    run_statements(stage.pool(), &["delete from statistics"]).await;
    let unbroken = stage.submit(&job).await;
    fault.acknowledge(&unbroken);
    let other = end_of(stage.pool(), unbroken).await;
    assert_eq!((other.state, other.attempt), (JobState::Succeeded, 1), "{:?}", other.error);
    assert!(stage.weights(id).await == stage.weights(unbroken).await, "other bytes than of a run that nobody killed");
    fault.count("blocks, each followed by a kill", blocks);
    fault.count("attempts", blocks + 1);
    stage.worker.take().unwrap().stop();
    fault.held(stage.pool(), &local(&stage.folder.path().join("store")).await).await;
    stage.server.stop();
}

const CLASSIFIER: (&str, &str, &str) = ("minilm-sections", "data/sections", "calibration.jsonl");
const LANGUAGE: (&str, &str, &str) = ("docs-llama", "data/docs-text", "valid.txt");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_f02_a_classifier_is_killed_after_each_of_its_six_blocks() {
    let what = "kill -9 of the process and of workers after each block of a sentence classifier";
    run(what, CLASSIFIER, 6, json!({"num_calibration_samples": 24, "max_seq_length": 32})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_f02_a_language_model_is_killed_after_each_of_its_eight_blocks() {
    let what = "kill -9 of the process and of workers after each block of a language model";
    run(what, LANGUAGE, 8, json!({"num_calibration_samples": 24, "max_seq_length": 32})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/faults runs it"]
async fn f01_f02_a_classifier_is_killed_after_each_block_over_all_its_rows() {
    let what = "kill -9 of the process and of workers after each block of a sentence classifier, over 512 rows";
    run(what, CLASSIFIER, 6, json!({"num_calibration_samples": 512, "max_seq_length": 96})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/faults runs it"]
async fn f01_f02_a_language_model_is_killed_after_each_block_over_long_rows() {
    let what =
        "kill -9 of the process and of workers after each block of a language model, over 128 rows of 128 tokens";
    run(what, LANGUAGE, 8, json!({"num_calibration_samples": 128, "max_seq_length": 128})).await;
}
