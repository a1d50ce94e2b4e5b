//! What an earlier job of the same kind found, where it was asked the same.

use serde_json::Value;

use crate::db::jobs::Job;
use crate::db::{Pool, Result};

/// The report of the last succeeded job of this kind on the same model and data by the same recipe. Whether all else is the same,
/// the program and the processor say, is for whoever uses it to check.
pub async fn earlier_report(pool: &Pool, job: &Job) -> Result<Option<Value>> {
    let query = sqlx::query_scalar!(
        r#"select report as "report!" from jobs
        where tenant_id = $1 and kind = $2 and model_id = $3 and state = 'succeeded' and report is not null
            and calibration_dataset_id is not distinct from $4 and training_dataset_id is not distinct from $5
            and recipe::jsonb = $6
        order by id desc limit 1"#,
        job.tenant_id,
        job.kind.as_str(),
        job.model_id.map(|id| id.0),
        job.calibration_dataset_id.map(|id| id.0),
        job.training_dataset_id.map(|id| id.0),
        job.recipe.clone(),
    );
    Ok(query.fetch_optional(pool).await?)
}
