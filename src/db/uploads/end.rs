//! How an upload ends without becoming a file, and how its row goes.

use uuid::Uuid;

use super::{State, lock};
use crate::db::{Pool, Result};
use crate::id::UploadId;

/// Gives an upload up, whatever its state, and lets go of its parts and its blob; doing it twice is fine. False if there
/// is none.
pub async fn cancel(pool: &Pool, tenant: Uuid, id: UploadId) -> Result<bool> {
    let mut tx = pool.begin().await?;
    let Some(upload) = lock(&mut tx, tenant, id).await? else { return Ok(false) };
    if upload.state != State::Cancelled {
        sqlx::query!("update uploads set state = 'cancelled', sha256 = null where id = $1", id.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from upload_parts where upload_id = $1", id.0).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Ends up to `limit` uploads whose time is up; they let go of their parts and blobs. Which those were.
pub async fn expire(pool: &Pool, limit: u32) -> Result<Vec<UploadId>> {
    let mut tx = pool.begin().await?;
    let ids = sqlx::query_scalar!(
        r#"update uploads set state = 'expired', sha256 = null
        where id in (select id from uploads
            where expires_at <= now() and state in ('pending', 'completing', 'completed')
            order by expires_at limit $1 for update skip locked)
        returning id as "id: UploadId""#,
        i64::from(limit),
    )
    .fetch_all(&mut *tx)
    .await?;
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!("delete from upload_parts where upload_id = any($1)", &uuids).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(ids)
}

/// Removes the rows of uploads that were given up and that nobody asked for in a week after their time was up. How many.
pub async fn purge(pool: &Pool) -> Result<u64> {
    let done = sqlx::query!(
        "delete from uploads where state in ('cancelled', 'expired') and expires_at < now() - interval '7 days'"
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Those of `ids` that may still need bytes of their own in the store.
pub async fn live(pool: &Pool, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let query =
        sqlx::query_scalar!("select id from uploads where id = any($1) and state in ('pending', 'completing')", ids);
    Ok(query.fetch_all(pool).await?)
}
