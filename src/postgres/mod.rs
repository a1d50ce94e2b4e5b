//! The private cluster: finds Postgres, makes a cluster in the state folder, runs it for as long as we run.
//!
//! The server is our direct child, on a Unix socket in a closed folder: no port, no password, nobody else. It ends with
//! us, also when we are killed; what a killed run leaves behind is cleared at the next start.

mod account;
mod binaries;
mod error;
mod exec;
mod folders;
mod init;
mod lock;
mod orphan;
mod server;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

pub use binaries::client_programs;
pub use error::{Error, Result};
pub use exec::exec_server;
pub use lock::StateLock;

use self::server::{Server, Started};
use crate::db::admin;

/// The database that is there from the start.
pub const DATABASE: &str = "pare";

/// A server that recovers after a crash reads its log again first.
const READY: Duration = Duration::from_secs(120);
/// How long a server may take to write everything down.
const CLEAN_END: Duration = Duration::from_secs(30);
/// How long it may take after that without doing so.
const HARD_END: Duration = Duration::from_secs(10);

/// Where the cluster lies and what runs it.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The folder that holds cluster, log and lock; made if it is not there.
    pub state_dir: PathBuf,
    /// The folder of `initdb` and `postgres`; found if not given.
    pub bin_dir: Option<PathBuf>,
    /// The `pare` binary: the server is started through its hidden subcommand `run-postgres`.
    pub helper: PathBuf,
}

/// A running private cluster. Dropping it ends the server without waiting for it.
#[derive(Debug)]
pub struct Cluster {
    server: Arc<Server>,
    ended: watch::Receiver<Option<String>>,
    socket_dir: PathBuf,
}

impl Cluster {
    /// Starts the cluster of a state folder, makes it first where there is none, and sees that the database
    /// [`DATABASE`] is there. A server that ends by itself later is started again.
    ///
    /// # Errors
    ///
    /// Each names what stands in the way and what to do: see [`Error`].
    pub async fn start(config: ClusterConfig) -> Result<Self> {
        let state_dir = config.state_dir.clone();
        let (server, started, ended) = Server::spawn(config)?;
        let gone = || Error::io(state_dir, "supervised")(std::io::ErrorKind::BrokenPipe.into());
        let started = started.await.unwrap_or_else(|_| Err(gone()))?;
        // From here on an early return ends the server.
        let mut cluster = Self { server, ended, socket_dir: started.socket_dir.clone() };
        cluster.wait_until_ready(&started).await?;
        admin::create_database(&cluster.url("postgres"), DATABASE).await?;
        cluster.server.set_ready();
        Ok(cluster)
    }

    async fn wait_until_ready(&mut self, started: &Started) -> Result<()> {
        let url = self.url("postgres");
        let begin = Instant::now();
        let mut pause = Duration::from_millis(20);
        let what = loop {
            let Err(error) = admin::ping(&url).await else { return Ok(()) };
            if begin.elapsed() > READY {
                tracing::debug!(%error, "the private Postgres does not answer");
                break format!("was not ready within {} seconds", READY.as_secs());
            }
            tokio::select! {
                how = self.ended.wait_for(Option::is_some) => {
                    break how.ok().and_then(|how| how.clone()).unwrap_or_else(|| "ended".to_owned());
                }
                () = sleep(pause) => pause = (pause * 2).min(Duration::from_millis(500)),
            }
        };
        let tail = server::tail(&started.log, started.log_start_bytes);
        Err(Error::NotReady { what, log: started.log.clone(), tail })
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        url(&self.socket_dir, database)
    }

    /// The address of a database of the cluster that another process runs on a state folder now; `None` if none does.
    pub fn url_of_running(state_dir: &Path, database: &str) -> Option<String> {
        let socket_dir = orphan::socket_of_running(&state_dir.join("postgres/data"))?;
        Some(url(&socket_dir, database))
    }

    /// Ends the server cleanly and waits for it: whatever is connected is cut off, everything is written down.
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] where it had to be killed.
    pub async fn stop(mut self) -> Result<()> {
        for (signal, limit) in [(Signal::INT, CLEAN_END), (Signal::QUIT, HARD_END), (Signal::KILL, HARD_END)] {
            self.server.stop(signal);
            if timeout(limit, self.ended.wait_for(Option::is_some)).await.is_ok() {
                if self.socket_dir.starts_with("/tmp") {
                    let _ = std::fs::remove_dir(&self.socket_dir);
                }
                return Ok(());
            }
            tracing::warn!(?signal, "the private Postgres has not ended in time");
        }
        Err(Error::NotReady { what: "does not end".to_owned(), log: PathBuf::new(), tail: String::new() })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.stop(Signal::INT);
    }
}

/// Whether a state folder holds a cluster.
pub fn has_cluster(state_dir: &Path) -> bool {
    state_dir.join("postgres/data/PG_VERSION").is_file()
}

fn url(socket_dir: &Path, database: &str) -> String {
    format!("postgres://postgres@localhost/{database}?host={}", encoded(socket_dir))
}

/// A path as a value in an address.
fn encoded(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_anything_in_them_survive_an_address() {
        assert_eq!(encoded(Path::new("/tmp/a b&c=é")), "/tmp/a%20b%26c%3D%C3%A9");
    }
}
