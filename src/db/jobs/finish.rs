//! How an attempt ends.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{Pool, Result};
use crate::engine::problem::Problem;
use crate::id::JobId;

/// A file that a job leaves; its blob is in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJobFile {
    /// `artifact`, `report`, `checkpoint`, `statistics`.
    pub role: String,
    /// Its path in the artifact.
    pub path: String,
    /// `safetensors`, `json`, …
    pub format: String,
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
    /// Runtimes that load it.
    pub loaders: Vec<String>,
}

/// What became of a job whose process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It will be tried once more.
    Requeued,
    /// It was the second time.
    Failed,
    /// It had been asked to stop.
    Cancelled,
    /// It had been taken away already.
    Lost,
}

/// Makes files, report and `succeeded` visible together, when the caller's transaction commits. False if the job was
/// taken away: roll back.
pub async fn finish_succeeded(
    conn: &mut PgConnection,
    id: JobId,
    token: Uuid,
    files: &[NewJobFile],
    report: Option<&Value>,
) -> Result<bool> {
    todo!("{conn:?} {id:?} {token} {files:?} {report:?}")
}

/// Fails a job: another try would not help. A failed `validate` makes its model or dataset invalid. False if the job
/// was taken away.
pub async fn finish_failed(conn: &mut PgConnection, id: JobId, token: Uuid, problems: &[Problem]) -> Result<bool> {
    todo!("{conn:?} {id:?} {token} {problems:?}")
}

/// Ends a job that was asked to stop; false if it was taken away or nobody asked.
pub async fn finish_cancelled(conn: &mut PgConnection, id: JobId, token: Uuid) -> Result<bool> {
    todo!("{conn:?} {id:?} {token}")
}

/// Ends a job whose deadline passed; false if it was taken away or there is time left.
pub async fn finish_expired(conn: &mut PgConnection, id: JobId, token: Uuid) -> Result<bool> {
    todo!("{conn:?} {id:?} {token}")
}

/// Notes that a job's process died under a living worker: back to the queue, or failed as `worker_crashed` the second
/// time.
pub async fn crashed(pool: &Pool, id: JobId, token: Uuid) -> Result<Crash> {
    todo!("{pool:?} {id:?} {token}")
}

/// Gives a job and its attempt back, as a worker does that is told to end. False if it was taken away.
pub async fn release(pool: &Pool, id: JobId, token: Uuid) -> Result<bool> {
    todo!("{pool:?} {id:?} {token}")
}

/// Takes back, at once, every job that workers of a host held: a server calls it when it starts again on the same
/// state folder, whose lock says that none of them lives. The number of jobs.
pub async fn release_all_of(pool: &Pool, host_id: Uuid) -> Result<u64> {
    todo!("{pool:?} {host_id:?}")
}
