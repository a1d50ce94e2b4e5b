//! What a model's results were measured to be, without the rest of their reports.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::db::{Pool, Result};
use crate::id::{DatasetId, JobId, ModelId};

/// A succeeded `compress` job that was given evaluation data.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Which.
    pub id: JobId,
    /// The preset or stored recipe that was named.
    pub recipe_name: Option<String>,
    /// Rows that it was measured on.
    pub evaluation_dataset_id: DatasetId,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// `/result/before` of its report.
    pub before: Option<Value>,
    /// `/result/after` of its report.
    pub after: Option<Value>,
    /// `/provenance/protocol` of its report.
    pub protocol: Option<Value>,
}

/// Every result of a model that was measured on evaluation data, newest first. Reads each report once, in the database.
pub async fn measured(pool: &Pool, tenant: Uuid, model: ModelId) -> Result<Vec<Measured>> {
    let query = sqlx::query!(
        r#"select j.id as "id: JobId", j.recipe_name, j.evaluation_dataset_id as "evaluation_dataset_id!: DatasetId",
            j.finished_at, r.result -> 'before' as before, r.result -> 'after' as after,
            r.provenance -> 'protocol' as protocol
        from jobs j, json_to_record(j.report) as r (result json, provenance json)
        where j.tenant_id = $1 and j.model_id = $2 and j.kind = 'compress' and j.state = 'succeeded'
            and j.report is not null and j.evaluation_dataset_id is not null
        order by j.id desc"#,
        tenant,
        model.0,
    )
    .map(|row| Measured {
        id: row.id,
        recipe_name: row.recipe_name,
        evaluation_dataset_id: row.evaluation_dataset_id,
        finished_at: row.finished_at,
        before: row.before,
        after: row.after,
        protocol: row.protocol,
    });
    Ok(query.fetch_all(pool).await?)
}
