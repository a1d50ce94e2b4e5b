//! What the tests share.

pub(crate) mod app;
pub(crate) mod cluster;
pub(crate) mod document;
pub(crate) mod engine;
pub(crate) mod program;
pub(crate) mod results;
pub(crate) mod worker;
