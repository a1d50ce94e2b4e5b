//! What a job's owner does to it.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::change::{end, log_state, reject_upload};
use super::finish::cancelled_validation;
use super::read::find_in;
use super::{Job, JobState};
use crate::db::{Conflict, Pool, Result};
use crate::id::JobId;

/// Cancels a job that is queued, asks one that runs to stop, and leaves one that has ended as it is. The job as it then
/// is; `None` if there is none.
pub async fn cancel(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Option<Job>> {
    let mut tx = pool.begin().await?;
    let state = lock(&mut tx, tenant, id).await?;
    match state {
        Some(JobState::Queued) => {
            if let Some(moved) = end(&mut tx, id, None, JobState::Cancelled, None).await? {
                reject_upload(&mut tx, &moved, &[cancelled_validation()]).await?;
            }
        }
        Some(JobState::Running) => {
            sqlx::query!(
                "update jobs set state = 'cancelling', cancel_requested_at = now(), revision = revision + 1 where id = $1",
                id.0
            )
            .execute(&mut *tx)
            .await?;
            log_state(&mut tx, id, &json!({ "state": JobState::Cancelling })).await?;
        }
        Some(_) => {}
        None => return Ok(None),
    }
    let job = find_in(&mut tx, tenant, id).await?;
    tx.commit().await?;
    Ok(Some(job))
}

/// Deletes a job that has ended, with its log, files and report; its blobs are collected later. False if there is none.
///
/// # Errors
///
/// [`Conflict::JobIsLive`] where it has not ended, [`Conflict::InUse`] while a job that has not ended works on its
/// result.
pub async fn delete(pool: &Pool, tenant: Uuid, id: JobId) -> Result<bool> {
    let mut tx = pool.begin().await?;
    let Some(state) = lock(&mut tx, tenant, id).await? else { return Ok(false) };
    if !state.is_terminal() {
        return Err(Conflict::JobIsLive { state: state.as_str() }.into());
    }
    let user = sqlx::query_scalar!(
        "select id from jobs where source_job_id = $1 and state in ('queued', 'running', 'cancelling') limit 1",
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(job) = user {
        return Err(Conflict::InUse { name: "the job's result", job }.into());
    }
    sqlx::query!("delete from jobs where id = $1", id.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// The job's state, which then stays until the transaction ends.
async fn lock(conn: &mut PgConnection, tenant: Uuid, id: JobId) -> Result<Option<JobState>> {
    let query = sqlx::query_scalar!(
        r#"select state as "state: JobState" from jobs where id = $1 and tenant_id = $2 for update"#,
        id.0,
        tenant,
    );
    Ok(query.fetch_optional(conn).await?)
}
