//! One binary for all integration tests: real Postgres, real files, real sockets, real models.

mod conformance;
mod golden;
mod hostile;
mod postgres;
mod queue;
mod store;
mod support;
mod tidy;
