//! The REST interface: one file a resource, `openapi.yaml` its contract.
//!
//! [`ROUTES`] lists every operation and builds the router, so that the list can be compared with the document. A handler
//! extracts, asks `db`, `store` or `engine::plan`, and wraps; a refusal is an [`error`], written out by [`layers`].

mod accept;
mod artifacts;
mod capabilities;
mod code;
mod compare;
mod connection;
mod datasets;
mod error;
mod extract;
mod fields;
mod frontier;
mod host;
mod idempotency;
mod jobs;
mod layers;
mod models;
mod operations;
mod page;
mod prefer;
mod range;
mod recipes;
mod routes;
mod serve;
mod tar;
mod tensors;
mod upload;
mod usage;
mod wait;
mod workers;

use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use code::{CODES, Code};
pub use error::{Detail, Document};
pub use host::HostRule;
pub use operations::OPENAPI_YAML;
pub use routes::{ROUTES, Route, router};
pub use serve::serve;

use crate::db;
use crate::store::Store;

/// What the server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a JSON body.
    pub json_bytes: usize,
    /// Bytes of an upload, all files together.
    pub upload_bytes: u64,
    /// Files of an upload.
    pub upload_files: usize,
    /// How long a request may take that moves no files.
    pub request: Duration,
    /// How long a request's head may take to arrive: also the time that a connection may be idle.
    pub head: Duration,
    /// How long a client may pause in an upload, or take nothing of an answer.
    pub stall: Duration,
    /// Open connections.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            json_bytes: 1 << 20,
            upload_bytes: 64 << 30,
            upload_files: 256,
            request: Duration::from_secs(30),
            head: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            connections: 2048,
        }
    }
}

/// What the handlers need. A clone shares all of it.
#[derive(Clone)]
pub struct State {
    /// The database.
    pub pool: db::Pool,
    /// The blobs.
    pub store: Store,
    /// What is allowed.
    pub limits: Limits,
    /// Which hosts are answered.
    pub host_rule: HostRule,
    /// Whose rows are seen.
    pub tenant: Uuid,
    /// Ids of jobs that changed: hints for those who wait.
    changes: broadcast::Sender<Uuid>,
    /// Ends waits when the server stops.
    stopping: CancellationToken,
}

impl State {
    /// The state of a server.
    pub fn new(pool: db::Pool, store: Store, limits: Limits, host_rule: HostRule) -> Self {
        // hints that a slow listener misses make it look for itself
        let (changes, _) = broadcast::channel(256);
        let stopping = CancellationToken::new();
        Self { pool, store, limits, host_rule, tenant: db::DEFAULT_TENANT, changes, stopping }
    }
}

#[cfg(test)]
mod tests;
