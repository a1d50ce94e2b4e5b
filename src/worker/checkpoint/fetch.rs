//! Brings what an earlier attempt left to the next one.

use std::path::Path;

use crate::db::jobs::{Job, checkpoint};
use crate::engine::checkpoint::{Given, GivenFile, KeptFile};
use crate::store::{Digest, Error};
use crate::worker::Context;
use crate::worker::ending::{Refusal, chain};

/// What an attempt begins with.
#[derive(Debug, Default)]
pub(in crate::worker) struct Fetched {
    /// What an earlier one left.
    pub(in crate::worker) given: Option<Given>,
    /// Why it begins anew although there was something.
    pub(in crate::worker) note: Option<String>,
}

/// Fetches a job's checkpoint, if it has one, into the folder of its inputs. One that is damaged or incomplete is none.
///
/// # Errors
///
/// [`Refusal::NotNow`] while store or database are away: a checkpoint is hours of work.
pub(in crate::worker) async fn fetch(context: &Context, job: &Job, folder: &Path) -> Result<Fetched, Refusal> {
    let Some(found) = checkpoint(&context.pool, job.id).await? else { return Ok(Fetched::default()) };
    let mut files = Vec::with_capacity(found.files.len());
    for (number, row) in found.files.into_iter().enumerate() {
        let location = folder.join("in").join(format!("kept-{number}"));
        let digest: Digest = row.sha256.parse().map_err(Refusal::internal)?;
        // Left by a try that was cut short.
        let _ = tokio::fs::remove_file(&location).await;
        match context.store.fetch(&digest, &location).await {
            Ok(()) => {}
            Err(error @ Error::Unavailable(_)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(step = found.step, error = %chain(&error), "a job's checkpoint can't be fetched");
                let note = format!(
                    "the checkpoint of step {} is not used: the store lacks a file of it, or has it damaged. \
                     The job begins anew",
                    found.step
                );
                return Ok(Fetched { given: None, note: Some(note) });
            }
        }
        let file = KeptFile { name: row.path, size_bytes: row.size_bytes, sha256: row.sha256 };
        files.push(GivenFile { file, location });
    }
    let given = Given { step: found.step, key: found.key, files };
    Ok(Fetched { given: Some(given), note: None })
}
