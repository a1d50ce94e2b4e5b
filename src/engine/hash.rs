//! SHA-256 of files, in hex.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::Result;
use super::map::Map;

/// SHA-256 of a file's bytes, in hex. Through a map: no memory, and no copy, which is a fifth of the time.
pub fn sha256_file(path: &Path) -> Result<String> {
    Ok(sha256(Map::open(path)?.bytes()))
}

/// SHA-256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
