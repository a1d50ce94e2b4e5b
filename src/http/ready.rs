//! Whether the server can work, and if not, why.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::State as Server;
use super::code::UNAVAILABLE;
use super::error::{Detail, Error, Result};
use crate::db::{self, workers};

/// How long each thing that we need may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ready. What the server only reports, and works without, is here too.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Readiness {
    status: String,
    database: String,
    schema: String,
    store: String,
    workers: Workers,
    /// Free space of a local store.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_bytes: Option<u64>,
    /// What keeps a job's process from the rest of its machine, as the workers tell it: by worker, each once.
    sandbox: Vec<String>,
}

/// The workers that are there. A server works without: jobs then wait.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Workers {
    live: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat_at: Option<DateTime<Utc>>,
}

/// `GET /readyz`: what we need answers, and we are not going. The refusal names each thing that is amiss.
pub(super) async fn show(State(server): State<Server>) -> Result<Json<Readiness>> {
    let mut problems = Vec::new();
    let mut add = |pointer: &str, detail: &str| problems.push(Detail::new(pointer, UNAVAILABLE, detail));
    if server.draining.is_cancelled() {
        add("/draining", "the server was told to stop, and soon takes no more connections");
    }
    match timeout(PATIENCE, db::check_schema(&server.pool)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if !error.is_unavailable() => {
            tracing::warn!("not ready: {error}");
            add("/schema", "the database's schema is not one that we know");
        }
        Ok(Err(_)) | Err(_) => add("/database", "the database does not answer"),
    }
    match timeout(PATIENCE, server.store.check()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!("not ready: {error}");
            add("/store", "the blob store does not take files");
        }
        Err(_) => add("/store", "the blob store does not answer"),
    }
    if !problems.is_empty() {
        return Err(Error::not_ready(problems));
    }
    let seen = workers::list(&server.pool).await?;
    let live: Vec<_> = seen.iter().filter(|worker| worker.live).collect();
    let ok = || "ok".to_owned();
    Ok(Json(Readiness {
        status: "ready".to_owned(),
        database: ok(),
        schema: ok(),
        store: ok(),
        workers: Workers {
            live: live.len() as u64,
            last_heartbeat_at: seen.iter().map(|worker| worker.heartbeat_at).max(),
        },
        disk_free_bytes: server.store.free_bytes(),
        sandbox: sandboxes(live.iter().map(|worker| &worker.beat.capabilities)),
    }))
}

/// What workers say of their sandbox in `capabilities.sandbox`: a text.
fn sandboxes<'a>(capabilities: impl Iterator<Item = &'a serde_json::Value>) -> Vec<String> {
    let mut told: Vec<String> = capabilities
        .map(|capabilities| {
            capabilities.get("sandbox").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
        })
        .collect();
    told.sort_unstable();
    told.dedup();
    told
}
