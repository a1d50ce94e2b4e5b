//! Jobs, their events and files as clients see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::db::jobs::{self, Job, JobEvent, JobFile, JobKind, JobState};
use crate::engine::plan::Plan;
use crate::id::{ArtifactId, DatasetId, JobId, ModelId};

/// A job. What is not there yet, or was not given, is absent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    id: JobId,
    kind: JobKind,
    state: JobState,
    attempt: u32,
    crashes: u32,
    priority: i32,
    labels: Value,
    created_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<ModelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration_dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    training_dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation_dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_model_id: Option<ModelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluate: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_requested_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<Attempt>>,
}

/// One start of a job and how it ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempt {
    number: u32,
    worker_id: Uuid,
    started_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

impl From<jobs::Attempt> for Attempt {
    fn from(attempt: jobs::Attempt) -> Self {
        Self {
            number: attempt.number,
            worker_id: attempt.worker_id,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome,
        }
    }
}

impl Shown {
    /// The same with its starts, first to last.
    pub(super) fn with_attempts(self, attempts: impl Iterator<Item = Attempt>) -> Self {
        Self { attempts: Some(attempts.collect()), ..self }
    }
}

/// The worker tells its estimate along with the progress that it is made from.
fn take_eta(progress: &mut Value) -> Option<u64> {
    progress.as_object_mut()?.shift_remove("eta_seconds")?.as_u64()
}

impl From<Job> for Shown {
    fn from(mut job: Job) -> Self {
        let eta_seconds = job.progress.as_mut().and_then(take_eta);
        Self {
            id: job.id,
            kind: job.kind,
            state: job.state,
            attempt: job.attempt,
            crashes: job.crashes,
            priority: job.priority,
            labels: job.labels,
            created_at: job.created_at,
            deadline_at: job.deadline_at,
            phase: job.phase,
            progress: job.progress,
            eta_seconds,
            waiting_reason: job.waiting_reason,
            error: job.error,
            model_id: job.model_id,
            dataset_id: job.dataset_id,
            calibration_dataset_id: job.calibration_dataset_id,
            training_dataset_id: job.training_dataset_id,
            validation_dataset_id: job.validation_dataset_id,
            evaluation_dataset_id: job.evaluation_dataset_id,
            reference_model_id: job.reference_model_id,
            retry_of: job.retry_of,
            recipe_name: job.recipe_name,
            recipe: job.recipe,
            evaluate: job.evaluate,
            plan: job.plan,
            started_at: job.started_at,
            finished_at: job.finished_at,
            cancel_requested_at: job.cancel_requested_at,
            attempts: None,
        }
    }
}

/// A line of a job's log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    seq: i64,
    at: DateTime<Utc>,
    kind: String,
    body: Value,
}

impl From<JobEvent> for Event {
    fn from(event: JobEvent) -> Self {
        Self { seq: event.seq, at: event.at, kind: event.kind, body: event.body }
    }
}

/// A file that a job left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    id: ArtifactId,
    path: String,
    format: String,
    size_bytes: u64,
    sha256: String,
    loaders: Vec<String>,
}

impl From<JobFile> for File {
    fn from(file: JobFile) -> Self {
        Self {
            id: file.id,
            path: file.path,
            format: file.format,
            size_bytes: file.size_bytes,
            sha256: file.sha256,
            loaders: file.loaders,
        }
    }
}
