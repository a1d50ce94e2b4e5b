//! How a worker ends a job.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::JobState;
use super::change::{end, error_of, reject_upload, take_lease};
use crate::db::{NewFile, Result, as_written, bigint, blobs};
use crate::engine::problem::{Code, Problem};
use crate::id::{ArtifactId, JobId};

/// A file that a job leaves; its blob is in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJobFile {
    /// `artifact`, `report`, `checkpoint`, `statistics`.
    pub role: String,
    /// Its path in the artifact.
    pub path: String,
    /// `safetensors`, `json`, …
    pub format: String,
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
    /// Runtimes that load it.
    pub loaders: Vec<String>,
}

/// Makes files, report and `succeeded` visible together, when the caller's transaction commits. False if the job was
/// taken away: roll back.
pub async fn finish_succeeded(
    conn: &mut PgConnection,
    id: JobId,
    token: Uuid,
    files: &[NewJobFile],
    report: Option<&Value>,
) -> Result<bool> {
    let Some(lease) = take_lease(conn, id, token).await? else { return Ok(false) };
    if end(conn, id, Some(&lease), JobState::Succeeded, None).await?.is_none() {
        return Ok(false);
    }
    insert_files(conn, id, files).await?;
    if let Some(report) = report {
        sqlx::query!("update jobs set report = $2::text::json where id = $1", id.0, as_written(report))
            .execute(conn)
            .await?;
    }
    Ok(true)
}

async fn insert_files(conn: &mut PgConnection, id: JobId, files: &[NewJobFile]) -> Result<()> {
    let blobs: Vec<NewFile> = files
        .iter()
        .map(|file| NewFile { path: file.path.clone(), sha256: file.sha256.clone(), size_bytes: file.size_bytes })
        .collect();
    blobs::insert_all(conn, &blobs).await?;
    for file in files {
        sqlx::query!(
            "insert into job_files (id, tenant_id, job_id, attempt, role, path, format, sha256, size_bytes, loaders)
            select $1, tenant_id, id, attempt, $3, $4, $5, decode($6, 'hex'), $7, $8 from jobs where id = $2",
            ArtifactId::new().0,
            id.0,
            file.role,
            file.path,
            file.format,
            file.sha256,
            bigint(file.size_bytes),
            &file.loaders,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Fails a job: another try would not help. A failed `validate` makes its model or dataset invalid. False if the job
/// was taken away.
pub async fn finish_failed(conn: &mut PgConnection, id: JobId, token: Uuid, problems: &[Problem]) -> Result<bool> {
    let Some(lease) = take_lease(conn, id, token).await? else { return Ok(false) };
    let problems: Vec<Problem> = problems.iter().map(storable).collect();
    let error = error_of(&problems);
    let Some(moved) = end(conn, id, Some(&lease), JobState::Failed, Some(&error)).await? else { return Ok(false) };
    reject_upload(conn, &moved, &problems).await?;
    Ok(true)
}

/// The database's texts hold every character but U+0000, which a hostile file can bring into a message.
fn storable(problem: &Problem) -> Problem {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    Problem::new(clean(&problem.pointer), problem.code, clean(&problem.detail))
}

/// Ends a job that was asked to stop; false if it was taken away or nobody asked.
pub async fn finish_cancelled(conn: &mut PgConnection, id: JobId, token: Uuid) -> Result<bool> {
    let asked = sqlx::query!("select id from jobs where id = $1 and cancel_requested_at is not null", id.0)
        .fetch_optional(&mut *conn)
        .await?;
    if asked.is_none() {
        return Ok(false);
    }
    let Some(lease) = take_lease(conn, id, token).await? else { return Ok(false) };
    let Some(moved) = end(conn, id, Some(&lease), JobState::Cancelled, None).await? else { return Ok(false) };
    reject_upload(conn, &moved, &[cancelled_validation()]).await?;
    Ok(true)
}

/// Ends a job whose deadline passed; false if it was taken away or there is time left.
pub async fn finish_expired(conn: &mut PgConnection, id: JobId, token: Uuid) -> Result<bool> {
    let passed = sqlx::query!("select id from jobs where id = $1 and deadline_at <= now()", id.0)
        .fetch_optional(&mut *conn)
        .await?;
    if passed.is_none() {
        return Ok(false);
    }
    let Some(lease) = take_lease(conn, id, token).await? else { return Ok(false) };
    let problems = [deadline_exceeded()];
    let error = error_of(&problems);
    let Some(moved) = end(conn, id, Some(&lease), JobState::Expired, Some(&error)).await? else { return Ok(false) };
    reject_upload(conn, &moved, &problems).await?;
    Ok(true)
}

/// What a model says whose validation was cancelled.
pub(super) fn cancelled_validation() -> Problem {
    Problem::new(
        "",
        Code::ModelInvalid,
        "it was never checked, since the job that does so was cancelled: upload it again",
    )
}

/// What a job says whose deadline passed.
pub(super) fn deadline_exceeded() -> Problem {
    Problem::new("", Code::DeadlineExceeded, "the job did not end before its deadline: retry it with a later one")
}
