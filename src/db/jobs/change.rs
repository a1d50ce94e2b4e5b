//! The one way in which a job changes its state: row, lease, log, attempt and hint together.
//!
//! Locks are taken in one order everywhere, the lease before the job, so that no two of these wait for each other.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::checkpoint::forget_checkpoint;
use super::{JobKind, JobState};
use crate::db::{Result, datasets, models};
use crate::engine::problem::Problem;
use crate::id::{DatasetId, JobId, ModelId};
use crate::telemetry::metrics;

/// What a lease leaves behind when it is taken away.
pub(super) struct Lease {
    pub(super) changes: i64,
    pub(super) phase: Option<String>,
}

/// Takes a lease away from whoever holds it by `token`. This is where a late worker is fenced: `None` for it, and
/// nothing that follows may be written.
pub(super) async fn take_lease(conn: &mut PgConnection, id: JobId, token: Uuid) -> Result<Option<Lease>> {
    let query =
        sqlx::query!("delete from job_leases where job_id = $1 and token = $2 returning changes, phase", id.0, token,)
            .map(|row| Lease { changes: row.changes, phase: row.phase });
    let lease = query.fetch_optional(conn).await?;
    if lease.is_none() {
        metrics::write_fenced("end");
    }
    Ok(lease)
}

/// A job that was moved to another state.
pub(super) struct Moved {
    pub(super) kind: JobKind,
    pub(super) attempt: i32,
    pub(super) model_id: Option<ModelId>,
    pub(super) dataset_id: Option<DatasetId>,
}

/// Ends a job whose lease was taken, or one that is still `queued` (`lease` is `None`), and forgets its checkpoint. `None`
/// if it is in neither place any more.
pub(super) async fn end(
    conn: &mut PgConnection,
    id: JobId,
    lease: Option<&Lease>,
    to: JobState,
    error: Option<&Value>,
) -> Result<Option<Moved>> {
    let moved = sqlx::query!(
        r#"update jobs set state = $2, error = $3, finished_at = now(), lease_token = null, worker_id = null,
            phase = case when $2 <> 'succeeded' then $4 end, revision = revision + 1 + $5,
            cancel_requested_at = case when $2 = 'cancelled' then coalesce(cancel_requested_at, now())
                else cancel_requested_at end
        where id = $1 and (state in ('running', 'cancelling') and $6 or state = 'queued' and not $6)
        returning kind as "kind: JobKind", attempt, model_id as "model_id: ModelId",
            dataset_id as "dataset_id: DatasetId""#,
        id.0,
        to.as_str(),
        error,
        lease.and_then(|lease| lease.phase.clone()),
        lease.map_or(0, |lease| lease.changes),
        lease.is_some(),
    )
    .map(|row| Moved { kind: row.kind, attempt: row.attempt, model_id: row.model_id, dataset_id: row.dataset_id })
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(moved) = &moved {
        if lease.is_some() {
            close_attempt(conn, id, moved.attempt, to.as_str()).await?;
        }
        forget_checkpoint(conn, id).await?;
        log_state(conn, id, &json!({ "state": to, "error": error })).await?;
    }
    Ok(moved)
}

/// Notes how an attempt ended.
pub(super) async fn close_attempt(conn: &mut PgConnection, id: JobId, attempt: i32, outcome: &str) -> Result<()> {
    sqlx::query!(
        "update job_attempts set ended_at = now(), outcome = $3 where job_id = $1 and number = $2 and ended_at is null",
        id.0,
        attempt,
        outcome,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes a change of state to the job's log, and hints at it when the transaction commits.
pub(super) async fn log_state(conn: &mut PgConnection, id: JobId, body: &Value) -> Result<()> {
    sqlx::query!(
        "with next as (update jobs set last_event_seq = last_event_seq + 1 where id = $1 returning id, last_event_seq),
        logged as (insert into job_events (job_id, seq, kind, body) select id, last_event_seq, 'state', $2 from next)
        select pg_notify('pare_jobs', id::text) from next",
        id.0,
        body,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// A model or dataset whose validation ended without an answer is invalid: nothing else would ever decide it.
pub(super) async fn reject_upload(conn: &mut PgConnection, moved: &Moved, problems: &[Problem]) -> Result<()> {
    if moved.kind == JobKind::Validate {
        if let Some(model) = moved.model_id {
            models::reject(&mut *conn, model, problems).await?;
        }
        if let Some(dataset) = moved.dataset_id {
            datasets::reject(conn, dataset, problems).await?;
        }
    }
    Ok(())
}

/// A job's `error`: the first problem on top, all of them below.
pub(super) fn error_of(problems: &[Problem]) -> Value {
    let first = problems.first();
    json!({
        "code": first.map_or("internal_error", |problem| problem.code.as_str()),
        "detail": first.map_or("no reason was given", |problem| problem.detail.as_str()),
        "errors": problems,
    })
}
