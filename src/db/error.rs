//! What can go wrong with the database, sorted by what the caller can do about it.

use crate::telemetry::metrics;

/// The database layer's error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database can't be reached or is going away: the same call may work in a moment.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The same bytes are being deleted from the store: they may be stored again in a moment.
    #[error("the same bytes are being removed just now")]
    Removing,
    /// What was asked for contradicts what is there.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The schema is not one that this program can work with.
    #[error("{0}")]
    Schema(String),
    /// A statement failed, and trying again would not help.
    #[error("a database statement failed")]
    Query(#[source] sqlx::Error),
}

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A model or dataset can't be deleted while a job needs it.
    #[error("{name} is in use by job_{job}: wait until that has ended, or cancel it")]
    InUse {
        /// What was to be deleted: `the model`, `the dataset`.
        name: &'static str,
        /// One of the jobs.
        job: uuid::Uuid,
    },
    /// A job can't be deleted before it has ended.
    #[error("the job is {state}: cancel it first")]
    JobIsLive {
        /// Its state.
        state: &'static str,
    },
    /// A row names another that is not there.
    #[error("{column} names something that does not exist")]
    Missing {
        /// The constraint's column, or the constraint where that is not known.
        column: String,
    },
    /// Two rows with one name.
    #[error("there is already one of that name ({constraint})")]
    Exists {
        /// The constraint.
        constraint: String,
    },
    /// A value that a check constraint refuses, or text that Postgres can't hold (a NUL character).
    #[error("a value is not allowed: {rule}")]
    Refused {
        /// The constraint's name, or the database's message.
        rule: String,
    },
}

/// The database layer's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &source else {
            return if is_connection(&source) { Self::unavailable(source) } else { Self::Query(source) };
        };
        let constraint = || database.constraint().unwrap_or("unnamed").to_owned();
        match database.code().as_deref() {
            Some("23503") => Conflict::Missing { column: referring_column(database.constraint()) }.into(),
            Some("23505") => Conflict::Exists { constraint: constraint() }.into(),
            Some("23514") => Conflict::Refused { rule: constraint() }.into(),
            Some("22021" | "22P05") => Conflict::Refused { rule: database.message().to_owned() }.into(),
            Some(code) if is_transient(code) => Self::unavailable(source),
            _ => Self::Query(source),
        }
    }
}

impl Error {
    fn unavailable(source: sqlx::Error) -> Self {
        let is_pool = matches!(source, sqlx::Error::PoolTimedOut);
        metrics::database_unavailable(if is_pool { "no_connection" } else { "unreachable" });
        Self::Unavailable(source)
    }

    /// True where the same call may work in a moment.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Removing)
    }
}

fn is_connection(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

/// SQLSTATEs that pass: connection trouble (08), shutting down or starting up (57P), no resources (53), standby (25006),
/// serialization failure and deadlock (40), lock timeout (55P03), statement timeout (57014).
fn is_transient(code: &str) -> bool {
    ["08", "57P", "53", "40"].iter().any(|class| code.starts_with(class)) || matches!(code, "25006" | "55P03" | "57014")
}

/// `jobs_model_fkey` → `model`: the constraints are named `<table>_<column>_fkey`.
fn referring_column(constraint: Option<&str>) -> String {
    let name = constraint.unwrap_or("a column");
    let name = name.strip_suffix("_fkey").unwrap_or(name);
    name.split_once('_').map_or(name, |(_, column)| column).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_sorted_by_what_can_be_done() {
        assert!(Error::from(sqlx::Error::PoolTimedOut).is_unavailable());
        assert!(!Error::from(sqlx::Error::RowNotFound).is_unavailable());
        assert!(["57P01", "57P03", "53300", "08006", "40001"].into_iter().all(is_transient));
        assert!(!is_transient("42P01"));
        assert_eq!(referring_column(Some("jobs_calibration_dataset_fkey")), "calibration_dataset");
    }
}
