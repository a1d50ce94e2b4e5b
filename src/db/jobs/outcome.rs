//! What came of jobs, in short: parts of their reports, which are long.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::db::{Pool, Result};
use crate::id::{DatasetId, JobId, ModelId};

/// What a succeeded job's report says on top. A part that the report lacks is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The job.
    pub id: JobId,
    /// The preset or stored recipe that was named.
    pub recipe_name: Option<String>,
    /// The recipe as written.
    pub recipe: Option<Value>,
    /// The rows that it was measured on.
    pub evaluation_dataset_id: Option<DatasetId>,
    /// When it was done.
    pub finished_at: Option<DateTime<Utc>>,
    /// `/result/verdict`
    pub verdict: Option<Value>,
    /// `/result/before`
    pub before: Option<Value>,
    /// `/result/after`
    pub after: Option<Value>,
    /// `/provenance/protocol`
    pub protocol: Option<Value>,
}

/// The outcomes of a model's compressions, newest first, at most `limit`.
pub async fn outcomes(pool: &Pool, tenant: Uuid, model: ModelId, limit: u32) -> Result<Vec<Outcome>> {
    let query = sqlx::query_as!(
        Outcome,
        r#"select id as "id: JobId", recipe_name, recipe,
            evaluation_dataset_id as "evaluation_dataset_id: DatasetId", finished_at,
            report #> '{result,verdict}' as verdict, report #> '{result,before}' as before,
            report #> '{result,after}' as after, report #> '{provenance,protocol}' as protocol
        from jobs where tenant_id = $1 and model_id = $2 and kind = 'compress' and report is not null
        order by id desc limit $3"#,
        tenant,
        model.0,
        i64::from(limit),
    );
    Ok(query.fetch_all(pool).await?)
}

/// The verdicts of those of these jobs that have a report.
pub async fn verdicts(pool: &Pool, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<Outcome>> {
    let query = sqlx::query_as!(
        Outcome,
        r#"select id as "id: JobId", recipe_name, null::json as recipe,
            evaluation_dataset_id as "evaluation_dataset_id: DatasetId", finished_at,
            report #> '{result,verdict}' as verdict, report #> '{result,before}' as before,
            report #> '{result,after}' as after, null::json as protocol
        from jobs where tenant_id = $1 and id = any($2) and report is not null"#,
        tenant,
        ids,
    );
    Ok(query.fetch_all(pool).await?)
}
