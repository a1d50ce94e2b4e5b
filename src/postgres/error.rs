//! Why the private cluster does not run.

use std::io;
use std::path::PathBuf;

/// The supervisor's error. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server program was found.
    #[error(
        "no PostgreSQL server (14 to 18) was found in {looked}. Install one ({install}), name the folder of its \
         programs, or set DATABASE_URL to use a server that runs already"
    )]
    NotFound {
        /// Where.
        looked: String,
        /// The platform's command.
        install: String,
    },
    /// No program that makes or reads backups was found.
    #[error(
        "no pg_dump and pg_restore of PostgreSQL {server_major} or newer were found{}. Install them ({install}), or name \
         their folder with --postgres-bin", if found.is_empty() { String::new() } else { format!(" (those in {found} are older)") }
    )]
    NoClient {
        /// The server's major version.
        server_major: u32,
        /// What there is.
        found: String,
        /// The platform's command.
        install: String,
    },
    /// The cluster was made by another major version than all that are installed.
    #[error(
        "the cluster in {} was made by PostgreSQL {cluster}, and only {found} is installed. Install PostgreSQL \
         {cluster} beside it, and go on with that; or then move to the newer one: `pare backup` with the old one \
         installed, and `pare restore` into a new state folder with the new one", data_dir.display()
    )]
    OtherMajor {
        /// The cluster.
        data_dir: PathBuf,
        /// Its major version.
        cluster: u32,
        /// What is installed.
        found: String,
    },
    /// Another server uses the state folder.
    #[error(
        "another pare uses the state folder {}: end that one first, or give this one a folder of its own \
         with --state-dir", state_dir.display()
    )]
    Locked {
        /// The folder.
        state_dir: PathBuf,
    },
    /// The unprivileged account can't reach something that it needs.
    #[error(
        "Postgres does not run as root, and the account '{account}' that it runs as can't reach {}: let others pass \
         through its folders (chmod o+x), use another place, or run pare as an unprivileged user", path.display()
    )]
    NotReachable {
        /// What it needs.
        path: PathBuf,
        /// The account.
        account: String,
    },
    /// A folder for the socket is there and is not ours.
    #[error("{} is not a folder that belongs to the account of the cluster: remove it", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// The cluster could not be made.
    #[error("a new cluster could not be made: {output}")]
    Initdb {
        /// What `initdb` said last.
        output: String,
    },
    /// The server ended before it was ready, or was not ready in time.
    #[error("the private Postgres {what}; its log ({}) ends: {tail}", log.display())]
    NotReady {
        /// What happened.
        what: String,
        /// The log.
        log: PathBuf,
        /// Its last lines since the start.
        tail: String,
    },
    /// A server that an earlier run left behind does not end.
    #[error("a Postgres server of an earlier run (process {pid}) does not end: end it by hand")]
    Orphan {
        /// Its process.
        pid: i32,
    },
    /// The process that was to be the parent is gone.
    #[error("the process that asked for Postgres has ended meanwhile")]
    ParentGone,
    /// A file or process could not be handled.
    #[error("{} could not be {doing}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// `read`, `made`, `started`, …
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The server is there, but its first database could not be made.
    #[error(transparent)]
    Database(#[from] crate::db::Error),
}

/// The supervisor's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on file and process operations.
    pub(super) fn io(path: impl Into<PathBuf>, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, doing, source }
    }
}
