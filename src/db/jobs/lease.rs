//! What a worker writes while it holds a job.

use serde_json::Value;
use uuid::Uuid;

use crate::db::{Pool, Result};
use crate::id::JobId;
use crate::telemetry::metrics;

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
    let held = sqlx::query!(
        r#"update job_leases l set lease_expires_at = now() + interval '60 seconds',
            phase = coalesce($3, l.phase),
            progress = case when $4::jsonb is not null then $4 when $3 <> l.phase then null else l.progress end,
            changes = l.changes + case when $3 is not null and $3 is distinct from l.phase
                or $4::jsonb is not null and $4 is distinct from l.progress then 1 else 0 end
        from jobs j where l.job_id = $1 and l.token = $2 and j.id = l.job_id
        returning j.cancel_requested_at is not null as "cancel_requested!", j.deadline_at <= now() as "deadline_passed!""#,
        id.0,
        token,
        phase,
        progress,
    )
    .fetch_optional(pool)
    .await?;
    if held.is_none() {
        metrics::write_fenced("heartbeat");
    }
    Ok(held.map_or(Heartbeat::Lost, |row| Heartbeat::Held {
        cancel_requested: row.cancel_requested,
        deadline_passed: row.deadline_passed,
    }))
}

/// Adds a line to the job's log; false if the job was taken away. `kind` must not be `state`, which the queue writes.
pub async fn append_event(pool: &Pool, id: JobId, token: Uuid, kind: &str, body: &Value) -> Result<bool> {
    // The number comes from the locked row, so that two writers get two numbers and none is left out.
    let done = sqlx::query!(
        "with next as (
            update jobs set last_event_seq = last_event_seq + 1 where id = $1 and lease_token = $2
            returning id, last_event_seq)
        insert into job_events (job_id, seq, kind, body) select id, last_event_seq, $3, $4 from next",
        id.0,
        token,
        kind,
        body,
    )
    .execute(pool)
    .await?;
    if done.rows_affected() == 0 {
        metrics::write_fenced("event");
    }
    Ok(done.rows_affected() == 1)
}
