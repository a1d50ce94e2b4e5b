//! Why the blob store could not do what it was asked to.

use std::io;

use super::Digest;
use crate::telemetry::metrics;

/// The blob store's error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such blob.
    #[error("there is no blob {0}")]
    NotFound(Digest),
    /// The disk or quota is full.
    #[error("the blob store is full: free some space, or give it a larger volume")]
    Full(#[source] io::Error),
    /// The object store can't be reached, or refuses us. Another try may help.
    #[error("the blob store can't be reached")]
    Unavailable(#[source] object_store::Error),
    /// A blob's bytes are not those that it is named after.
    #[error("blob {expected} is damaged: its bytes hash to {found}")]
    Corrupt {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The disk failed.
    #[error("the blob store's folder could not be {doing}")]
    Io {
        /// `read`, `written`, `opened`, …
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The store's address makes no sense.
    #[error("'{given}' is not a store: {why}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong and what is allowed.
        why: String,
    },
}

/// The blob store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on file operations; a full disk is told apart.
    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                metrics::store_failed("full");
                Self::Full(source)
            }
            _ => {
                metrics::store_failed("io");
                Self::Io { doing, source }
            }
        }
    }

    /// As [`Error::io`], for operations on one blob.
    pub(super) fn blob_io(digest: Digest, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound(digest),
            _ => Self::io(doing)(source),
        }
    }

    /// For `map_err` on object store operations that name no blob.
    pub(super) fn remote(source: object_store::Error) -> Self {
        metrics::store_failed("unavailable");
        Self::Unavailable(source)
    }

    /// For `map_err` on object store operations on one blob.
    pub(super) fn blob_remote(digest: Digest) -> impl FnOnce(object_store::Error) -> Self {
        move |source| match source {
            object_store::Error::NotFound { .. } => Self::NotFound(digest),
            source => Self::remote(source),
        }
    }

    /// Whether the same call may succeed later without anyone's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_missing_blob_are_told_apart() {
        // The kernel's own full disk.
        let full = std::fs::write("/dev/full", b"x").unwrap_err();
        assert!(matches!(Error::io("written")(full), Error::Full(_)));
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        assert!(matches!(Error::io("read")(missing()), Error::Io { .. }));
        assert!(matches!(Error::blob_io(Digest::of(b""), "read")(missing()), Error::NotFound(_)));
    }
}
