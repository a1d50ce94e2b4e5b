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
mod watch;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
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

/// Listeners that may read a log by themselves at once: the rest of the connections is for requests.
const CATCHING_UP: usize = 4;

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
    /// Open event streams.
    pub streams: usize,
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
            streams: 1024,
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
    /// Jobs that someone waits for.
    watch: watch::Watch,
    /// A permit for each event stream that may be opened.
    streams: Arc<Semaphore>,
    /// A permit for each listener that may read the log by itself.
    catching_up: Arc<Semaphore>,
    /// Ends waits when the server stops.
    stopping: CancellationToken,
}

impl State {
    /// The state of a server.
    pub fn new(pool: db::Pool, store: Store, limits: Limits, host_rule: HostRule) -> Self {
        Self {
            pool,
            store,
            limits,
            host_rule,
            tenant: db::DEFAULT_TENANT,
            watch: watch::Watch::default(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            catching_up: Arc::new(Semaphore::new(CATCHING_UP)),
            stopping: CancellationToken::new(),
        }
    }
}

#[cfg(test)]
mod tests;
