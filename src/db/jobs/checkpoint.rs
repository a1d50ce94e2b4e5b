//! What a job has left on its way, so that its next attempt goes on from there.
//!
//! A job has one checkpoint, the newest. Its row and its files' rows are written under the lease's token, and go when the
//! job ends.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::upload::{Columns, total_bytes};
use crate::db::{FileRow, NewFile, Pool, Result, bigint, blobs, unsigned};
use crate::id::{ArtifactId, JobId};
use crate::telemetry::metrics;

/// A checkpoint whose files are in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCheckpoint {
    /// How many there were, this one with them.
    pub step: u64,
    /// What it was made from, 64 hex digits.
    pub key: String,
    /// All of its files.
    pub files: Vec<NewFile>,
}

/// A checkpoint that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many there were, this one with them.
    pub step: u64,
    /// What it was made from, 64 hex digits.
    pub key: String,
    /// All of its files, at least one.
    pub files: Vec<FileRow>,
}

/// Puts a checkpoint in the place of the one before, and a line into the job's log, when the caller's transaction commits.
/// False if the job was taken away: roll back.
///
/// # Errors
///
/// [`crate::db::Error::Removing`] while bytes of one of the files are being deleted.
pub async fn keep_checkpoint(conn: &mut PgConnection, id: JobId, token: Uuid, new: &NewCheckpoint) -> Result<bool> {
    let body = json!({ "step": new.step, "files": new.files.len(), "size_bytes": total_bytes(&new.files) });
    let held = sqlx::query!(
        "with next as (
            update jobs set last_event_seq = last_event_seq + 1 where id = $1 and lease_token = $2
            returning id, attempt, last_event_seq),
        logged as (insert into job_events (job_id, seq, kind, body) select id, last_event_seq, 'checkpoint', $5 from next)
        insert into job_checkpoints (job_id, attempt, step, key) select id, attempt, $3, decode($4, 'hex') from next
        on conflict (job_id) do update
            set attempt = excluded.attempt, step = excluded.step, key = excluded.key, published_at = now()",
        id.0,
        token,
        bigint(new.step),
        new.key,
        body,
    )
    .execute(&mut *conn)
    .await?;
    if held.rows_affected() == 0 {
        metrics::write_fenced("checkpoint");
        return Ok(false);
    }
    blobs::insert_all(conn, &new.files).await?;
    replace_files(conn, id, &new.files).await?;
    Ok(true)
}

async fn replace_files(conn: &mut PgConnection, id: JobId, files: &[NewFile]) -> Result<()> {
    let columns = Columns::of(files);
    sqlx::query!(
        "delete from job_files where job_id = $1 and role = 'checkpoint' and path <> all($2)",
        id.0,
        &columns.paths,
    )
    .execute(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = files.iter().map(|_| ArtifactId::new().0).collect();
    sqlx::query!(
        "insert into job_files (id, tenant_id, job_id, attempt, role, path, format, sha256, size_bytes)
        select f.id, j.tenant_id, j.id, j.attempt, 'checkpoint', f.path, 'checkpoint', decode(f.sha256, 'hex'), f.size_bytes
        from jobs j, unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[]) as f (id, path, sha256, size_bytes)
        where j.id = $1
        on conflict (job_id, role, path) do update
            set attempt = excluded.attempt, sha256 = excluded.sha256, size_bytes = excluded.size_bytes, created_at = now()
            where job_files.sha256 <> excluded.sha256",
        id.0,
        &ids,
        &columns.paths,
        &columns.sha256s,
        &columns.sizes_bytes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a job's next attempt goes on from. `None` where it begins anew.
pub async fn checkpoint(pool: &Pool, id: JobId) -> Result<Option<Checkpoint>> {
    let rows = sqlx::query!(
        r#"select c.step, encode(c.key, 'hex') as "key!", f.path, encode(f.sha256, 'hex') as "sha256!", f.size_bytes
        from job_checkpoints c join job_files f on f.job_id = c.job_id and f.role = 'checkpoint'
        where c.job_id = $1 order by f.path"#,
        id.0
    )
    .fetch_all(pool)
    .await?;
    let mut found: Option<Checkpoint> = None;
    for row in rows {
        let begun = || Checkpoint { step: unsigned(row.step), key: row.key, files: Vec::new() };
        let file = FileRow { path: row.path, sha256: row.sha256, size_bytes: unsigned(row.size_bytes) };
        found.get_or_insert_with(begun).files.push(file);
    }
    Ok(found)
}

/// Forgets a job's checkpoint, if it has one: the job ends. Its blobs are collected later.
pub(super) async fn forget_checkpoint(conn: &mut PgConnection, id: JobId) -> Result<()> {
    let forgotten = sqlx::query!("delete from job_checkpoints where job_id = $1", id.0).execute(&mut *conn).await?;
    // Most jobs have none, and then their end has nothing to do with other files.
    if forgotten.rows_affected() > 0 {
        sqlx::query!("delete from job_files where job_id = $1 and role = 'checkpoint'", id.0).execute(conn).await?;
    }
    Ok(())
}
