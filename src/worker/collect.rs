//! Collects blobs that no row names any more, uploads whose time is up, and jobs whose retention ended.

use chrono::{TimeDelta, Utc};
use uuid::{Builder, Uuid};

use super::Context;
use super::ending::chain;
use crate::db::jobs::{self, JobFilter, JobKind};
use crate::db::{self, Conflict, DEFAULT_TENANT, blobs, uploads};
use crate::store::{self, Digest};

/// A blob is spared for so long after it was published: whoever published it may be about to name it.
const BLOB_SECONDS: f64 = 24.0 * 3600.0;
/// Rows at a time.
const PAGE: u32 = 100;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Database(#[from] db::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Digest(#[from] store::DigestError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// One round; what fails is tried in the next one.
pub(super) async fn all(context: &Context) {
    let expired = async {
        match context.config.retention_days {
            Some(days) => old_jobs(context, days).await,
            None => Ok(0),
        }
    };
    let uploads = dead_uploads(context).await;
    for (what, done) in [("jobs", expired.await), ("uploads", uploads), ("blobs", dead_blobs(context).await)] {
        match done {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, what, "collected"),
            Err(error) => tracing::warn!(what, error = %chain(&error), "collection failed; trying again later"),
        }
    }
}

/// Ends uploads whose time is up, and removes what any that ended left in the store: also what a process could not
/// remove because it died.
async fn dead_uploads(context: &Context) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let expired = uploads::expire(&context.pool, PAGE).await?;
        count += expired.len() as u64;
        if expired.len() < PAGE as usize {
            break;
        }
    }
    for there in context.store.list_uploads().await?.chunks(PAGE as usize) {
        let live = uploads::live(&context.pool, there).await?;
        for upload in there.iter().filter(|id| !live.contains(id)) {
            context.store.discard(*upload).await?;
        }
    }
    uploads::purge(&context.pool).await?;
    Ok(count)
}

async fn dead_blobs(context: &Context) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let mut conn = context.pool.acquire().await?;
        let page = blobs::list_unreferenced(&mut conn, BLOB_SECONDS, PAGE).await?;
        drop(conn);
        let mut removed = 0;
        for blob in &page {
            let mut tx = context.pool.begin().await?;
            if blobs::forget(&mut tx, &blob.sha256, BLOB_SECONDS).await? {
                // Before the commit: until then nobody else can publish the same bytes.
                context.store.delete(&blob.sha256.parse::<Digest>()?).await?;
                tx.commit().await?;
                removed += 1;
            }
        }
        count += removed;
        if page.len() < PAGE as usize || removed == 0 {
            return Ok(count);
        }
    }
}

async fn old_jobs(context: &Context, days: u32) -> Result<u64, Error> {
    let mut count = 0;
    for kind in JobKind::ALL {
        let mut before = Some(first_id_after(days));
        while before.is_some() {
            let filter = JobFilter { kind: Some(*kind), limit: PAGE, before, ..JobFilter::default() };
            let page = jobs::list(&context.pool, DEFAULT_TENANT, &filter).await?;
            before = page.last().map(|job| job.id.0);
            for job in page.iter().filter(|job| job.state.is_terminal()) {
                match jobs::delete(&context.pool, DEFAULT_TENANT, job.id).await {
                    Ok(deleted) => count += u64::from(deleted),
                    // A model was made of it.
                    Err(db::Error::Conflict(Conflict::InUse { .. } | Conflict::Missing { .. })) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(count)
}

/// Ids sort by time: this one stands between what is older than `days` days and what is not.
fn first_id_after(days: u32) -> Uuid {
    let at = Utc::now() - TimeDelta::days(i64::from(days));
    Builder::from_unix_timestamp_millis(u64::try_from(at.timestamp_millis()).unwrap_or(0), &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_later_than_the_bound() {
        assert!(first_id_after(1) < Uuid::now_v7());
        assert!(first_id_after(2) < first_id_after(1));
    }
}
