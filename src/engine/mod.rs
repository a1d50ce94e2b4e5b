//! The engine: models, methods, measurements, reports. Pure and synchronous.
//!
//! All that it knows of the outside comes in through [`context::RunContext`]. [`job`] is what a run is given and what
//! it leaves; [`plan`] resolves a recipe against a model's header and reads no weights.

pub mod allocate;
pub mod calibrate;
pub mod checkpoint;
pub mod context;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod export;
mod findings;
pub mod foreign;
pub mod hash;
pub mod job;
pub mod kernels;
pub mod linalg;
mod map;
pub mod method;
pub mod model;
pub mod plan;
pub mod problem;
pub mod recipe;
pub mod report;
pub mod run;
