//! Jobs whose retention ended.

use sqlx::PgConnection;

use crate::db::{Pool, Result};
use crate::id::JobId;

/// Deletes up to `limit` jobs that ended more than `days` ago, whosever they are, with their logs, files and reports;
/// their blobs are collected later. Says how many.
///
/// What was made of a job's result stays: a model has files of its own, and only its owner deletes it. Spared is a job
/// whose result one that has not ended works on; its turn comes when that has ended.
pub async fn delete_ended(pool: &Pool, days: u32, limit: u32) -> Result<u64> {
    let mut tx = pool.begin().await?;
    let ids = lock_ended(&mut tx, days, limit).await?;
    // A statement of its own: it sees jobs that were queued on a result before its row was locked.
    let done = sqlx::query!(
        "delete from jobs j where j.id = any($1) and not exists (select from jobs o
            where o.source_job_id = j.id and o.state in ('queued', 'running', 'cancelling'))",
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}

/// Locks the jobs that ended first. Those that someone else holds are passed over.
async fn lock_ended(conn: &mut PgConnection, days: u32, limit: u32) -> Result<Vec<JobId>> {
    let query = sqlx::query_scalar!(
        r#"select id as "id: JobId" from jobs j
        where j.finished_at < now() - make_interval(secs => $1) and not exists (select from jobs o
            where o.source_job_id = j.id and o.state in ('queued', 'running', 'cancelling'))
        order by j.finished_at limit $2 for update skip locked"#,
        f64::from(days) * 24.0 * 3600.0,
        i64::from(limit),
    );
    Ok(query.fetch_all(conn).await?)
}
