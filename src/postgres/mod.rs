//! The private cluster: finds Postgres, makes a cluster in the state folder, runs it for as long as we run.

use std::path::PathBuf;

/// Where the cluster lies and what runs it.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The folder that holds cluster, socket and lock; made if it is not there.
    pub state_dir: PathBuf,
    /// The folder of `initdb` and `postgres`; found if not given.
    pub bin_dir: Option<PathBuf>,
    /// The `pare` binary: the server is started through its hidden subcommand `run-postgres`.
    pub helper: PathBuf,
}

/// A running private cluster.
#[derive(Debug)]
pub struct Cluster {
    socket_dir: PathBuf,
}

/// Why the private cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing yet.
    #[error("not built yet")]
    NotBuilt,
}

impl Cluster {
    /// Starts the cluster of a state folder, and makes it first where there is none.
    pub async fn start(config: ClusterConfig) -> Result<Self, Error> {
        let _ = config;
        Err(Error::NotBuilt)
    }

    /// The address of one of its databases. `pare` is there from the start.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.socket_dir.display())
    }

    /// Ends the server cleanly and waits for it.
    pub async fn stop(self) -> Result<(), Error> {
        Ok(())
    }
}

/// What `pare run-postgres --parent PID -- /path/postgres ARGS…` does: asks the kernel to interrupt this process when its parent dies,
/// then becomes Postgres. Returns only where that fails.
pub fn exec_server(parent_pid: i32, argv: &[std::ffi::OsString]) -> Error {
    let _ = (parent_pid, argv);
    Error::NotBuilt
}
