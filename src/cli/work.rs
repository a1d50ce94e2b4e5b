//! `pare work`: runs jobs of a shared queue.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::state::{State, prepare_tls};
use super::stop;
use super::wait;
use crate::config::{
    Allowance, DatabaseSettings, Listen, MetricsSettings, RetentionSettings, SettingError, StateSettings,
    StoreSettings, WorkerSettings,
};
use crate::db::{self, Pool};
use crate::http;
use crate::store::Store;
use crate::telemetry::metrics;
use crate::worker::{self, Config, Sandbox, Timing};

/// Blobs that were being written longer ago than this were left by a process that is no more.
const STAGED_FOR: Duration = Duration::from_hours(24);
/// How long workers may take to give their jobs back: the grace of a job's process, and the telling.
const WORKERS_END: Duration = Duration::from_secs(20);

/// How long whoever reads the metrics may keep a connection waiting.
const METRICS_STALL: Duration = Duration::from_secs(30);

/// What it shares, and what a job may use.
#[derive(Debug, Args)]
pub(super) struct Work {
    #[command(flatten)]
    pub(super) database: DatabaseSettings,
    #[command(flatten)]
    pub(super) store: StoreSettings,
    #[command(flatten)]
    pub(super) state: StateSettings,
    #[command(flatten)]
    pub(super) workers: WorkerSettings,
    #[command(flatten)]
    pub(super) retention: RetentionSettings,
    #[command(flatten)]
    pub(super) metrics: MetricsSettings,
}

impl Work {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        prepare_tls();
        let url = self.database.database_url.as_deref();
        let url = url.ok_or(SettingError::Shared { flag: "--database-url or DATABASE_URL", what: "the queue" })?;
        if self.store.store_url.is_none() {
            return Err(SettingError::Shared { flag: "--store-url or STORE_URL", what: "the files" }.into());
        }
        // before the first claim is counted
        metrics::start();
        let allowance = self.workers.allowance()?;
        let state = State::open(&self.state.folder()?)?;
        let sandbox = sandbox(&state, &allowance)?;
        let reserve_bytes = self.state.disk_reserve_bytes(&state.folder);
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let shutdown = stop::on_signal()?;
            if !wait::for_database(url, &shutdown).await? {
                return Ok(());
            }
            let pool =
                db::connect(url, worker_connections(&allowance)).await.context("the database can't be opened")?;
            db::check_current(&pool).await?;
            let store = Store::open(&self.store.config(&state.folder)?).await?.keeping_free(reserve_bytes);
            release_own(&pool, &state).await?;
            sweep(&store).await;
            let config = config(&state, &allowance, sandbox, reserve_bytes, self.retention.retention_days)?;
            let _metrics = self.show_metrics(&pool).await?;
            let done = run_workers(pool.clone(), store, config, shutdown).await;
            pool.close().await;
            done
        })
    }

    /// Shows the metrics, where that was asked for, until what this returns is dropped.
    async fn show_metrics(&self, pool: &Pool) -> anyhow::Result<Option<AbortOnDropHandle<()>>> {
        let Some(Listen(address)) = self.metrics.metrics_listen else { return Ok(None) };
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("{address} can't be listened on for metrics"))?;
        tracing::info!(address = %listener.local_addr()?, "showing metrics");
        let shown = http::serve_worker(listener, pool.clone(), METRICS_STALL);
        Ok(Some(AbortOnDropHandle::new(tokio::spawn(async move {
            shown.await;
        }))))
    }
}

/// Runs workers until `shutdown`, and not much longer.
pub(super) async fn run_workers(
    pool: Pool,
    store: Store,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(WORKERS_END).await;
    };
    tokio::select! {
        ended = worker::run(pool, store, config, shutdown.clone()) => ended.context("the worker can't run"),
        () = overdue => bail!("jobs could not be given back in time: their leases run out by themselves"),
    }
}

/// Takes back what an earlier process on this state folder held: we hold its lock, so none of them lives.
pub(super) async fn release_own(pool: &Pool, state: &State) -> anyhow::Result<()> {
    let released = db::jobs::release_all_of(pool, state.host_id).await?;
    if released > 0 {
        tracing::info!(jobs = released, "took back the jobs of an earlier run");
    }
    Ok(())
}

/// Removes what was left half written. It can wait where the store is away.
pub(super) async fn sweep(store: &Store) {
    match store.sweep(STAGED_FOR).await {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what was left half written"),
        Err(error) => tracing::warn!(%error, "what was left half written could not be removed"),
    }
}

/// Tries out what the kernel holds a job's process to, and says what it does not.
pub(super) fn sandbox(state: &State, allowance: &Allowance) -> anyhow::Result<Sandbox> {
    if allowance.workers == 0 {
        return Ok(Sandbox::default());
    }
    let sandbox = Sandbox::probe(&own_program()?, &scratch(state));
    if sandbox.is_whole() {
        tracing::info!(landlock = sandbox.landlock_version, "jobs are held to their folder, by landlock and seccomp");
    } else if allowance.require_sandbox {
        bail!("the kernel can't hold jobs to their folder, as --require-sandbox asks: {}", sandbox.gaps());
    } else {
        tracing::warn!(gaps = sandbox.gaps(), "jobs are not wholly held to their folder");
    }
    Ok(sandbox)
}

fn scratch(state: &State) -> PathBuf {
    state.folder.join("scratch")
}

/// The worker's configuration.
pub(super) fn config(
    state: &State,
    allowance: &Allowance,
    sandbox: Sandbox,
    disk_reserve_bytes: u64,
    retention_days: Option<u32>,
) -> anyhow::Result<Config> {
    Ok(Config {
        host_id: state.host_id,
        program: own_program()?,
        scratch: scratch(state),
        slots: allowance.workers,
        threads: allowance.threads,
        memory_bytes: allowance.memory_bytes,
        device: allowance.device.clone(),
        disk_reserve_bytes,
        sandbox,
        require_sandbox: allowance.require_sandbox,
        retention_days,
        timing: Timing::default(),
    })
}

/// This program. On Linux by the kernel's own name for it: it stays right when the file is replaced by a newer one.
pub(super) fn own_program() -> anyhow::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().context("the program's own file can't be found")
}

/// Connections that workers need: the lease and the log of each job, a publication, the listener, maintenance.
pub(super) fn worker_connections(allowance: &Allowance) -> u32 {
    u32::try_from(allowance.workers).unwrap_or(u32::MAX).saturating_mul(3).saturating_add(3)
}
