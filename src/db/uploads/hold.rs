//! What models and datasets are made of: uploads that are completed, and what jobs left.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{State, Upload};
use crate::db::jobs::JobState;
use crate::db::{NewFile, Pool, Result, unsigned};
use crate::id::{JobId, UploadId};

/// Those of `ids` that are there.
pub async fn find_all(pool: &Pool, tenant: Uuid, ids: &[UploadId]) -> Result<Vec<Upload>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    Ok(upload_query!("where tenant_id = $1 and id = any($2)", tenant, &ids).fetch_all(pool).await?)
}

/// Keeps completed uploads, and so their blobs, until the caller's transaction ends. False if one of them is not
/// completed any more.
pub async fn hold(conn: &mut PgConnection, tenant: Uuid, ids: &[UploadId]) -> Result<bool> {
    let mut ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let held = sqlx::query_scalar!(
        "select id from uploads where tenant_id = $1 and id = any($2) and state = 'completed' and expires_at > now()
        order by id for share",
        tenant,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(held.len() == ids.len())
}

/// What a job has to make a model of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifacts {
    /// There is no such job.
    NoJob,
    /// It did not succeed, or not yet.
    Not(JobState),
    /// The artifact's files, by path.
    Files(Vec<NewFile>),
}

/// Keeps a job, and so its artifact's files, until the caller's transaction ends.
pub async fn hold_artifacts(conn: &mut PgConnection, tenant: Uuid, id: JobId) -> Result<Artifacts> {
    let state = sqlx::query_scalar!(
        r#"select state as "state: JobState" from jobs where id = $1 and tenant_id = $2 for key share"#,
        id.0,
        tenant
    )
    .fetch_optional(&mut *conn)
    .await?;
    match state {
        None => return Ok(Artifacts::NoJob),
        Some(JobState::Succeeded) => {}
        Some(state) => return Ok(Artifacts::Not(state)),
    }
    let query = sqlx::query!(
        r#"select path, encode(sha256, 'hex') as "sha256!", size_bytes from job_files
        where job_id = $1 and role = 'artifact' order by path"#,
        id.0
    )
    .map(|row| NewFile { path: row.path, sha256: row.sha256, size_bytes: unsigned(row.size_bytes) });
    Ok(Artifacts::Files(query.fetch_all(conn).await?))
}
