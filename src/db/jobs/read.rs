//! What can be read of jobs.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Job, JobKind, JobState};
use crate::db::{Pool, Result};
use crate::id::{ArtifactId, JobId, ModelId};

/// Which jobs, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this kind; without it all but `validate`.
    pub kind: Option<JobKind>,
    /// In this state.
    pub state: Option<JobState>,
    /// On this model.
    pub model_id: Option<ModelId>,
    /// By this preset or stored recipe.
    pub recipe_name: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// At most so many.
    pub limit: u32,
    /// Only jobs older than this one: the last of the page before.
    pub before: Option<Uuid>,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    /// 1 and up, without a gap.
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// `state`, or what the worker called it.
    pub kind: String,
    /// The rest.
    pub body: Value,
}

/// A file that a job left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFile {
    /// Which.
    pub id: ArtifactId,
    /// The job that left it.
    pub job_id: JobId,
    /// `artifact`, `report`, `checkpoint`, `statistics`.
    pub role: String,
    /// Its path in the artifact.
    pub path: String,
    /// `safetensors`, `json`, …
    pub format: String,
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
    /// Runtimes that load it.
    pub loaders: Vec<String>,
    /// When it was published.
    pub created_at: DateTime<Utc>,
}

/// One claim of a job and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 and up.
    pub number: u32,
    /// Who ran it.
    pub worker_id: Uuid,
    /// From when.
    pub started_at: DateTime<Utc>,
    /// Until when.
    pub ended_at: Option<DateTime<Utc>>,
    /// `succeeded`, `failed`, `cancelled`, `expired`, `crashed`, `lost`.
    pub outcome: Option<String>,
}

/// A job.
pub async fn find(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Option<Job>> {
    todo!("{pool:?} {tenant} {id:?}")
}

/// Jobs, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &JobFilter) -> Result<Vec<Job>> {
    todo!("{pool:?} {tenant} {filter:?}")
}

/// Up to `limit` lines of a job's log after number `after_seq`.
pub async fn events(pool: &Pool, id: JobId, after_seq: i64, limit: u32) -> Result<Vec<JobEvent>> {
    todo!("{pool:?} {id:?} {after_seq} {limit}")
}

/// A job's claims, first to last.
pub async fn attempts(pool: &Pool, id: JobId) -> Result<Vec<Attempt>> {
    todo!("{pool:?} {id:?}")
}

/// A succeeded job's report.
pub async fn report(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Option<Value>> {
    todo!("{pool:?} {tenant} {id:?}")
}

/// The files that a job published, by role and path.
pub async fn files(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Vec<JobFile>> {
    todo!("{pool:?} {tenant} {id:?}")
}

/// One file that a job published.
pub async fn file(pool: &Pool, tenant: Uuid, id: ArtifactId) -> Result<Option<JobFile>> {
    todo!("{pool:?} {tenant} {id:?}")
}
