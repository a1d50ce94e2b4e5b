//! What jobs have summed up of their models, so that later ones need not.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Pool, Result, blobs};
use crate::id::JobId;

/// Statistics whose file is in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStatistics {
    /// What they depend on, 64 hex digits.
    pub key: String,
    /// The file's hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

/// The hash of the file that a tenant's jobs may use under a key; `None` where there is none. Takes note of the use.
pub async fn find(pool: &Pool, tenant: Uuid, key: &str) -> Result<Option<String>> {
    let query = sqlx::query_scalar!(
        r#"update statistics set used_at = now() where tenant_id = $1 and key_sha256 = decode($2, 'hex')
        returning encode(sha256, 'hex') as "sha256!""#,
        tenant,
        key,
    );
    Ok(query.fetch_optional(pool).await?)
}

/// Keeps what a job left, when the caller's transaction commits; what is there under the key stays. The caller holds the
/// job, so that neither its model nor its data can be deleted meanwhile.
///
/// # Errors
///
/// [`crate::db::Error::Removing`] while the same bytes are being deleted.
pub async fn keep(conn: &mut PgConnection, job: JobId, new: &NewStatistics) -> Result<()> {
    blobs::insert(conn, &new.sha256, new.size_bytes).await?;
    sqlx::query!(
        "insert into statistics (tenant_id, key_sha256, sha256, model_id, dataset_id)
        select tenant_id, decode($2, 'hex'), decode($3, 'hex'), model_id,
            coalesce(calibration_dataset_id, training_dataset_id) from jobs where id = $1
        on conflict (tenant_id, key_sha256) do nothing",
        job.0,
        new.key,
        new.sha256,
    )
    .execute(conn)
    .await?;
    Ok(())
}
