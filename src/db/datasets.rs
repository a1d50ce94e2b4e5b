//! Datasets and their files.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{FileRow, ListFilter, NewFile, Pool, Result, UploadState};
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

/// Stores a dataset, its blobs' rows and the job that validates it, in one transaction.
///
/// # Errors
///
/// [`super::Conflict::Exists`] where two files have one path.
pub async fn insert(pool: &Pool, tenant: Uuid, new: &NewDataset) -> Result<Dataset> {
    todo!("{pool:?} {tenant} {new:?}")
}

/// A dataset that is there and not deleted.
pub async fn find(pool: &Pool, tenant: Uuid, id: DatasetId) -> Result<Option<Dataset>> {
    todo!("{pool:?} {tenant} {id:?}")
}

/// Datasets, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<Dataset>> {
    todo!("{pool:?} {tenant} {filter:?}")
}

/// A dataset's files by path. None for a deleted dataset.
pub async fn files(pool: &Pool, id: DatasetId) -> Result<Vec<FileRow>> {
    todo!("{pool:?} {id:?}")
}

/// Makes a validating dataset ready; false if it was not validating. Jobs that waited for it become claimable.
pub async fn finish(conn: &mut PgConnection, id: DatasetId, summary: &DatasetSummary) -> Result<bool> {
    todo!("{conn:?} {id:?} {summary:?}")
}

/// Makes a validating dataset invalid, and fails the jobs that waited for it as `dataset_invalid`; false if it was not
/// validating.
pub async fn reject(conn: &mut PgConnection, id: DatasetId, problems: &[Problem]) -> Result<bool> {
    todo!("{conn:?} {id:?} {problems:?}")
}

/// Deletes a dataset: its files are let go, its row stays hidden so that old jobs can name it. False if there is none.
///
/// # Errors
///
/// [`super::Conflict::InUse`] while a job that has not ended names it.
pub async fn delete(pool: &Pool, tenant: Uuid, id: DatasetId) -> Result<bool> {
    todo!("{pool:?} {tenant} {id:?}")
}
