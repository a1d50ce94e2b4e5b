//! Datasets and their files.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::jobs::{JobKind, NewJob, enqueue, fail_invalid_inputs};
use super::{Conflict, FileRow, ListFilter, NewFile, Pool, Result, UploadState, bigint, blobs, unsigned, upload};
use crate::engine::data::DatasetSummary;
use crate::engine::problem::Problem;
use crate::id::DatasetId;

/// A dataset that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDataset {
    /// Its owner's name for it.
    pub name: String,
    /// Its files, each under a path of its own.
    pub files: Vec<NewFile>,
}

/// A stored dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Which.
    pub id: DatasetId,
    /// Its owner's name for it.
    pub name: String,
    /// Whether it can be used.
    pub state: UploadState,
    /// What is in it; there when it is ready.
    pub summary: Option<DatasetSummary>,
    /// All that is wrong with it, when it is invalid.
    pub errors: Vec<Problem>,
    /// All files together.
    pub size_bytes: u64,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// `select`s datasets and makes them [`Dataset`]s; what comes after `from datasets` is given.
macro_rules! dataset_query {
    ($tail:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            r#"select id as "id: DatasetId", name, state as "state: UploadState", summary as "summary: Json<DatasetSummary>",
                errors as "errors: Json<Vec<Problem>>", size_bytes, created_at
            from datasets "# + $tail
            $(, $arg)*
        )
        .map(|row| Dataset {
            id: row.id,
            name: row.name,
            state: row.state,
            summary: row.summary.map(|json| json.0),
            errors: row.errors.0,
            size_bytes: unsigned(row.size_bytes),
            created_at: row.created_at,
        })
    };
}

/// Stores a dataset, its blobs' rows and the job that validates it, in one transaction.
///
/// # Errors
///
/// [`Conflict::Exists`] where two files have one path.
pub async fn insert(pool: &Pool, tenant: Uuid, new: &NewDataset) -> Result<Dataset> {
    let mut tx = pool.begin().await?;
    let dataset = insert_in(&mut tx, tenant, new).await?;
    tx.commit().await?;
    Ok(dataset)
}

/// [`insert`] in the caller's transaction.
pub async fn insert_in(conn: &mut PgConnection, tenant: Uuid, new: &NewDataset) -> Result<Dataset> {
    let id = DatasetId::new();
    sqlx::query!(
        "insert into datasets (id, tenant_id, name, size_bytes) values ($1, $2, $3, $4)",
        id.0,
        tenant,
        new.name,
        bigint(upload::total_bytes(&new.files)),
    )
    .execute(&mut *conn)
    .await?;
    blobs::insert_all(conn, &new.files).await?;
    let columns = upload::Columns::of(&new.files);
    sqlx::query!(
        "insert into dataset_files (dataset_id, path, sha256, size_bytes)
        select $1, f.path, decode(f.sha256, 'hex'), f.size_bytes
        from unnest($2::text[], $3::text[], $4::bigint[]) as f (path, sha256, size_bytes)",
        id.0,
        &columns.paths,
        &columns.sha256s,
        &columns.sizes_bytes,
    )
    .execute(&mut *conn)
    .await?;
    let job = NewJob { kind: JobKind::Validate, dataset_id: Some(id), ..NewJob::default() };
    enqueue(conn, tenant, &job).await?;
    Ok(dataset_query!("where id = $1", id.0).fetch_one(conn).await?)
}

/// A dataset that is there and not deleted.
pub async fn find(pool: &Pool, tenant: Uuid, id: DatasetId) -> Result<Option<Dataset>> {
    let query = dataset_query!("where id = $1 and tenant_id = $2 and deleted_at is null", id.0, tenant);
    Ok(query.fetch_optional(pool).await?)
}

/// Datasets, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<Dataset>> {
    let query = dataset_query!(
        "where tenant_id = $1 and deleted_at is null and ($2::uuid is null or id < $2) order by id desc limit $3",
        tenant,
        filter.before,
        i64::from(filter.limit),
    );
    Ok(query.fetch_all(pool).await?)
}

/// A dataset's files by path. None for a deleted dataset.
pub async fn files(executor: impl PgExecutor<'_>, id: DatasetId) -> Result<Vec<FileRow>> {
    let query = sqlx::query!(
        r#"select path, encode(sha256, 'hex') as "sha256!", size_bytes from dataset_files where dataset_id = $1 order by path"#,
        id.0
    )
    .map(|row| FileRow { path: row.path, sha256: row.sha256, size_bytes: unsigned(row.size_bytes) });
    Ok(query.fetch_all(executor).await?)
}

/// Makes a validating dataset ready; false if it was not validating. Jobs that waited for it become claimable.
pub async fn finish(conn: &mut PgConnection, id: DatasetId, summary: &DatasetSummary) -> Result<bool> {
    let done = sqlx::query!(
        "update datasets set state = 'ready', summary = $2 where id = $1 and state = 'validating'",
        id.0,
        Json(summary) as _,
    )
    .execute(&mut *conn)
    .await?;
    // Nobody would otherwise tell the workers that what waited can be claimed.
    if done.rows_affected() == 1 {
        sqlx::query!(
            "select pg_notify('pare_jobs', id::text) from jobs
            where state = 'queued' and kind <> 'validate' and $1 in
            (dataset_id, calibration_dataset_id, training_dataset_id, validation_dataset_id, evaluation_dataset_id)",
            id.0
        )
        .fetch_all(conn)
        .await?;
    }
    Ok(done.rows_affected() == 1)
}

/// Makes a validating dataset invalid, and fails the jobs that waited for it as `dataset_invalid`; false if it was not
/// validating.
pub async fn reject(conn: &mut PgConnection, id: DatasetId, problems: &[Problem]) -> Result<bool> {
    let done = sqlx::query!(
        "update datasets set state = 'invalid', errors = $2 where id = $1 and state = 'validating'",
        id.0,
        Json(problems) as _,
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 {
        fail_invalid_inputs(conn, Some(id.0)).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// Deletes a dataset: its files and statistics are let go, its row stays hidden so that old jobs can name it. False if there is none.
///
/// # Errors
///
/// [`Conflict::InUse`] while a job that has not ended names it.
pub async fn delete(pool: &Pool, tenant: Uuid, id: DatasetId) -> Result<bool> {
    let mut tx = pool.begin().await?;
    // Whoever queues a job shares this lock, so none can slip in between.
    let there = sqlx::query!(
        "select id from datasets where id = $1 and tenant_id = $2 and deleted_at is null for update",
        id.0,
        tenant,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if there.is_none() {
        return Ok(false);
    }
    let job = sqlx::query_scalar!(
        "select id from jobs where state in ('queued', 'running', 'cancelling')
            and $1 in
            (dataset_id, calibration_dataset_id, training_dataset_id, validation_dataset_id, evaluation_dataset_id) limit 1",
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(job) = job {
        return Err(Conflict::InUse { name: "the dataset", job }.into());
    }
    sqlx::query!("delete from dataset_files where dataset_id = $1", id.0).execute(&mut *tx).await?;
    sqlx::query!("delete from statistics where dataset_id = $1", id.0).execute(&mut *tx).await?;
    sqlx::query!("update datasets set deleted_at = now() where id = $1", id.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}
