//! The database for commands that need it for a moment: a named one, or the private cluster of a state folder, whether
//! a server runs it now or not.

use anyhow::Context;

use super::state::{State, prepare_tls};
use super::work::own_program;
use crate::config::{DatabaseSettings, StateSettings};
use crate::db::{self, Pool};
use crate::postgres::{Cluster, ClusterConfig, DATABASE};

/// Does something with the database, whose schema is up to date, and closes it.
///
/// # Errors
///
/// When the database can't be had, or what `work` gives.
pub(super) fn with_database<T>(
    database: &DatabaseSettings,
    state: &StateSettings,
    work: impl AsyncFnOnce(Pool) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    prepare_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        if let Some(url) = &database.database_url {
            return with_url(url, work).await;
        }
        let folder = state.folder()?;
        // the folder's lock says for sure whether a server is there
        let state = match (State::open(&folder), Cluster::url_of_running(&folder, DATABASE)) {
            (Ok(state), _) => state,
            (Err(_), Some(url)) => return with_url(&url, work).await,
            (Err(error), None) => {
                return Err(error.context("there is no private database that runs here; --database-url names another"));
            }
        };
        let config = ClusterConfig {
            state_dir: state.folder.clone(),
            bin_dir: database.postgres_bin.clone(),
            helper: own_program()?,
        };
        let cluster = Cluster::start(config).await.context("the private database can't be started")?;
        let done = with_url(&cluster.url(DATABASE), work).await;
        cluster.stop().await.context("the private cluster did not stop")?;
        done
    })
}

async fn with_url<T>(url: &str, work: impl AsyncFnOnce(Pool) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let pool = db::connect(url, 2).await.context("the database can't be opened")?;
    db::migrate(&pool).await.context("the schema can't be brought up to date")?;
    let done = work(pool.clone()).await;
    pool.close().await;
    done
}
