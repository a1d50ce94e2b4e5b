//! Runs jobs: claims them, holds their leases, runs each in a process of its own, publishes.
//!
//! ```text
//! slot ── claim ──► attempt ─┬─ lease     renews it, hears of cancel, deadline and loss
//!                            ├─ prepare   files and input.json into a scratch folder
//!                            ├─ child     the process; a thread starts, hears and reaps it
//!                            ├─ sandbox   what the kernel holds it to, tried out at the start
//!                            ├─ memory    ends it when it outgrows its limit
//!                            ├─ journal   its events into the job's log
//!                            ├─ statistics  what an earlier job summed up of the same model and data
//!                            ├─ checkpoint  what it leaves on its way into the store, for the next attempt
//!                            └─ publish   its files into the store, then one transaction
//! ```
//!
//! An attempt ends in one of a few ways (`ending`), and each is written under the lease's token: a worker that was
//! paused and replaced writes nothing. Nothing here looks into a model's bytes.

mod attempt;
mod cgroup;
mod checkpoint;
mod child;
mod collect;
mod ending;
mod hints;
mod host;
mod journal;
mod lease;
mod lines;
mod maintain;
mod memory;
mod pace;
mod prepare;
mod publish;
mod sandbox;
mod scratch;
mod statistics;
mod trace;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

use crate::db::jobs::{Claimed, Worker, claim};
use crate::db::{self, Pool};
use crate::engine::context::Host;
use crate::store::{Digest, Store};
use crate::telemetry::metrics;
use hints::{Hints, with_jitter};
pub use host::host;
pub use sandbox::Sandbox;

/// What a worker has, and how it behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names the state folder across restarts.
    pub host_id: Uuid,
    /// The `pare` binary, which jobs run in.
    pub program: PathBuf,
    /// A folder that is the worker's alone. It is emptied at the start.
    pub scratch: PathBuf,
    /// Jobs at once.
    pub slots: usize,
    /// Threads of one job.
    pub threads: usize,
    /// Anonymous memory of one job.
    pub memory_bytes: u64,
    /// `cpu`.
    pub device: String,
    /// Bytes of the scratch folder's disk that jobs leave free.
    pub disk_reserve_bytes: u64,
    /// What the kernel holds jobs to, as [`Sandbox::probe`] found it. For show: each job's process sees for itself.
    pub sandbox: Sandbox,
    /// Whether jobs run in a whole sandbox or not at all.
    pub require_sandbox: bool,
    /// Days after which jobs that ended are deleted; never if none.
    pub retention_days: Option<u32>,
    /// How long things take.
    pub timing: Timing,
}

impl Config {
    /// Bytes that jobs may take of the scratch folder's disk; 0 where none can start.
    fn free_disk_bytes(&self) -> u64 {
        scratch::free_bytes(&self.scratch).unwrap_or(0).saturating_sub(self.disk_reserve_bytes)
    }
}

/// Beyond the predicted disk need, for what was not predicted to the byte.
const DISK_SLACK_BYTES: u64 = 256 << 20;

/// What a file of a job that was predicted to need `disk_bytes` may have, and what its checkpoint may have together.
pub const fn most_disk_bytes(disk_bytes: u64) -> u64 {
    disk_bytes.saturating_mul(2).saturating_add(DISK_SLACK_BYTES)
}

/// How long things take. The lease itself is 60 s, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two looks at the queue, when nothing hints at a job.
    pub poll: Duration,
    /// Between two renewals of a lease.
    pub heartbeat: Duration,
    /// Between a renewal and the next one, where there is progress to tell.
    pub progress: Duration,
    /// How long after a renewal was asked for a lease is trusted: less than 60 s, so that whoever gets the job next
    /// never meets us.
    pub trust: Duration,
    /// How long the database may take for an answer.
    pub answer: Duration,
    /// Between two tries after a failure.
    pub retry: Duration,
    /// Between asking a process to end and killing it.
    pub grace: Duration,
    /// How long a job may say nothing before its log says that it may hang.
    pub stall: Duration,
    /// Between two rounds of maintenance.
    pub maintain: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            heartbeat: Duration::from_secs(15),
            progress: Duration::from_secs(2),
            trust: Duration::from_secs(45),
            answer: Duration::from_secs(10),
            retry: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            stall: Duration::from_secs(600),
            maintain: Duration::from_secs(15),
        }
    }
}

