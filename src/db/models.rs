//! Models and their files.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{FileRow, ListFilter, NewFile, Pool, Result, UploadState};
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

/// Stores a model, its blobs' rows and the job that validates it, in one transaction.
///
/// # Errors
///
/// [`super::Conflict::Exists`] where two files have one path.
pub async fn insert(pool: &Pool, tenant: Uuid, new: &NewModel) -> Result<Model> {
    todo!("{pool:?} {tenant} {new:?}")
}

/// A model that is there and not deleted.
pub async fn find(pool: &Pool, tenant: Uuid, id: ModelId) -> Result<Option<Model>> {
    todo!("{pool:?} {tenant} {id:?}")
}

/// Models, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<Model>> {
    todo!("{pool:?} {tenant} {filter:?}")
}

/// A model's files by path. None for a deleted model.
pub async fn files(pool: &Pool, id: ModelId) -> Result<Vec<FileRow>> {
    todo!("{pool:?} {id:?}")
}

/// Makes a validating model ready; false if it was not validating. Jobs that waited for it become claimable.
pub async fn finish(conn: &mut PgConnection, id: ModelId, header: &ModelHeader) -> Result<bool> {
    todo!("{conn:?} {id:?} {header:?}")
}

/// Makes a validating model invalid, and fails the jobs that waited for it as `model_invalid`; false if it was not
/// validating.
pub async fn reject(conn: &mut PgConnection, id: ModelId, problems: &[Problem]) -> Result<bool> {
    todo!("{conn:?} {id:?} {problems:?}")
}

/// Deletes a model: its files are let go, its row stays hidden so that old jobs can name it. False if there is none.
///
/// # Errors
///
/// [`super::Conflict::InUse`] while a job that has not ended names it.
pub async fn delete(pool: &Pool, tenant: Uuid, id: ModelId) -> Result<bool> {
    todo!("{pool:?} {tenant} {id:?}")
}
