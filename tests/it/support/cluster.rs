//! Databases for tests: one private cluster for the process, one fresh, migrated database for each test.
//!
//! The cluster stays under `target/tmp` for the next run. Processes that run at once take one each.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use pare::db::{self, Pool};
use pare::postgres::{Cluster, ClusterConfig, Error};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

/// The `pare` binary that these tests belong to.
pub(crate) const PARE: &str = env!("CARGO_BIN_EXE_pare");

const TEMPLATE: &str = "pare_template";

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database of one test.
pub(crate) struct Database {
    /// Connections to it.
    pub(crate) pool: Pool,
    /// Its address, for a server of the test's own.
    #[allow(dead_code)] // not every set of tests starts one
    pub(crate) url: String,
}

/// A fresh database with the current schema.
pub(crate) async fn database() -> Database {
    let cluster = CLUSTER.get_or_init(start).await;
    let name = format!("t_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut conn = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    // Nothing here has to survive a crash of the machine.
    for statement in [
        format!("create database {name} template {TEMPLATE}"),
        format!("alter database {name} set synchronous_commit = off"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
    let url = cluster.url(&name);
    let pool = db::connect(&url, 10).await.unwrap();
    Database { pool, url }
}

/// The process's cluster, with a template and without the databases of earlier runs.
async fn start() -> Cluster {
    let cluster = start_free().await;
    let url = cluster.url("postgres");
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let old: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where datname ~ '^t_[0-9]' or datname = $1")
            .bind(TEMPLATE)
            .fetch_all(&mut conn)
            .await
            .unwrap();
    for name in old {
        let drop = format!("drop database {name} with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
    db::admin::create_database(&url, TEMPLATE).await.unwrap();
    let pool = db::connect(&cluster.url(TEMPLATE), 2).await.unwrap();
    db::migrate(&pool).await.unwrap();
    pool.close().await;
    cluster
}

async fn start_free() -> Cluster {
    for number in 0..32 {
        let state_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{number}"));
        match Cluster::start(config(state_dir)).await {
            Ok(cluster) => return cluster,
            Err(Error::Locked { .. }) => {}
            Err(error) => panic!("the tests need a Postgres: {error}"),
        }
    }
    panic!("32 runs of the tests at once are enough");
}

/// A cluster in a folder of the test's own.
pub(crate) fn config(state_dir: PathBuf) -> ClusterConfig {
    ClusterConfig { state_dir, bin_dir: None, helper: PARE.into() }
}
