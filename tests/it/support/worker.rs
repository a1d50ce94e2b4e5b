//! Workers for tests: in this process, with a jobs' process that can be held at a gate.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pare::db::datasets::{self, NewDataset};
use pare::db::jobs::{self, Job, JobFilter, JobKind};
use pare::db::{DEFAULT_TENANT, NewFile, Pool};
use pare::id::JobId;
use pare::store::{Store, StoreConfig};
use pare::worker::{Config, Sandbox, Timing};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::cluster::{Database, PARE, database};

/// A test that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until there is something to see.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A database, a store and a folder of one test.
pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::Local(folder.path().join("store"))).await.unwrap();
        Self { database: database().await, store, folder }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.database.pool
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    /// A worker's settings.
    pub(crate) fn config(&self) -> Config {
        config(self.scratch())
    }

    /// Starts a worker in this process.
    pub(crate) fn start(&self, config: Config) -> Running {
        start(self.pool(), &self.store, config)
    }

    /// A program that waits at a gate, and then becomes `pare`.
    pub(crate) fn gated(&self) -> Gate {
        let (program, open) = (self.folder.path().join("gated"), self.folder.path().join("open"));
        // It has no PATH.
        let wait = format!("while [ ! -e '{}' ]; do /bin/sleep 0.02; done", open.display());
        write_program(&program, &format!("#!/bin/sh\n{wait}\nexec '{PARE}' \"$@\"\n"));
        Gate { program, open }
    }

    /// Stores a dataset; the answer is the job that validates it.
    pub(crate) async fn submit(&self, text: impl Into<Bytes>) -> JobId {
        self.submit_named("rows.jsonl", text).await
    }

    /// As [`Bench::submit`], a file of that name.
    pub(crate) async fn submit_named(&self, name: &str, text: impl Into<Bytes>) -> JobId {
        let mut staged = self.store.writer().await.unwrap();
        staged.write(text.into()).await.unwrap();
        let stored = staged.finish().await.unwrap();
        let file = NewFile { path: name.into(), sha256: stored.digest.to_string(), size_bytes: stored.size_bytes };
        let new = NewDataset { name: "rows".into(), files: vec![file] };
        let dataset = datasets::insert(self.pool(), DEFAULT_TENANT, &new).await.unwrap();
        let filter = JobFilter { kind: Some(JobKind::Validate), limit: 100, ..JobFilter::default() };
        let jobs = jobs::list(self.pool(), DEFAULT_TENANT, &filter).await.unwrap();
        jobs.into_iter().find(|job| job.dataset_id == Some(dataset.id)).unwrap().id
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        jobs::find(self.pool(), DEFAULT_TENANT, id).await.unwrap().unwrap()
    }

    /// Waits for a job's end.
    pub(crate) async fn end_of(&self, id: JobId) -> Job {
        until("the job's end", async || Some(self.job(id).await).filter(|job| job.state.is_terminal())).await
    }

    /// Waits until a process of a job runs here, other than `not`.
    pub(crate) async fn process(&self, not: Option<Pid>) -> Pid {
        until("a job's process", async || processes_below(&self.scratch()).into_iter().find(|pid| Some(*pid) != not))
            .await
    }

    /// Waits until nothing of a job is left here.
    pub(crate) async fn cleared(&self) {
        until("an empty scratch folder", async || {
            let left = fs::read_dir(self.scratch()).unwrap().count();
            (left == 0 && processes_below(&self.scratch()).is_empty()).then_some(())
        })
        .await;
    }
}

/// A worker's settings: one slot, quick to look and to give up.
pub(crate) fn config(scratch: PathBuf) -> Config {
    let timing = Timing {
        poll: Duration::from_millis(100),
        heartbeat: Duration::from_millis(100),
        grace: Duration::from_millis(300),
        maintain: Duration::from_millis(500),
        ..Timing::default()
    };
    Config {
        host_id: Uuid::now_v7(),
        program: PARE.into(),
        scratch,
        slots: 1,
        threads: 1,
        memory_bytes: 1 << 30,
        device: "cpu".into(),
        disk_reserve_bytes: 0,
        sandbox: Sandbox::default(),
        require_sandbox: false,
        retention_days: None,
        timing,
    }
}

/// Starts a worker in this process.
pub(crate) fn start(pool: &Pool, store: &Store, config: Config) -> Running {
    let shutdown = CancellationToken::new();
    let worker = pare::worker::run(pool.clone(), store.clone(), config, shutdown.clone());
    Running { shutdown, task: tokio::spawn(worker) }
}

/// A program that waits.
pub(crate) struct Gate {
    pub(crate) program: PathBuf,
    open: PathBuf,
}

impl Gate {
    /// Lets through those that wait, and all that come.
    pub(crate) fn open(&self) {
        fs::write(&self.open, b"").unwrap();
    }
}

/// A worker in this process.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker ends").unwrap().unwrap();
    }

    /// Lets go of it where it stands, without a word to anyone: what it ran ends with it.
    pub(crate) async fn vanish(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

/// Processes of jobs whose folders lie below `scratch`.
pub(crate) fn processes_below(scratch: &Path) -> Vec<Pid> {
    let below = |pid: i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut arguments = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let is_job = arguments.any(|argument| argument == "run-job");
        let is_ours = arguments.any(|argument| Path::new(argument.as_ref()).starts_with(scratch));
        (is_job && is_ours).then(|| Pid::from_raw(pid)).flatten()
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter_map(below).collect()
}

/// Rows of a dataset: enough of them take a while, and memory.
pub(crate) fn rows(count: usize) -> String {
    (0..count)
        .map(|i| format!("{{\"text\": \"row number {i} says something\", \"label\": \"l{}\"}}\n", i % 3))
        .collect()
}
