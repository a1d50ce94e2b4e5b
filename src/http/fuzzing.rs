//! What reads texts of requests, for those who give it any text at all: `fuzz/`.

use http::HeaderMap;
use uuid::Uuid;

pub use super::range::{Asked, asked};
use super::{page, uploads};

/// The row that a cursor stands for; `None` where it is refused.
pub fn cursor(text: &str) -> Option<Uuid> {
    page::decode(text).ok()
}

/// The cursor after that row.
pub fn cursor_of(row: Uuid) -> String {
    page::encode(row)
}

/// Where the rest of an upload begins by its `Content-Range`; `None` where that is refused.
pub fn upload_start(headers: &HeaderMap, size_bytes: u64, part_size_bytes: u64) -> Option<u64> {
    uploads::start(headers, size_bytes, part_size_bytes).ok()
}
