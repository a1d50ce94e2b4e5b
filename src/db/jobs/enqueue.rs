//! New jobs.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Job, JobKind};
use crate::db::Result;
use crate::engine::plan::Plan;
use crate::id::{DatasetId, JobId, ModelId};

/// A job that is to be queued. What each kind needs is held by the table's constraints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewJob {
    /// What it does; `compress` by default.
    pub kind: JobKind,
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
    /// The preset or stored recipe that was named.
    pub recipe_name: Option<String>,
    /// The recipe as written.
    pub recipe: Option<Value>,
    /// What replaces the recipe's `evaluate`.
    pub evaluate: Option<Value>,
    /// The recipe resolved against the model, where that could be done.
    pub plan: Option<Plan>,
    /// Formats to write.
    pub formats: Vec<String>,
    /// Seconds from now after which it is given up; a day if none.
    pub deadline_seconds: Option<u32>,
    /// Smaller runs first.
    pub priority: i32,
    /// An object of texts; null counts as an empty one.
    pub labels: Value,
    /// Memory that it needs.
    pub memory_bytes: u64,
    /// Scratch space that it needs.
    pub disk_bytes: u64,
    /// Device that it needs; `cpu` if none.
    pub device: Option<String>,
}

/// Queues a job in the caller's transaction, and hints at it when that commits.
///
/// # Errors
///
/// [`crate::db::Conflict::Missing`] where a model or dataset that it names is not there, belongs to another tenant or was
/// deleted; [`crate::db::Conflict::Refused`] where the kind needs something that is not given.
pub async fn enqueue(conn: &mut PgConnection, tenant: Uuid, new: &NewJob) -> Result<Job> {
    todo!("{conn:?} {tenant} {new:?}")
}
