//! The parts of an upload, and how they become one.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{PartRange, State, Upload, lock};
use crate::db::{Pool, Result, bigint, unsigned};
use crate::id::UploadId;

/// An acknowledged part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRow {
    /// The blob that holds it, 64 hex digits; `None` where the upload's own file does.
    pub sha256: Option<String>,
}

/// What came of noting a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It is acknowledged.
    Acknowledged,
    /// Somebody else's bytes were acknowledged meanwhile, and they are other ones.
    Differs,
    /// The upload takes no parts any more.
    Closed,
}

/// A part that was acknowledged.
pub async fn find_part(pool: &Pool, id: UploadId, number: u32) -> Result<Option<PartRow>> {
    let query = sqlx::query_as!(
        PartRow,
        "select encode(sha256, 'hex') as sha256 from upload_parts where upload_id = $1 and number = $2",
        id.0,
        i64::from(number) as i32,
    );
    Ok(query.fetch_optional(pool).await?)
}

/// Acknowledges a part, when the caller's transaction commits. Its bytes are durable; the blob that holds them, if one
/// does, has its row.
pub async fn note_part(
    conn: &mut PgConnection,
    id: UploadId,
    number: u32,
    size_bytes: u64,
    sha256: Option<&str>,
) -> Result<Noted> {
    let number = i64::from(number) as i32;
    let done = sqlx::query!(
        "insert into upload_parts (upload_id, number, size_bytes, sha256)
        select id, $2, $3, decode($4, 'hex') from uploads
        where id = $1 and state = 'pending' and expires_at > now() for share
        on conflict (upload_id, number) do nothing",
        id.0,
        number,
        bigint(size_bytes),
        sha256,
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(Noted::Acknowledged);
    }
    let there = sqlx::query_scalar!(
        r#"select sha256 is not distinct from decode($3, 'hex') as "same!" from upload_parts
        where upload_id = $1 and number = $2"#,
        id.0,
        number,
        sha256,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match there {
        Some(true) => Noted::Acknowledged,
        Some(false) => Noted::Differs,
        None => Noted::Closed,
    })
}

/// The parts that were acknowledged, and their bytes.
pub async fn received(pool: &Pool, id: UploadId) -> Result<(Vec<PartRange>, u64)> {
    let mut conn = pool.acquire().await?;
    received_in(&mut conn, id).await
}

async fn received_in(conn: &mut PgConnection, id: UploadId) -> Result<(Vec<PartRange>, u64)> {
    let rows = sqlx::query!(
        r#"select min(number) as "first!", max(number) as "last!", sum(size_bytes)::bigint as "size_bytes!"
        from (select number, size_bytes, number - row_number() over (order by number) as run
            from upload_parts where upload_id = $1) p
        group by run order by 1"#,
        id.0,
    )
    .fetch_all(conn)
    .await?;
    let ranges = rows.iter().map(|row| PartRange { first: row.first.unsigned_abs(), last: row.last.unsigned_abs() });
    let bytes = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(unsigned(row.size_bytes)));
    Ok((ranges.collect(), bytes))
}

/// What became of the wish to complete an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completing {
    /// All parts are there: their blobs in order, `None` for those that the upload's own file holds.
    Ready(Upload, Vec<Option<String>>),
    /// Only these are.
    Missing(Upload, Vec<PartRange>),
    /// It is completed already, or was given up.
    Ended(Upload),
}

/// Closes an upload all of whose parts are there, so that they can be put together. It is kept for another day at least.
/// `None` if there is no such upload. Can be repeated.
pub async fn start_completing(pool: &Pool, tenant: Uuid, id: UploadId) -> Result<Option<Completing>> {
    let mut tx = pool.begin().await?;
    let Some(mut upload) = lock(&mut tx, tenant, id).await? else { return Ok(None) };
    if !matches!(upload.state, State::Pending | State::Completing) {
        return Ok(Some(Completing::Ended(upload)));
    }
    let parts = sqlx::query_scalar!(
        "select encode(sha256, 'hex') from upload_parts where upload_id = $1 order by number",
        id.0
    )
    .fetch_all(&mut *tx)
    .await?;
    if parts.len() != upload.part_count() as usize {
        let (ranges, _) = received_in(&mut tx, id).await?;
        return Ok(Some(Completing::Missing(upload, ranges)));
    }
    sqlx::query!(
        "update uploads set state = 'completing', expires_at = greatest(expires_at, now() + interval '1 day')
        where id = $1",
        id.0
    )
    .execute(&mut *tx)
    .await?;
    upload.state = State::Completing;
    tx.commit().await?;
    Ok(Some(Completing::Ready(upload, parts)))
}

/// Opens an upload again that is not what it should be: its owner may say so otherwise, or give it up.
pub async fn reopen(pool: &Pool, id: UploadId) -> Result<()> {
    sqlx::query!("update uploads set state = 'pending' where id = $1 and state = 'completing'", id.0)
        .execute(pool)
        .await?;
    Ok(())
}

/// Names the blob that an upload became, when the caller's transaction commits; false if it was given up meanwhile. The
/// blob has its row.
pub async fn complete(conn: &mut PgConnection, id: UploadId, sha256: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update uploads set state = 'completed', sha256 = decode($2, 'hex'),
            expires_at = greatest(expires_at, now() + interval '1 day')
        where id = $1 and state in ('pending', 'completing')",
        id.0,
        sha256,
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 {
        sqlx::query!("delete from upload_parts where upload_id = $1", id.0).execute(conn).await?;
    }
    Ok(done.rows_affected() == 1)
}
