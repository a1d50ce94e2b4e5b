//! Which job a worker gets next.

use uuid::Uuid;

use super::Job;
use super::read::find_any_in;
use crate::db::{Pool, Result, bigint};
use crate::id::JobId;

/// Held by whoever claims, for one statement. "pare" and a number.
const CLAIM_LOCK: i64 = 0x7061_7265_0001;

/// A worker that asks for a job, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// This process's worker; new with every start.
    pub id: Uuid,
    /// The state folder that it runs from; stays. See [`super::release_all_of`].
    pub host_id: Uuid,
    /// What one job may use.
    pub memory_bytes: u64,
    /// Free scratch space. With none, not even a job that needs none is given out.
    pub disk_bytes: u64,
    /// `cpu`, `cuda`, …
    pub devices: Vec<String>,
}

/// A job that is now a worker's, for as long as it renews the lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The job, already `running`.
    pub job: Job,
    /// What every later write must name.
    pub token: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// `$before`, then `pick`: the id of the next job for a worker with `$1` memory, `$2` disk and `$3` devices, then
/// `$after`. The head of each tenant's queue comes from an index, so the cost grows with tenants and not with jobs.
macro_rules! pick_query {
    ($after:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            "with run as (
                select tenant_id, count(*) as n from jobs where state in ('running', 'cancelling') group by tenant_id),
            pick as (
                select head.id from tenants t left join run on run.tenant_id = t.id
                cross join lateral (
                    select q.id, q.priority, q.run_after from jobs q
                    where q.tenant_id = t.id and q.state = 'queued' and q.run_after <= now() and q.deadline_at > now()
                        and q.memory_bytes <= $1 and greatest(q.disk_bytes, 1) <= $2 and q.device = any($3)
                        and (q.kind = 'validate' or not exists (
                            select from models m
                            where m.id in (q.model_id, q.reference_model_id) and m.state <> 'ready'
                            union all select from datasets d
                            where d.id in (q.calibration_dataset_id, q.training_dataset_id, q.validation_dataset_id,
                                q.evaluation_dataset_id) and d.state <> 'ready'))
                    order by q.priority, q.run_after, q.id limit 1) head
                where coalesce(run.n, 0) < t.max_running
                order by head.priority, coalesce(run.n, 0), head.run_after, head.id limit 1)
            " + $after
            $(, $arg)*
        )
    };
}

/// Takes the next job that this worker can run, if there is one.
///
/// The order is priority, then the tenant with fewest running jobs, then age. One claim happens at a time, so that a
/// tenant's limit holds exactly; a worker that finds nothing never waits for another. A job whose models and datasets
/// are not all ready is passed over, except by `validate`.
///
/// A claim does not wait for the disk, or claims could come no faster than one after the other reaches it. One that a
/// crash of the database takes back leaves the job queued, and its token fits nowhere: the worker's next heartbeat
/// finds it lost, and every later write is on the disk only after the claim is.
pub async fn claim(pool: &Pool, worker: &Worker) -> Result<Option<Claimed>> {
    let (memory_bytes, disk_bytes) = (bigint(worker.memory_bytes), bigint(worker.disk_bytes));
    let idle = pick_query!("select id from pick", memory_bytes, disk_bytes, &worker.devices)
        .fetch_optional(pool)
        .await?
        .is_none();
    if idle {
        return Ok(None);
    }
    let mut tx = pool.begin().await?;
    // A statement of its own, so that the next one sees what was committed while this one waited.
    sqlx::query!("select pg_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true)", CLAIM_LOCK)
        .fetch_one(&mut *tx)
        .await?;
    let taken = pick_query!(
        r#", taken as (
            update jobs j set state = 'running', attempt = attempt + 1, lease_token = gen_random_uuid(), worker_id = $4,
                started_at = coalesce(started_at, now()), revision = revision + 1, last_event_seq = last_event_seq + 1
            from pick where j.id = pick.id and j.state = 'queued'
            returning j.id, j.attempt, j.lease_token, j.last_event_seq),
        leased as (
            insert into job_leases (job_id, token, worker_id, host_id, lease_expires_at)
            select id, lease_token, $4, $5, now() + interval '60 seconds' from taken),
        begun as (insert into job_attempts (job_id, number, worker_id) select id, attempt, $4 from taken),
        logged as (
            insert into job_events (job_id, seq, kind, body)
            select id, last_event_seq, 'state', json_build_object('state', 'running', 'attempt', attempt) from taken)
        select id as "id: JobId", attempt, lease_token as "token!", pg_notify('pare_jobs', id::text) from taken"#,
        memory_bytes,
        disk_bytes,
        &worker.devices,
        worker.id,
        worker.host_id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(taken) = taken else { return Ok(None) };
    let job = find_any_in(&mut tx, taken.id).await?;
    tx.commit().await?;
    Ok(Some(Claimed { job, token: taken.token, attempt: taken.attempt.unsigned_abs() }))
}
