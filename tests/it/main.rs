//! One binary for all integration tests: real Postgres, real files, real sockets, real models.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may fail where it stands

mod artifacts;
mod backup;
mod compare;
mod conformance;
mod connection;
mod contract;
mod corpus;
mod crash;
mod dashboard;
mod database_away;
mod datasets;
mod deletes;
mod faults;
mod first_start;
mod frontier;
mod golden;
mod hostile;
mod http_rules;
mod idempotency;
mod job_details;
mod jobs;
mod key_commands;
mod keys;
mod limits;
mod logs;
mod metrics;
mod models;
mod postgres;
mod queue;
mod real_results;
mod remote;
mod retention;
mod retry;
mod sandbox;
mod store;
mod stream;
mod support;
mod tar;
mod tensors;
mod tidy;
mod uploads;
mod usage;
mod verify_command;
mod verify_report;
