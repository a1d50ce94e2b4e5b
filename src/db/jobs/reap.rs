//! What time does to jobs.

use sqlx::PgConnection;
use uuid::Uuid;

use super::JobState;
use super::change::{end, error_of, reject_upload, take_lease};
use super::finish::deadline_exceeded;
use super::giveback::{Why, requeue};
use crate::db::{Pool, Result};
use crate::engine::problem::{Code, Problem};
use crate::id::{DatasetId, JobId, ModelId};

/// Held by whoever reaps. "pare" and a number.
const REAP_LOCK: i64 = 0x7061_7265_0002;

/// Takes back jobs whose lease ran out, ends jobs whose deadline passed, and fails those whose model or dataset turned
/// out invalid. The number of jobs that changed. Any worker may run it at any time; one does at a time.
pub async fn reap(pool: &Pool) -> Result<u64> {
    let mut tx = pool.begin().await?;
    let alone = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "alone!""#, REAP_LOCK)
        .fetch_one(&mut *tx)
        .await?;
    if !alone {
        return Ok(0);
    }
    let changed = take_back_lost(&mut tx).await? + expire(&mut tx).await? + fail_invalid_inputs(&mut tx, None).await?;
    tx.commit().await?;
    Ok(changed)
}

async fn take_back_lost(conn: &mut PgConnection) -> Result<u64> {
    let lost = sqlx::query!(
        r#"select job_id as "id: JobId", token from job_leases where lease_expires_at < now()
        order by job_id limit 1000 for update skip locked"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut count = 0;
    for row in lost {
        if let Some(lease) = take_lease(conn, row.id, row.token).await? {
            requeue(conn, row.id, &lease, Why::Lost).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn expire(conn: &mut PgConnection) -> Result<u64> {
    let late = sqlx::query_scalar!(
        r#"select id as "id: JobId" from jobs where state = 'queued' and deadline_at <= now()
        order by id limit 1000 for no key update skip locked"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let problems = [deadline_exceeded()];
    let error = error_of(&problems);
    let mut count = 0;
    for id in late {
        if let Some(moved) = end(conn, id, None, JobState::Expired, Some(&error)).await? {
            reject_upload(conn, &moved, &problems).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// Fails the queued jobs that name an invalid model or dataset (the given one, or any). The number of them.
pub(in crate::db) async fn fail_invalid_inputs(conn: &mut PgConnection, input: Option<Uuid>) -> Result<u64> {
    let waiting = sqlx::query!(
        r#"select j.id as "id!: JobId", m.id as "model_id: ModelId", null::uuid as "dataset_id: DatasetId"
        from jobs j join models m on m.id in (j.model_id, j.reference_model_id)
        where j.state = 'queued' and j.kind <> 'validate' and m.state = 'invalid' and ($1::uuid is null or m.id = $1)
        union all
        select j.id, null, d.id
        from jobs j join datasets d on d.id in
            (j.calibration_dataset_id, j.training_dataset_id, j.validation_dataset_id, j.evaluation_dataset_id)
        where j.state = 'queued' and j.kind <> 'validate' and d.state = 'invalid' and ($1::uuid is null or d.id = $1)
        order by 1"#,
        input,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut count = 0;
    for row in waiting {
        let problem = match (row.model_id, row.dataset_id) {
            (Some(model), _) => invalid(Code::ModelInvalid, "model", &model.to_string()),
            (None, Some(dataset)) => invalid(Code::DatasetInvalid, "dataset", &dataset.to_string()),
            (None, None) => continue,
        };
        let error = error_of(&[problem]);
        count += u64::from(end(conn, row.id, None, JobState::Failed, Some(&error)).await?.is_some());
    }
    Ok(count)
}

fn invalid(code: Code, what: &str, id: &str) -> Problem {
    Problem::new("", code, format!("the {what} {id} is not valid: its errors say why"))
}
