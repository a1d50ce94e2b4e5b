//! One binary for all integration tests: real Postgres, real files, real sockets, real models.

mod artifacts;
mod conformance;
mod contract;
mod crash;
mod datasets;
mod golden;
mod hostile;
mod http_rules;
mod jobs;
mod models;
mod postgres;
mod queue;
mod store;
mod support;
mod tidy;
