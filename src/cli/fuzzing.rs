//! What reads a server's answers, for those who give it any bytes at all: `fuzz/`.

pub use super::upload::Upload;

/// Reads what a server says of an upload; `None` where it can't be read.
pub fn upload(answer: &[u8]) -> Option<Upload> {
    serde_json::from_slice(answer).ok()
}
