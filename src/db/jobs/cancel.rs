//! What a job's owner does to it.

use uuid::Uuid;

use super::Job;
use crate::db::{Pool, Result};
use crate::id::JobId;

/// Cancels a job that is queued, asks one that runs to stop, and leaves one that has ended as it is. The job as it then
/// is; `None` if there is none.
pub async fn cancel(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Option<Job>> {
    todo!("{pool:?} {tenant} {id:?}")
}

/// Deletes a job that has ended, with its log, files and report; its blobs are collected later. False if there is none.
///
/// # Errors
///
/// [`crate::db::Conflict::JobIsLive`] where it has not ended.
pub async fn delete(pool: &Pool, tenant: Uuid, id: JobId) -> Result<bool> {
    todo!("{pool:?} {tenant} {id:?}")
}
