//! What models and datasets have in common: files, and a state that a job decides.

use uuid::Uuid;

/// Where an uploaded model or dataset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
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

/// All files together.
pub(super) fn total_bytes(files: &[NewFile]) -> u64 {
    files.iter().fold(0, |total, file| total.saturating_add(file.size_bytes))
}

/// Files as the arrays that `unnest` takes.
pub(super) struct Columns {
    pub(super) paths: Vec<String>,
    pub(super) sha256s: Vec<String>,
    pub(super) sizes_bytes: Vec<i64>,
}

impl Columns {
    pub(super) fn of(files: &[NewFile]) -> Self {
        Self {
            paths: files.iter().map(|file| file.path.clone()).collect(),
            sha256s: files.iter().map(|file| file.sha256.clone()).collect(),
            sizes_bytes: files.iter().map(|file| super::bigint(file.size_bytes)).collect(),
        }
    }
}
