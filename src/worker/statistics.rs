//! Brings a job the statistics that an earlier one took, and names those that it leaves.

use std::path::Path;

use super::Context;
use super::ending::{Refusal, chain};
use crate::db::jobs::Job;
use crate::db::statistics;
use crate::engine::calibrate::statistics::{Asked, GivenStatistics, key};
use crate::engine::job::Task;
use crate::store::{Digest, Error};

/// What a job is told of statistics.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// `None` where none of its can be kept. The key is ours: whatever its process leaves is kept under no other.
    pub(super) asked: Option<Asked>,
    /// Why they are taken anew although there were some.
    pub(super) note: Option<String>,
}

/// Fetches what an earlier job left for the same model, data and settings into the folder of a job's inputs.
///
/// # Errors
///
/// [`Refusal::NotNow`] while store or database are away.
pub(super) async fn fetch(context: &Context, job: &Job, task: &Task, folder: &Path) -> Result<Fetched, Refusal> {
    let key = key(task, &context.config.device, &context.host).map_err(Refusal::internal)?;
    let Some(key) = key else { return Ok(Fetched::default()) };
    let found = statistics::find(&context.pool, job.tenant_id, &key).await?;
    let Some(sha256) = found else { return Ok(Fetched { asked: Some(Asked { key, given: None }), note: None }) };
    let location = folder.join("in").join("statistics");
    let digest: Digest = sha256.parse().map_err(Refusal::internal)?;
    // Left by a try that was cut short.
    let _ = tokio::fs::remove_file(&location).await;
    let (given, note) = match context.store.fetch(&digest, &location).await {
        Ok(()) => (Some(GivenStatistics { sha256, location }), None),
        Err(error @ Error::Unavailable(_)) => return Err(error.into()),
        Err(error) => {
            tracing::error!(error = %chain(&error), "an earlier job's statistics can't be fetched");
            let why = "the store lacks their file, or has it damaged";
            (None, Some(format!("an earlier job's statistics are not used: {why}. They are taken anew")))
        }
    };
    Ok(Fetched { asked: Some(Asked { key, given }), note })
}
