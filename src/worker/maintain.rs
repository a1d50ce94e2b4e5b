//! What any worker does from time to time. All of it can be repeated, and done by several at once.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::ending::chain;
use super::hints::with_jitter;
use super::{Context, collect};
use crate::db;
use crate::db::jobs::reap;
use crate::db::workers::{self, Beat};

/// Between two collections of what nobody needs any more.
const COLLECT_EVERY: Duration = Duration::from_hours(1);
/// How long a round may take: a database that does not answer must not end maintenance for good.
const PATIENCE: Duration = Duration::from_secs(60);

/// Collects for as long as the worker lives. Not in [`keep`]'s loop: a store with many blobs takes its time, and
/// meanwhile leases must be looked after.
pub(super) async fn collect_from_time_to_time(context: Context) {
    loop {
        collect::all(&context).await;
        sleep(with_jitter(COLLECT_EVERY)).await;
    }
}

/// Does maintenance for as long as the worker lives.
pub(super) async fn keep(context: Context) {
    loop {
        match tokio::time::timeout(PATIENCE, round(&context)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %chain(&error), "maintenance failed; trying again"),
            Err(_) => tracing::warn!("maintenance took too long; trying again"),
        }
        sleep(with_jitter(context.config.timing.maintain)).await;
    }
}

async fn round(context: &Context) -> db::Result<()> {
    beat(context).await?;
    let changed = reap(&context.pool).await?;
    if changed > 0 {
        tracing::info!(jobs = changed, "took back or ended jobs whose time was up");
    }
    Ok(())
}

async fn beat(context: &Context) -> db::Result<()> {
    let config = &context.config;
    for id in context.workers.iter().copied() {
        let beat = Beat {
            id,
            host_id: config.host_id,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            memory_bytes: config.memory_bytes,
            disk_bytes: config.free_disk_bytes(),
            devices: vec![config.device.clone()],
            capabilities: json!({ "threads": config.threads, "sandbox": config.sandbox }),
        };
        workers::beat(&context.pool, &beat).await?;
    }
    Ok(())
}

/// Says that the workers have gone.
pub(super) async fn leave(context: &Context) {
    for id in context.workers.iter().copied() {
        if let Err(error) = workers::leave(&context.pool, id).await {
            tracing::warn!(error = %chain(&error), "a worker's leave could not be noted");
        }
    }
}
