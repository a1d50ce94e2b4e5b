//! New jobs.

use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::change::log_state;
use super::read::find_in;
use super::{Job, JobKind, JobState};
use crate::db::{Conflict, Result, as_written, bigint};
use crate::engine::plan::Plan;
use crate::id::{DatasetId, JobId, ModelId};

/// A day.
const DEFAULT_DEADLINE_SECONDS: u32 = 24 * 60 * 60;

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
    hold_inputs(conn, tenant, new).await?;
    let id = JobId::new();
    sqlx::query!(
        "insert into jobs (id, tenant_id, kind, model_id, dataset_id, calibration_dataset_id, training_dataset_id,
            validation_dataset_id, evaluation_dataset_id, reference_model_id, source_job_id, retry_of, recipe_name,
            recipe, evaluate, plan, formats, labels, priority, memory_bytes, disk_bytes, device, deadline_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::json, $15::text::json, $16, $17, $18, $19, $20, $21, $22,
            now() + make_interval(secs => $23))",
        id.0,
        tenant,
        new.kind.as_str(),
        new.model_id.map(|id| id.0),
        new.dataset_id.map(|id| id.0),
        new.calibration_dataset_id.map(|id| id.0),
        new.training_dataset_id.map(|id| id.0),
        new.validation_dataset_id.map(|id| id.0),
        new.evaluation_dataset_id.map(|id| id.0),
        new.reference_model_id.map(|id| id.0),
        new.source_job_id.map(|id| id.0),
        new.retry_of.map(|id| id.0),
        new.recipe_name,
        new.recipe.as_ref().map(as_written),
        new.evaluate.as_ref().map(as_written),
        new.plan.as_ref().map(Json) as _,
        &new.formats,
        if new.labels.is_null() { Value::Object(Map::new()) } else { new.labels.clone() },
        new.priority,
        bigint(new.memory_bytes),
        bigint(new.disk_bytes),
        new.device.as_deref().unwrap_or("cpu"),
        f64::from(new.deadline_seconds.unwrap_or(DEFAULT_DEADLINE_SECONDS)),
    )
    .execute(&mut *conn)
    .await?;
    log_state(conn, id, &json!({ "state": JobState::Queued })).await?;
    find_in(conn, tenant, id).await
}

/// Sees that the models, datasets and jobs that a new job names are there, and keeps them from being deleted until the
/// transaction ends: a foreign key alone would accept what was marked as deleted, or is another tenant's.
async fn hold_inputs(conn: &mut PgConnection, tenant: Uuid, new: &NewJob) -> Result<()> {
    let models = [("model_id", new.model_id), ("reference_model_id", new.reference_model_id)];
    for (column, id) in models {
        let Some(id) = id else { continue };
        let there = sqlx::query!(
            "select id from models where id = $1 and tenant_id = $2 and deleted_at is null for share",
            id.0,
            tenant,
        );
        missing_unless(column, there.fetch_optional(&mut *conn).await?.is_some())?;
    }
    let datasets = [
        ("dataset_id", new.dataset_id),
        ("calibration_dataset_id", new.calibration_dataset_id),
        ("training_dataset_id", new.training_dataset_id),
        ("validation_dataset_id", new.validation_dataset_id),
        ("evaluation_dataset_id", new.evaluation_dataset_id),
    ];
    for (column, id) in datasets {
        let Some(id) = id else { continue };
        let there = sqlx::query!(
            "select id from datasets where id = $1 and tenant_id = $2 and deleted_at is null for share",
            id.0,
            tenant,
        );
        missing_unless(column, there.fetch_optional(&mut *conn).await?.is_some())?;
    }
    for (column, id) in [("source_job_id", new.source_job_id), ("retry_of", new.retry_of)] {
        let Some(id) = id else { continue };
        let there = sqlx::query!("select id from jobs where id = $1 and tenant_id = $2 for key share", id.0, tenant);
        missing_unless(column, there.fetch_optional(&mut *conn).await?.is_some())?;
    }
    Ok(())
}

fn missing_unless(column: &str, there: bool) -> Result<()> {
    if there { Ok(()) } else { Err(Conflict::Missing { column: column.to_owned() }.into()) }
}
