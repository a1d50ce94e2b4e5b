//! A job as it is read.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{JobKind, JobState};
use crate::engine::plan::Plan;
use crate::id::{DatasetId, JobId, ModelId};

/// A job, with what its lease says of its progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which.
    pub id: JobId,
    /// Whose.
    pub tenant_id: Uuid,
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// What it does now; of one that failed, what it did then.
    pub phase: Option<String>,
    /// `{done, total, unit}` within the phase, while it runs; with `eta_seconds` where the worker knows how long the rest takes.
    pub progress: Option<Value>,
    /// How often it was claimed, less the claims that a worker gave back.
    pub attempt: u32,
    /// How often its process died under a living worker.
    pub crashes: u32,
    /// Why it waits, while it is queued: `model_validating`, `dataset_validating`, `no_worker`,
    /// `no_worker_with_memory`, `no_worker_with_disk`, `no_worker_with_device`, `backoff`, `behind`. None if nothing stands in its way.
    pub waiting_reason: Option<String>,
    /// Why it failed: `{code, detail, errors: [{pointer, code, detail}]}`, the first error's code and detail on top.
    pub error: Option<Value>,
    /// The recipe resolved against the model, if that was done at submission.
    pub plan: Option<Plan>,
    /// The preset or stored recipe that was named.
    pub recipe_name: Option<String>,
    /// The recipe as written.
    pub recipe: Option<Value>,
    /// What replaces the recipe's `evaluate`.
    pub evaluate: Option<Value>,
    /// Formats to write.
    pub formats: Vec<String>,
    /// Its owner's labels: an object of texts.
    pub labels: Value,
    /// Smaller runs first.
    pub priority: i32,
    /// Memory that it needs.
    pub memory_bytes: u64,
    /// Scratch space that it needs.
    pub disk_bytes: u64,
    /// Device that it needs.
    pub device: String,
    /// The model that it works on.
    pub model_id: Option<ModelId>,
    /// The dataset that it checks (`validate` alone).
    pub dataset_id: Option<DatasetId>,
    /// Text that statistics are taken from.
    pub calibration_dataset_id: Option<DatasetId>,
    /// Text that is trained on.
    pub training_dataset_id: Option<DatasetId>,
    /// Rows that choices are made on.
    pub validation_dataset_id: Option<DatasetId>,
    /// Rows that the report is made on.
    pub evaluation_dataset_id: Option<DatasetId>,
    /// The model that it is compared with.
    pub reference_model_id: Option<ModelId>,
    /// The job whose result it works on.
    pub source_job_id: Option<JobId>,
    /// The job that this one repeats.
    pub retry_of: Option<JobId>,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When it was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached its last state.
    pub finished_at: Option<DateTime<Utc>>,
    /// Not claimed before this.
    pub run_after: DateTime<Utc>,
    /// Given up after this.
    pub deadline_at: DateTime<Utc>,
    /// When it was asked to stop.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// Grows with each visible change.
    pub revision: i64,
}
