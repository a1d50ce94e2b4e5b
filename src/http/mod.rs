//! The REST interface: one file a resource, `openapi.yaml` its contract.
//!
//! [`ROUTES`] lists every operation and builds the router, so that the list can be compared with the document. A handler
//! extracts, asks `db`, `store` or `engine::plan`, and wraps; a refusal is an [`error`], written out by [`layers`].

mod accept;
mod api_keys;
mod artifacts;
mod auth;
mod capabilities;
mod code;
mod compare;
mod connection;
mod dashboard;
mod datasets;
mod error;
mod extract;
mod fields;
mod frontier;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod idempotency;
mod jobs;
mod layers;
mod metrics;
mod models;
mod nulls;
mod operations;
mod origin;
mod page;
mod prefer;
mod range;
mod ready;
mod recipes;
mod routes;
mod serve;
mod sources;
mod tar;
mod tensors;
mod upload;
mod uploads;
mod usage;
mod wait;
mod watch;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use auth::{App, Known, Limiter};
pub use code::{CODES, Code};
pub use error::{Detail, Document};
pub use host::HostRule;
pub use metrics::serve_worker;
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
    /// Bytes of an upload: all files of a form together, or the one that comes in parts.
    pub upload_bytes: u64,
    /// Files of an upload.
    pub upload_files: usize,
    /// Uploads in parts that a tenant may have on their way at once.
    pub live_uploads: u32,
    /// Bytes of a part; more where there would be too many parts.
    pub part_bytes: u64,
    /// How long a part may take, however steadily it comes.
    pub part_time: Duration,
    /// How long an upload in parts is kept.
    pub upload_lifetime: Duration,
    /// How long a request may take that moves no files.
    pub request: Duration,
    /// How long a request's head may take to arrive: also the time that a connection may be idle.
    pub head: Duration,
    /// How long a client may pause in an upload, or take nothing of an answer.
    pub stall: Duration,
    /// How long the server still answers after it was told to stop, and says in `/readyz` that it is going.
    pub linger: Duration,
    /// Open connections.
    pub connections: usize,
    /// Requests that a key may make in a minute; 0 for any number.
    pub rate_per_minute: u32,
    /// Whether those without a key, where none is asked for, may together make no more either.
    pub is_rate_for_all: bool,
    /// Open event streams.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            json_bytes: 1 << 20,
            upload_bytes: 64 << 30,
            upload_files: 256,
            live_uploads: 64,
            part_bytes: 16 << 20,
            part_time: Duration::from_secs(600),
            upload_lifetime: Duration::from_hours(7 * 24),
            request: Duration::from_secs(30),
            head: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            connections: 2048,
            rate_per_minute: 6000,
            is_rate_for_all: false,
            streams: 1024,
        }
    }
}

/// What the server works with. A clone shares all of it. Handlers take [`App`], which knows whose rows are seen.
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
    /// What is remembered of keys.
    known: Known,
    /// How often each may ask.
    limiter: Limiter,
    /// Jobs that someone waits for.
    watch: watch::Watch,
    /// A permit for each event stream that may be opened.
    streams: Arc<Semaphore>,
    /// A permit for each listener that may read the log by itself.
    catching_up: Arc<Semaphore>,
    /// The server was told to stop, and still answers.
    draining: CancellationToken,
    /// Ends waits when the server stops.
    stopping: CancellationToken,
}

impl State {
    /// The state of a server.
    pub fn new(pool: db::Pool, store: Store, limits: Limits, host_rule: HostRule) -> Self {
        // before the first request is counted
        crate::telemetry::metrics::start();
        let limiter = Limiter::new(limits.rate_per_minute, limits.is_rate_for_all);
        Self {
            pool,
            store,
            limits,
            host_rule,
            known: Known::default(),
            limiter,
            watch: watch::Watch::default(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            catching_up: Arc::new(Semaphore::new(CATCHING_UP)),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
        }
    }
}

#[cfg(test)]
mod tests;
