//! How a job comes back to the queue without being done.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::JobState;
use super::change::{Lease, close_attempt, end, error_of, log_state, reject_upload, take_lease};
use super::finish::{cancelled_validation, deadline_exceeded};
use crate::db::{Pool, Result};
use crate::engine::problem::{Code, Problem};
use crate::id::JobId;

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

/// So many crashes fail a job.
const MAX_CRASHES: i32 = 2;

/// Notes that a job's process died under a living worker: back to the queue, or failed as `worker_crashed` the second
/// time.
pub async fn crashed(pool: &Pool, id: JobId, token: Uuid) -> Result<Crash> {
    let mut tx = pool.begin().await?;
    let Some(lease) = take_lease(&mut tx, id, token).await? else { return Ok(Crash::Lost) };
    let row = sqlx::query!("update jobs set crashes = crashes + 1 where id = $1 returning crashes", id.0)
        .fetch_one(&mut *tx)
        .await?;
    let crash = if row.crashes >= MAX_CRASHES {
        let problems = [Problem::new(
            "",
            Code::WorkerCrashed,
            format!("the job's process died {} times: the worker's log says how", row.crashes),
        )];
        let error = error_of(&problems);
        if let Some(moved) = end(&mut tx, id, Some(&lease), JobState::Failed, Some(&error)).await? {
            reject_upload(&mut tx, &moved, &problems).await?;
        }
        Crash::Failed
    } else {
        match requeue(&mut tx, id, &lease, Why::Crashed).await? {
            JobState::Cancelled => Crash::Cancelled,
            _ => Crash::Requeued,
        }
    };
    tx.commit().await?;
    Ok(crash)
}

/// Gives a job and its attempt back, as a worker does that is told to end. False if it was taken away.
pub async fn release(pool: &Pool, id: JobId, token: Uuid) -> Result<bool> {
    let mut tx = pool.begin().await?;
    let Some(lease) = take_lease(&mut tx, id, token).await? else { return Ok(false) };
    requeue(&mut tx, id, &lease, Why::Released).await?;
    tx.commit().await?;
    Ok(true)
}

/// Takes back, at once, every job that workers of a host held: a server calls it when it starts again on the same
/// state folder, whose lock says that none of them lives. The number of jobs.
pub async fn release_all_of(pool: &Pool, host_id: Uuid) -> Result<u64> {
    let mut tx = pool.begin().await?;
    let held = sqlx::query!(
        r#"select job_id as "id: JobId", token from job_leases where host_id = $1 order by job_id for update"#,
        host_id
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut count = 0;
    for row in held {
        if let Some(lease) = take_lease(&mut tx, row.id, row.token).await? {
            requeue(&mut tx, row.id, &lease, Why::Restarted).await?;
            count += 1;
        }
    }
    tx.commit().await?;
    Ok(count)
}

/// Why a job comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its process died under a living worker.
    Crashed,
    /// Its worker was told to end.
    Released,
    /// Its worker's host started again.
    Restarted,
    /// Its worker went silent: only then does the next try wait, longer each time.
    Lost,
}

impl Why {
    /// For the log.
    const fn reason(self) -> &'static str {
        match self {
            Self::Crashed => "worker_crashed",
            Self::Released => "released",
            Self::Restarted => "restarted",
            Self::Lost => "lease_lost",
        }
    }

    /// For the attempt; one that was given back leaves none.
    const fn outcome(self) -> Option<&'static str> {
        match self {
            Self::Crashed => Some("crashed"),
            Self::Released => None,
            Self::Restarted | Self::Lost => Some("lost"),
        }
    }
}

/// Puts a job whose lease was taken back into the queue; or ends it, if it was asked to stop or has no time left.
/// The state that it is in then.
pub(super) async fn requeue(conn: &mut PgConnection, id: JobId, lease: &Lease, why: Why) -> Result<JobState> {
    let ended = sqlx::query!(
        r#"select cancel_requested_at is not null as "cancelled!", deadline_at <= now() as "expired!" from jobs
        where id = $1 for no key update"#,
        id.0
    )
    .fetch_one(&mut *conn)
    .await?;
    if ended.cancelled || ended.expired {
        return finish_instead(conn, id, lease, ended.cancelled).await;
    }
    let row = sqlx::query!(
        "update jobs set state = 'queued', lease_token = null, worker_id = null, revision = revision + 1 + $2,
            run_after = now() + case when $3
                then make_interval(secs => least(300, power(2, least(lost_leases, 20)))) else interval '0' end,
            lost_leases = lost_leases + case when $3 then 1 else 0 end,
            attempt = attempt - case when $4 then 1 else 0 end
        where id = $1 returning attempt",
        id.0,
        lease.changes,
        why == Why::Lost,
        why.outcome().is_none(),
    )
    .fetch_one(&mut *conn)
    .await?;
    match why.outcome() {
        Some(outcome) => close_attempt(conn, id, row.attempt, outcome).await?,
        None => forget_attempt(conn, id, row.attempt).await?,
    }
    log_state(conn, id, &json!({ "state": JobState::Queued, "reason": why.reason() })).await?;
    Ok(JobState::Queued)
}

async fn finish_instead(conn: &mut PgConnection, id: JobId, lease: &Lease, cancelled: bool) -> Result<JobState> {
    let (state, problem) = if cancelled {
        (JobState::Cancelled, cancelled_validation())
    } else {
        (JobState::Expired, deadline_exceeded())
    };
    let problems = [problem];
    let error = (!cancelled).then(|| error_of(&problems));
    if let Some(moved) = end(conn, id, Some(lease), state, error.as_ref()).await? {
        reject_upload(conn, &moved, &problems).await?;
    }
    Ok(state)
}

/// An attempt that was given back was none: its number is used again.
async fn forget_attempt(conn: &mut PgConnection, id: JobId, attempts_left: i32) -> Result<()> {
    sqlx::query!("delete from job_attempts where job_id = $1 and number > $2", id.0, attempts_left)
        .execute(conn)
        .await?;
    Ok(())
}
