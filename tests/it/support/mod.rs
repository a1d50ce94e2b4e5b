//! What the tests share.

pub(crate) mod app;
pub(crate) mod cluster;
pub(crate) mod document;
pub(crate) mod engine;
pub(crate) mod faulty;
pub(crate) mod invariants;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod puppet;
pub(crate) mod results;
pub(crate) mod s3;
pub(crate) mod verified;
pub(crate) mod worker;
