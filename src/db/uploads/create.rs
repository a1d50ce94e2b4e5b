//! New uploads.

use uuid::Uuid;

use super::{Upload, lock};
use crate::db::{Pool, Result, bigint};
use crate::id::UploadId;

/// An upload that is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// What its owner calls it. A label.
    pub filename: String,
    /// Its length.
    pub size_bytes: u64,
    /// The length of every part but the last.
    pub part_size_bytes: u64,
    /// What it should hash to, 64 hex digits.
    pub expected_sha256: Option<String>,
    /// How long it is kept.
    pub lifetime_seconds: u32,
}

/// Starts an upload; `None` where the tenant has `most_live` of them already. Those who start some at once wait for one
/// another, so that the limit is exact.
pub async fn create(pool: &Pool, tenant: Uuid, new: &NewUpload, most_live: u32) -> Result<Option<Upload>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("select id from tenants where id = $1 for no key update", tenant).fetch_optional(&mut *tx).await?;
    let live = sqlx::query_scalar!(
        r#"select count(*) as "count!" from uploads
        where tenant_id = $1 and state in ('pending', 'completing') and expires_at > now()"#,
        tenant,
    )
    .fetch_one(&mut *tx)
    .await?;
    if live >= i64::from(most_live) {
        return Ok(None);
    }
    let id = UploadId::new();
    sqlx::query!(
        "insert into uploads (id, tenant_id, filename, size_bytes, part_size_bytes, expected_sha256, expires_at)
        values ($1, $2, $3, $4, $5, decode($6, 'hex'), now() + make_interval(secs => $7))",
        id.0,
        tenant,
        new.filename,
        bigint(new.size_bytes),
        bigint(new.part_size_bytes),
        new.expected_sha256,
        f64::from(new.lifetime_seconds),
    )
    .execute(&mut *tx)
    .await?;
    let upload = lock(&mut tx, tenant, id).await?;
    tx.commit().await?;
    Ok(upload)
}

/// Takes back an upload that there was no room for, as if it had never been.
pub async fn withdraw(pool: &Pool, id: UploadId) -> Result<()> {
    sqlx::query!("delete from uploads where id = $1", id.0).execute(pool).await?;
    Ok(())
}
