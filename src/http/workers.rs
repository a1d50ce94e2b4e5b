//! The workers: who is there, what each may use, and whether it still says that it lives.

use axum::Json;
use chrono::{DateTime, Utc};
use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::App;
use super::error::Result;
use super::extract::Params;
use super::page::List;
use crate::db;
use crate::db::workers::WorkerRow;

/// A worker as clients see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    id: Uuid,
    host: String,
    version: String,
    is_live: bool,
    running: u64,
    memory_bytes: u64,
    disk_bytes: u64,
    devices: Vec<String>,
    capabilities: Value,
    started_at: DateTime<Utc>,
    heartbeat_at: DateTime<Utc>,
}

impl From<WorkerRow> for Shown {
    fn from(row: WorkerRow) -> Self {
        let beat = row.beat;
        Self {
            id: beat.id,
            host: beat.host,
            version: beat.version,
            is_live: row.live,
            running: row.running,
            memory_bytes: beat.memory_bytes,
            disk_bytes: beat.disk_bytes,
            devices: beat.devices,
            capabilities: beat.capabilities,
            started_at: row.started_at,
            heartbeat_at: row.heartbeat_at,
        }
    }
}

/// `GET /v1/workers`
pub(super) async fn list(app: App, uri: Uri) -> Result<Json<List<Shown>>> {
    Params::of(&uri, &[])?;
    let workers = db::workers::list(&app.pool).await?;
    Ok(Json(List::whole(workers.into_iter().map(Shown::from).collect())))
}