/// What every part of the worker needs.
#[derive(Debug, Clone)]
struct Context {
    pool: Pool,
    store: Store,
    config: Arc<Config>,
    binary_sha256: Option<String>,
    /// As jobs name it.
    host: Host,
    /// One for each slot.
    workers: Arc<[Uuid]>,
}

/// Runs jobs until `shutdown`, then gives back those that run.
///
/// # Errors
///
/// When the scratch folder can't be used. Nothing else ends a worker: it waits for a database that is away.
pub async fn run(pool: Pool, store: Store, config: Config, shutdown: CancellationToken) -> io::Result<()> {
    scratch::sweep(&config.scratch)?;
    let workers = (0..config.slots).map(|_| Uuid::now_v7()).collect();
    let binary_sha256 = hash_program(config.program.clone()).await;
    let host = host(binary_sha256.clone());
    let context = Context { pool, store, config: Arc::new(config), binary_sha256, host, workers };
    let hints = Hints::new();
    let _spread = AbortOnDropHandle::new(tokio::spawn(hints.clone().spread(context.pool.clone())));
    let _maintain = AbortOnDropHandle::new(tokio::spawn(maintain::keep(context.clone())));
    let _collect = AbortOnDropHandle::new(tokio::spawn(maintain::collect_from_time_to_time(context.clone())));
    let mut slots = JoinSet::new();
    for worker in context.workers.iter().copied() {
        slots.spawn(slot(context.clone(), worker, hints.clone(), shutdown.clone()));
    }
    while let Some(ended) = slots.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a slot for jobs broke down");
        }
    }
    maintain::leave(&context).await;
    Ok(())
}

/// Runs one job after the other.
async fn slot(context: Context, worker: Uuid, hints: Hints, shutdown: CancellationToken) {
    let Timing { poll, answer, retry, .. } = context.config.timing;
    while !shutdown.is_cancelled() {
        let (mut interest, lease_interest) = (hints.interest(), hints.interest());
        let asked_at = Instant::now();
        let wait = match timeout(answer, look(&context, worker)).await {
            Ok(Ok(Some(claimed))) => {
                metrics::job_claimed(claimed.job.kind.as_str());
                // On a task of its own: whatever breaks in it breaks nothing else.
                let (context, shutdown) = (context.clone(), shutdown.clone());
                let span = trace::span(&claimed);
                let run = async move { attempt::run(&context, &claimed, asked_at, lease_interest, &shutdown).await };
                let run = run.instrument(span);
                if let Err(error) = AbortOnDropHandle::new(tokio::spawn(run)).await {
                    tracing::error!(%error, "an attempt broke down; its lease runs out by itself");
                }
                continue;
            }
            Ok(Ok(None)) => poll,
            Ok(Err(error)) => {
                tracing::warn!(error = %ending::chain(&error), "the queue can't be read; trying again");
                retry
            }
            Err(_) => {
                tracing::warn!("the database does not answer; trying again");
                retry
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = interest.hint(None) => {}
            () = sleep(with_jitter(wait)) => {}
        }
    }
}

async fn look(context: &Context, worker: Uuid) -> db::Result<Option<Claimed>> {
    let config = &context.config;
    let worker = Worker {
        id: worker,
        host_id: config.host_id,
        memory_bytes: config.memory_bytes,
        disk_bytes: config.free_disk_bytes(),
        devices: vec![config.device.clone()],
    };
    claim(&context.pool, &worker).await
}

/// The program's digest, for reports: they name what made them.
async fn hash_program(program: PathBuf) -> Option<String> {
    let hashed = tokio::task::spawn_blocking(move || Digest::of_file(&program)).await;
    match hashed.map_err(io::Error::other).and_then(|inner| inner) {
        Ok((digest, _)) => Some(digest.to_string()),
        Err(error) => {
            tracing::warn!(%error, "the program can't be hashed: reports will not name it");
            None
        }
    }
}
