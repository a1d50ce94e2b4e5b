//! Models and their files.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::jobs::{JobKind, NewJob, enqueue, fail_invalid_inputs};
use super::{Conflict, FileRow, ListFilter, NewFile, Pool, Result, UploadState, bigint, blobs, unsigned, upload};
use crate::engine::model::ModelHeader;
use crate::engine::problem::Problem;
use crate::id::{JobId, ModelId};

/// A model that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    /// Its owner's name for it.
    pub name: String,
    /// Its files, each under a path of its own.
    pub files: Vec<NewFile>,
    /// The job that it is a result of.
    pub source_job_id: Option<JobId>,
}

/// A stored model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Which.
    pub id: ModelId,
    /// Its owner's name for it.
    pub name: String,
    /// Whether it can be used.
    pub state: UploadState,
    /// All that its files say without reading weights; there when it is ready.
    pub header: Option<ModelHeader>,
    /// All that is wrong with it, when it is invalid.
    pub errors: Vec<Problem>,
    /// All files together.
    pub size_bytes: u64,
    /// The job that it is a result of.
    pub source_job_id: Option<JobId>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// `select`s models and makes them [`Model`]s; what comes after `from models` is given.
macro_rules! model_query {
    ($tail:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            r#"select id as "id: ModelId", name, state as "state: UploadState", header as "header: Json<ModelHeader>",
                errors as "errors: Json<Vec<Problem>>", size_bytes, source_job_id as "source_job_id: JobId", created_at
            from models "# + $tail
            $(, $arg)*
        )
        .map(|row| Model {
            id: row.id,
            name: row.name,
            state: row.state,
            header: row.header.map(|json| json.0),
            errors: row.errors.0,
            size_bytes: unsigned(row.size_bytes),
            source_job_id: row.source_job_id,
            created_at: row.created_at,
        })
    };
}

/// Stores a model, its blobs' rows and the job that validates it, in one transaction.
///
/// # Errors
///
/// [`Conflict::Exists`] where two files have one path.
pub async fn insert(pool: &Pool, tenant: Uuid, new: &NewModel) -> Result<Model> {
    let mut tx = pool.begin().await?;
    let model = insert_in(&mut tx, tenant, new).await?;
    tx.commit().await?;
    Ok(model)
}

/// [`insert`] in the caller's transaction.
pub async fn insert_in(conn: &mut PgConnection, tenant: Uuid, new: &NewModel) -> Result<Model> {
    let id = ModelId::new();
    sqlx::query!(
        "insert into models (id, tenant_id, name, size_bytes, source_job_id) values ($1, $2, $3, $4, $5)",
        id.0,
        tenant,
        new.name,
        bigint(upload::total_bytes(&new.files)),
        new.source_job_id.map(|job| job.0),
    )
    .execute(&mut *conn)
    .await?;
    blobs::insert_all(conn, &new.files).await?;
    let columns = upload::Columns::of(&new.files);
    sqlx::query!(
        "insert into model_files (model_id, path, sha256, size_bytes)
        select $1, f.path, decode(f.sha256, 'hex'), f.size_bytes
        from unnest($2::text[], $3::text[], $4::bigint[]) as f (path, sha256, size_bytes)",
        id.0,
        &columns.paths,
        &columns.sha256s,
        &columns.sizes_bytes,
    )
    .execute(&mut *conn)
    .await?;
    let job = NewJob { kind: JobKind::Validate, model_id: Some(id), ..NewJob::default() };
    enqueue(conn, tenant, &job).await?;
    Ok(model_query!("where id = $1", id.0).fetch_one(conn).await?)
}

/// A model that is there and not deleted.
pub async fn find(pool: &Pool, tenant: Uuid, id: ModelId) -> Result<Option<Model>> {
    let query = model_query!("where id = $1 and tenant_id = $2 and deleted_at is null", id.0, tenant);
    Ok(query.fetch_optional(pool).await?)
}

/// Models, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<Model>> {
    let query = model_query!(
        "where tenant_id = $1 and deleted_at is null and ($2::uuid is null or id < $2) order by id desc limit $3",
        tenant,
        filter.before,
        i64::from(filter.limit),
    );
    Ok(query.fetch_all(pool).await?)
}

/// A model's files by path. None for a deleted model.
pub async fn files(executor: impl PgExecutor<'_>, id: ModelId) -> Result<Vec<FileRow>> {
    let query = sqlx::query!(
        r#"select path, encode(sha256, 'hex') as "sha256!", size_bytes from model_files where model_id = $1 order by path"#,
        id.0
    )
    .map(|row| FileRow { path: row.path, sha256: row.sha256, size_bytes: unsigned(row.size_bytes) });
    Ok(query.fetch_all(executor).await?)
}

/// Makes a validating model ready; false if it was not validating. Jobs that waited for it become claimable.
pub async fn finish(conn: &mut PgConnection, id: ModelId, header: &ModelHeader) -> Result<bool> {
    let done = sqlx::query!(
        "update models set state = 'ready', header = $2 where id = $1 and state = 'validating'",
        id.0,
        Json(header) as _,
    )
    .execute(&mut *conn)
    .await?;
    // Nobody would otherwise tell the workers that what waited can be claimed.
    if done.rows_affected() == 1 {
        sqlx::query!(
            "select pg_notify('pare_jobs', id::text) from jobs
            where state = 'queued' and kind <> 'validate' and $1 in (model_id, reference_model_id)",
            id.0
        )
        .fetch_all(conn)
        .await?;
    }
    Ok(done.rows_affected() == 1)
}

/// Makes a validating model invalid, and fails the jobs that waited for it as `model_invalid`; false if it was not
/// validating.
pub async fn reject(conn: &mut PgConnection, id: ModelId, problems: &[Problem]) -> Result<bool> {
    let done = sqlx::query!(
        "update models set state = 'invalid', errors = $2 where id = $1 and state = 'validating'",
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

/// Deletes a model: its files and statistics are let go, its row stays hidden so that old jobs can name it. False if there is none.
///
/// # Errors
///
/// [`Conflict::InUse`] while a job that has not ended names it.
pub async fn delete(pool: &Pool, tenant: Uuid, id: ModelId) -> Result<bool> {
    let mut tx = pool.begin().await?;
    // Whoever queues a job shares this lock, so none can slip in between.
    let there = sqlx::query!(
        "select id from models where id = $1 and tenant_id = $2 and deleted_at is null for update",
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
            and $1 in (model_id, reference_model_id) limit 1",
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(job) = job {
        return Err(Conflict::InUse { name: "the model", job }.into());
    }
    sqlx::query!("delete from model_files where model_id = $1", id.0).execute(&mut *tx).await?;
    sqlx::query!("delete from statistics where model_id = $1", id.0).execute(&mut *tx).await?;
    sqlx::query!("update models set deleted_at = now() where id = $1", id.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}
