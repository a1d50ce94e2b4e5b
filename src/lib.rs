//! pare makes Transformer models smaller and proves what that cost.
//!
//! # Map
//!
//! - [`engine`]: the compression methods, the models they work on, the measurements and the report. Pure and
//!   synchronous: it knows no HTTP, SQL, async, environment, network or ambient clock.
//! - `store`: blobs by their hash, in a local folder or an object store.
//! - [`db`]: all SQL. [`db::jobs`] is the queue.
//! - [`backup`]: database and blobs into a folder, and back.
//! - [`key`]: the text of an API key.
//! - [`postgres`]: the private cluster's supervisor.
//! - `worker`: claims jobs, holds their leases, runs each in a child process, publishes.
//! - [`http`]: the REST interface, one file a resource. Never imports `worker`, nor the other way round.
//! - `cli`: the same engine without a server.
//!
//! # Glossary
//!
//! - *site*: one place in a model that holds a linear map or an embedding table, `encoder.3.mlp.up`.
//! - *map*: the numbers of a site, in one of several *forms* (dense, grouped, product, …).
//! - *layout*: a map's form and shape without its numbers.
//! - *method*: one compression technique; a *stage* is a method with parameters and targets; a *recipe* is a list of stages.
//! - *plan*: a recipe resolved against one model. *report*: what happened when it ran.
//! - *artifact*: a file that a job leaves behind.

pub mod backup;
pub mod cli;
pub mod config;
pub mod db;
pub mod engine;
pub mod http;
pub mod id;
pub mod key;
pub mod postgres;
pub mod store;
pub mod telemetry;
pub mod worker;
