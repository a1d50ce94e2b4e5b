//! Which blobs the store holds, and which of them nobody names any more.

use sqlx::PgConnection;

use super::upload::{Columns, NewFile};
use super::{Error, Result, bigint, unsigned};

/// Held by whoever removes blobs, and shared by those who need that nobody does. "pare" and a number.
pub(super) const COLLECT_LOCK: i64 = 0x7061_7265_0009;

/// A blob that no row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreferenced {
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

/// A removal that is older than this has ended, however it ended: no store takes longer to delete a blob, or to fail.
const REMOVAL_SECONDS: f64 = 300.0;

/// Notes that a blob is in the store. One that is known already becomes young again, so that collection spares it.
///
/// # Errors
///
/// [`Error::Removing`] while the same bytes are being deleted.
pub async fn insert(conn: &mut PgConnection, sha256: &str, size_bytes: u64) -> Result<()> {
    sqlx::query!(
        "insert into blobs (sha256, size_bytes) values (decode($1, 'hex'), $2)
        on conflict (sha256) do update set published_at = now()",
        sha256,
        bigint(size_bytes),
    )
    .execute(&mut *conn)
    .await?;
    refuse_removals(conn, &[sha256.to_owned()]).await
}

/// [`insert`] for every file.
pub(super) async fn insert_all(conn: &mut PgConnection, files: &[NewFile]) -> Result<()> {
    let columns = Columns::of(files);
    // In the order of their hashes, so that two transactions with common blobs never wait for each other in a circle.
    sqlx::query!(
        "insert into blobs (sha256, size_bytes)
        select distinct on (f.sha256) decode(f.sha256, 'hex'), f.size_bytes
        from unnest($1::text[], $2::bigint[]) as f (sha256, size_bytes) order by f.sha256
        on conflict (sha256) do update set published_at = now()",
        &columns.sha256s,
        &columns.sizes_bytes,
    )
    .execute(&mut *conn)
    .await?;
    refuse_removals(conn, &columns.sha256s).await
}

/// A statement of its own, after the rows were written: it sees the removals that were committed while those were waited for.
async fn refuse_removals(conn: &mut PgConnection, sha256s: &[String]) -> Result<()> {
    let removing = sqlx::query_scalar!(
        r#"select exists (select from unnest($1::text[]) as s (sha256) join removals r on r.sha256 = decode(s.sha256, 'hex')
            where r.begun_at > now() - make_interval(secs => $2)) as "removing!""#,
        sha256s,
        REMOVAL_SECONDS,
    );
    if removing.fetch_one(conn).await? { Err(Error::Removing) } else { Ok(()) }
}

/// Whether a blob is known.
pub async fn exists(conn: &mut PgConnection, sha256: &str) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from blobs where sha256 = decode($1, 'hex')) as "exists!""#,
        sha256
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Those of these blobs that have no row. Whoever stored them has not come to say so yet, or died before.
pub async fn unknown(conn: &mut PgConnection, sha256s: &[String]) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        r#"select s.sha256 as "sha256!" from unnest($1::text[]) as s (sha256)
        where not exists (select from blobs b where b.sha256 = decode(s.sha256, 'hex'))
            and not exists (select from removals r where r.sha256 = decode(s.sha256, 'hex'))"#,
        sha256s
    );
    Ok(query.fetch_all(conn).await?)
}

/// Up to `limit` blobs that no row names and that were last published more than `older_than_seconds` ago, oldest first.
pub async fn list_unreferenced(
    conn: &mut PgConnection,
    older_than_seconds: f64,
    limit: u32,
) -> Result<Vec<Unreferenced>> {
    let rows = sqlx::query!(
        r#"select encode(b.sha256, 'hex') as "sha256!", b.size_bytes from blobs b
        where b.published_at < now() - make_interval(secs => $1)
            and not exists (select from model_files f where f.sha256 = b.sha256)
            and not exists (select from dataset_files f where f.sha256 = b.sha256)
            and not exists (select from job_files f where f.sha256 = b.sha256)
            and not exists (select from statistics f where f.sha256 = b.sha256)
            and not exists (select from upload_parts f where f.sha256 = b.sha256)
            and not exists (select from uploads f where f.sha256 = b.sha256)
        order by b.published_at limit $2"#,
        older_than_seconds,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Unreferenced { sha256: row.sha256, size_bytes: unsigned(row.size_bytes) }).collect())
}

/// Whether blobs may be removed from the store within this transaction: not while a backup is made, which still has to
/// read those that its rows name. One collects at a time.
pub async fn may_collect(conn: &mut PgConnection) -> Result<bool> {
    let free = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "free!""#, COLLECT_LOCK);
    Ok(free.fetch_one(conn).await?)
}

/// Forgets a blob if it is still old and still named by no row; true if so. Once that is committed the caller deletes it
/// from the store, and then calls [`removed`]: until then nobody can name the same blob, since [`insert`] refuses it.
///
/// To delete it within this transaction would not do. If the connection is lost meanwhile, the row is back and others name
/// it, while the store may only now do what it was asked.
pub async fn forget(conn: &mut PgConnection, sha256: &str, older_than_seconds: f64) -> Result<bool> {
    let old = sqlx::query!(
        "select sha256 from blobs where sha256 = decode($1, 'hex') and published_at < now() - make_interval(secs => $2)
        for update",
        sha256,
        older_than_seconds,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if old.is_none() {
        return Ok(false);
    }
    // A statement of its own: it sees what was committed while the lock was waited for.
    let done = sqlx::query!(
        "with forgotten as (delete from blobs b where b.sha256 = decode($1, 'hex')
            and not exists (select from model_files f where f.sha256 = b.sha256)
            and not exists (select from dataset_files f where f.sha256 = b.sha256)
            and not exists (select from job_files f where f.sha256 = b.sha256)
            and not exists (select from statistics f where f.sha256 = b.sha256)
            and not exists (select from upload_parts f where f.sha256 = b.sha256)
            and not exists (select from uploads f where f.sha256 = b.sha256)
            returning b.sha256)
        insert into removals (sha256) select sha256 from forgotten
        on conflict (sha256) do update set begun_at = now()",
        sha256,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The blob is deleted from the store: its bytes may come again.
pub async fn removed(conn: &mut PgConnection, sha256: &str) -> Result<()> {
    sqlx::query!("delete from removals where sha256 = decode($1, 'hex')", sha256).execute(conn).await?;
    Ok(())
}

/// Ends the removals that nobody came back from. What they left in the store is a stray; see [`unknown`].
pub async fn end_old_removals(conn: &mut PgConnection) -> Result<u64> {
    let ended =
        sqlx::query!("delete from removals where begun_at < now() - make_interval(secs => $1)", REMOVAL_SECONDS);
    Ok(ended.execute(conn).await?.rows_affected())
}
