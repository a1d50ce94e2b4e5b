//! Whether the server can work, and if not, why.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// Whether jobs' processes are kept from the rest of their machine: `whole`, `partial`, `none`, `unknown`, each once.
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
    match timeout(PATIENCE, db::check_current(&server.pool)).await {
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

/// What workers say of their sandbox, in a word each: `/v1/workers` has it whole.
fn sandboxes<'a>(capabilities: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut told: Vec<String> = capabilities.map(|capabilities| sandbox(&capabilities["sandbox"]).to_owned()).collect();
    told.sort_unstable();
    told.dedup();
    told
}

fn sandbox(told: &Value) -> &'static str {
    let is_empty = |name: &str| told[name].as_array().is_some_and(Vec::is_empty);
    match (told["landlock_version"].as_u64(), told["seccomp"].as_bool()) {
        (None, _) | (_, None) => "unknown",
        (Some(0), Some(false)) => "none",
        (Some(1..), Some(true)) if is_empty("missing") && is_empty("reached") => "whole",
        _ => "partial",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sandbox_is_told_in_a_word() {
        let told = |landlock_version, seccomp, reached: &[&str]| {
            let told =
                json!({ "landlock_version": landlock_version, "seccomp": seccomp, "missing": [], "reached": reached });
            sandbox(&told)
        };
        assert_eq!((told(6, true, &[]), told(6, true, &["read a file"])), ("whole", "partial"));
        assert_eq!((told(0, true, &[]), told(0, false, &[]), sandbox(&Value::Null)), ("partial", "none", "unknown"));
    }
}
