//! Why a backup could not be made or used.

use std::io;
use std::path::PathBuf;

/// The error of backups. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is where the backup is to go.
    #[error("{} is not empty: a backup goes into a folder of its own", .0.display())]
    OutNotEmpty(PathBuf),
    /// What is to be restored is none, or not all of one.
    #[error("{} holds no finished backup: {why}", folder.display())]
    Unfinished {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        why: String,
    },
    /// It was made by a newer program.
    #[error(
        "the backup was made by pare {version}, and this one is too old to read it: {why}. Use that version, or a newer one"
    )]
    Newer {
        /// Who made it.
        version: String,
        /// What is not known here.
        why: String,
    },
    /// Bytes are not those that they should be.
    #[error("damaged: {}", list(.0))]
    Damaged(Vec<String>),
    /// There is something already where the backup is to be restored.
    #[error("{0} is not empty: restore into a new one, so that nothing is mixed or lost")]
    TargetNotEmpty(String),
    /// A program of Postgres failed.
    #[error("{program} failed ({status}): {said}")]
    Program {
        /// `pg_dump`, `pg_restore`.
        program: &'static str,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// The database's address can't be read.
    #[error("the database's address can't be read: {0}")]
    Address(#[from] url::ParseError),
    /// A file could not be handled.
    #[error("{} could not be {doing}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// `read`, `written`, …
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] crate::db::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The programs of Postgres.
    #[error(transparent)]
    Postgres(#[from] crate::postgres::Error),
}

/// The result of backups.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Named in full; beyond these they are counted.
const NAMED: usize = 20;

impl Error {
    /// For `map_err` on file operations.
    pub(super) fn io(path: impl Into<PathBuf>, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, doing, source }
    }
}

fn list(what: &[String]) -> String {
    let named = what.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match what.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}
