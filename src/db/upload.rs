//! What models and datasets have in common: files, and a state that a job decides.

use uuid::Uuid;

/// Where an uploaded model or dataset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadState {
    /// A job is yet to check it.
    Validating,
    /// It can be used.
    Ready,
    /// It can't, and its `errors` say why.
    Invalid,
}

impl UploadState {
    /// As it stands in the table and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Ready => "ready",
            Self::Invalid => "invalid",
        }
    }

    /// From the table, where a constraint allows these three.
    pub(super) fn from_column(text: &str) -> Self {
        match text {
            "ready" => Self::Ready,
            "validating" => Self::Validating,
            _ => Self::Invalid,
        }
    }
}

/// A file of a model or dataset that is to be stored; its blob is in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// What its owner calls it. A label.
    pub path: String,
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

/// A stored file of a model or dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// What its owner calls it. A label.
    pub path: String,
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListFilter {
    /// At most so many rows.
    pub limit: u32,
    /// Only rows older than this one: the last of the page before.
    pub before: Option<Uuid>,
}
