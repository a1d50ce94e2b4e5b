//! What a worker writes while it holds a job.

use serde_json::Value;
use uuid::Uuid;

use crate::db::{Pool, Result};
use crate::id::JobId;

/// What a heartbeat finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease is good for another minute.
    Held {
        /// Someone asked the job to stop.
        cancel_requested: bool,
        /// The job's time is up.
        deadline_passed: bool,
    },
    /// The job was taken away: end the process, discard its scratch, write nothing.
    Lost,
}

/// Renews a lease for 60 s and notes progress; `None` leaves what is there.
///
/// A lease that ran out but that nobody has taken yet is renewed too: the token decides, the time only says from when
/// on others may take the job.
pub async fn heartbeat(
    pool: &Pool,
    id: JobId,
    token: Uuid,
    phase: Option<&str>,
    progress: Option<&Value>,
) -> Result<Heartbeat> {
    todo!("{pool:?} {id:?} {token} {phase:?} {progress:?}")
}

/// Adds a line to the job's log; false if the job was taken away. `kind` must not be `state`, which the queue writes.
pub async fn append_event(pool: &Pool, id: JobId, token: Uuid, kind: &str, body: &Value) -> Result<bool> {
    todo!("{pool:?} {id:?} {token} {kind:?} {body:?}")
}
