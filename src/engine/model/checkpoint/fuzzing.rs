//! The reader of headers, for those who give it any bytes at all: `fuzz/`.

pub use super::header::Entry;
use crate::engine::findings::Findings;
use crate::engine::problem::Problem;

/// Reads and checks the header of a safetensors file of which `file` are all bytes.
///
/// # Errors
///
/// What is wrong with it.
pub fn header(file: &[u8]) -> Result<Vec<Entry>, Vec<Problem>> {
    super::header::parse("model.safetensors", file).map(|header| header.entries).map_err(Findings::into_problems)
}
