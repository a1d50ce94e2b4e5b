//! Collects blobs that no row names any more, uploads and idempotency keys whose time is up, and jobs whose retention
//! ended.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::Context;
use super::ending::chain;
use crate::db::{self, blobs, idempotency, jobs, uploads};
use crate::store::{self, Blob, Digest};

/// A blob is spared for so long after it was published: whoever published it may be about to name it.
const BLOB_SECONDS: f64 = 24.0 * 3600.0;
/// A blob is deleted within this, or nobody waits for it.
const DELETE: Duration = Duration::from_secs(60);
/// Rows at a time.
const PAGE: u32 = 100;
/// Blobs of the store that are looked up at a time.
const LISTED: usize = 1000;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Database(#[from] db::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Digest(#[from] store::DigestError),
    #[error("the store did not delete a blob in time")]
    Late,
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
    let keys = async { Ok(idempotency::forget_expired(&context.pool).await?) };
    let rounds = [
        ("jobs", expired.await),
        ("uploads", uploads),
        ("blobs that nobody told of", strays(context).await),
        ("blobs", dead_blobs(context).await),
        ("idempotency keys", keys.await),
    ];
    for (what, done) in rounds {
        match done {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, what, "collected, or marked for it"),
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

/// Gives a row to blobs that lie in the store without one, since whoever stored them died before it could name them. From
/// then on they are collected as all others are, when they are a day old.
///
/// To another database all blobs of this one would look like that: so it is done where the store is this database's alone.
async fn strays(context: &Context) -> Result<u64, Error> {
    let mut conn = context.pool.acquire().await?;
    let own = db::identity(&mut conn).await?;
    drop(conn);
    let owner = context.store.owner(own).await?;
    if owner != own {
        tracing::error!(%owner, %own, "the store is another database's: what no row tells of is left alone there");
        return Ok(0);
    }
    let mut listed = context.store.list();
    let mut count = 0;
    loop {
        let page: Vec<Blob> = listed.by_ref().take(LISTED).try_collect().await?;
        let names: Vec<String> = page.iter().map(|blob| blob.digest.to_string()).collect();
        let mut conn = context.pool.acquire().await?;
        let unknown = blobs::unknown(&mut conn, &names).await?;
        drop(conn);
        for sha256 in &unknown {
            count += u64::from(note(context, sha256).await?);
        }
        if page.len() < LISTED {
            return Ok(count);
        }
    }
}

/// One in a transaction: whoever publishes the same bytes waits for no others.
async fn note(context: &Context, sha256: &str) -> Result<bool, Error> {
    let mut tx = context.pool.begin().await?;
    // Nobody removes a blob from here on, so that what is there now has its row while it is there.
    if !blobs::may_collect(&mut tx).await? {
        return Ok(false);
    }
    match context.store.size_bytes(&sha256.parse()?).await {
        Ok(size_bytes) => blobs::insert(&mut tx, sha256, size_bytes).await?,
        Err(store::Error::NotFound(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    tx.commit().await?;
    Ok(true)
}

async fn dead_blobs(context: &Context) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let mut conn = context.pool.acquire().await?;
        blobs::end_old_removals(&mut conn).await?;
        let page = blobs::list_unreferenced(&mut conn, BLOB_SECONDS, PAGE).await?;
        drop(conn);
        let mut removed = 0;
        for blob in &page {
            match remove(context, &blob.sha256).await? {
                Some(done) => removed += u64::from(done),
                None => {
                    tracing::info!("a backup is made, or another worker collects: blobs are left alone for now");
                    return Ok(count + removed);
                }
            }
        }
        count += removed;
        if page.len() < PAGE as usize || removed == 0 {
            return Ok(count);
        }
    }
}

/// Forgets a blob, and only then deletes it; false if someone names it again. `None` where nothing may be collected now.
async fn remove(context: &Context, sha256: &str) -> Result<Option<bool>, Error> {
    let mut tx = context.pool.begin().await?;
    if !blobs::may_collect(&mut tx).await? {
        return Ok(None);
    }
    if !blobs::forget(&mut tx, sha256, BLOB_SECONDS).await? {
        return Ok(Some(false));
    }
    tx.commit().await?;
    let mut tx = context.pool.begin().await?;
    if !blobs::may_collect(&mut tx).await? {
        return Ok(None);
    }
    // What fails here, or takes too long, leaves a stray for another round, and nobody names the blob for some minutes.
    timeout(DELETE, context.store.delete(&sha256.parse::<Digest>()?)).await.map_err(|_| Error::Late)??;
    blobs::removed(&mut tx, sha256).await?;
    tx.commit().await?;
    Ok(Some(true))
}

/// Every tenant's: whoever runs the server sets the retention.
async fn old_jobs(context: &Context, days: u32) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let deleted = jobs::delete_ended(&context.pool, days, PAGE).await?;
        count += deleted;
        if deleted < u64::from(PAGE) {
            return Ok(count);
        }
    }
}
