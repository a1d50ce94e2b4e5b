//! One binary for all integration tests: real Postgres, real files, real sockets, real models.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may fail where it stands

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
mod uploads;
