//! `pare serve`: HTTP interface, dashboard and workers in one process.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::descriptors;
use super::state::{State, prepare_tls};
use super::stop;
use super::wait;
use super::work::{config, own_program, release_own, run_workers, sandbox, sweep, worker_connections};
use crate::config::{
    Allowance, DatabaseSettings, HttpSettings, RetentionSettings, StateSettings, StoreSettings, WorkerSettings,
};
use crate::db::{self, Pool};
use crate::http;
use crate::postgres::{Cluster, ClusterConfig};
use crate::store::Store;
use crate::worker::Sandbox;

/// Connections that wait to be let in. Hundreds come at once when a stream that hundreds listen to ends, and one that
/// finds no room tries again only after a second.
const BACKLOG: u32 = 4096;
/// Connections for requests.
const HTTP_CONNECTIONS: u32 = 16;

/// The service's settings.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) http: HttpSettings,
    #[command(flatten)]
    pub(super) state: StateSettings,
    #[command(flatten)]
    pub(super) database: DatabaseSettings,
    #[command(flatten)]
    pub(super) store: StoreSettings,
    #[command(flatten)]
    pub(super) workers: WorkerSettings,
    #[command(flatten)]
    pub(super) retention: RetentionSettings,
}

impl Serve {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        prepare_tls();
        let allowance = self.workers.allowance()?;
        let state = State::open(&self.state.folder()?)?;
        let sandbox = sandbox(&state, &allowance)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let shutdown = stop::on_signal()?;
            let cluster = match &self.database.database_url {
                Some(url) if !wait::for_database(url, &shutdown).await? => return Ok(()),
                Some(_) => None,
                None => Some(self.start_cluster(&state).await?),
            };
            let url = match (&self.database.database_url, &cluster) {
                (Some(url), _) => url.clone(),
                (None, Some(cluster)) => cluster.url("pare"),
                (None, None) => bail!("there is no database"),
            };
            let served = self.serve(&state, &allowance, sandbox, &url, shutdown).await;
            if let Some(cluster) = cluster {
                cluster.stop().await.context("the private cluster did not stop")?;
            }
            served
        })
    }

    async fn start_cluster(&self, state: &State) -> anyhow::Result<Cluster> {
        let config = ClusterConfig {
            state_dir: state.folder.clone(),
            bin_dir: self.database.postgres_bin.clone(),
            helper: own_program()?,
        };
        Cluster::start(config).await.context("the private database can't be started")
    }

    /// Serves until `shutdown`: first the intake ends, then the workers, then the connections.
    async fn serve(
        &self,
        state: &State,
        allowance: &Allowance,
        sandbox: Sandbox,
        url: &str,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let pool = db::connect(url, HTTP_CONNECTIONS).await.context("the database can't be opened")?;
        db::migrate(&pool).await.context("the schema can't be brought up to date")?;
        let reserve_bytes = self.state.disk_reserve_bytes(&state.folder);
        let store = Store::open(&self.store.config(&state.folder)?).await?.keeping_free(reserve_bytes);
        let host_rule = self.host_rule(&pool).await?;
        release_own(&pool, state).await?;
        sweep(&store).await;
        // Heartbeats must get through whatever the requests do.
        let worker_pool = db::connect(url, worker_connections(allowance)).await?;
        let listener =
            bind(self.http.listen.0).with_context(|| format!("{} can't be listened on", self.http.listen))?;
        let mut out = std::io::stdout();
        writeln!(out, "listening on http://{}", listener.local_addr()?).and_then(|()| out.flush())?;

        let config = config(state, allowance, sandbox, reserve_bytes, self.retention.retention_days)?;
        let limits = self.limits();
        descriptors::raise(limits.connections);
        let app = http::State::new(pool.clone(), store.clone(), limits, host_rule);
        // Whichever fails ends the other.
        let ended = shutdown.clone();
        let requests = async {
            let done = http::serve(listener, app, ended.clone().cancelled_owned()).await;
            ended.cancel();
            done.context("the HTTP interface broke down")
        };
        let jobs = async {
            let done = run_workers(worker_pool.clone(), store, config, shutdown.clone()).await;
            if done.is_err() {
                shutdown.cancel();
            }
            done
        };
        let (requests, jobs) = tokio::join!(requests, jobs);
        close(&[pool, worker_pool]).await;
        requests.and(jobs)
    }

    /// Whom to answer. An address that others reach wants a key first: else whoever finds it may do everything.
    async fn host_rule(&self, pool: &Pool) -> anyhow::Result<http::HostRule> {
        let address = self.http.listen.0;
        if address.ip().is_loopback() {
            return Ok(http::HostRule::Loopback);
        }
        if !db::keys::any_usable(pool).await.context("the keys can't be read")? {
            bail!(
                "{address} can be reached from other machines, and there is no API key that would keep them out: make \
                 one with 'pare keys create --name NAME', on the same state folder or database; or listen on 127.0.0.1"
            );
        }
        Ok(http::HostRule::Any)
    }

    fn limits(&self) -> http::Limits {
        let limits = http::Limits::default();
        http::Limits {
            rate_per_minute: self.http.rate_limit.unwrap_or(limits.rate_per_minute),
            is_rate_for_all: self.http.rate_limit.is_some(),
            linger: Duration::from_secs(self.http.drain_seconds.into()),
            ..limits
        }
    }
}

/// Listens on an address.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // a server that starts again gets its port back at once
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn close(pools: &[Pool]) {
    for pool in pools {
        pool.close().await;
    }
}
