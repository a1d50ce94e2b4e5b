//! Many jobs at a glance, for whoever watches them: two statements for all of them, however many watch.

use serde_json::Value;
use uuid::Uuid;

use super::{JobEvent, JobState};
use crate::db::{Pool, Result};
use crate::id::{DatasetId, JobId, ModelId};

/// What changes of a job while it is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Glance {
    /// Which.
    pub id: JobId,
    /// Whose.
    pub tenant_id: Uuid,
    /// Where it stands.
    pub state: JobState,
    /// What it does now.
    pub phase: Option<String>,
    /// `{done, total, unit}` within the phase, while it runs.
    pub progress: Option<Value>,
    /// Grows with each visible change.
    pub revision: i64,
    /// The last line of its log. After the line of a terminal state there is none.
    pub last_seq: i64,
}

/// Those of the jobs that are there, in any order.
pub async fn glance(pool: &Pool, ids: &[Uuid]) -> Result<Vec<Glance>> {
    let query = sqlx::query_as!(
        Glance,
        r#"select j.id as "id!: JobId", j.tenant_id as "tenant_id!", j.state as "state!: JobState",
            coalesce(l.phase, j.phase) as "phase?", l.progress as "progress?",
            j.revision + coalesce(l.changes, 0) as "revision!", j.last_event_seq as "last_seq!"
        from jobs j left join job_leases l on l.job_id = j.id where j.id = any($1)"#,
        ids,
    );
    Ok(query.fetch_all(pool).await?)
}

/// The lines of several logs: of each job those after a number up to another, in order. `jobs` holds the id and the
/// two numbers.
pub async fn lines_between(pool: &Pool, jobs: &[(Uuid, i64, i64)]) -> Result<Vec<(Uuid, JobEvent)>> {
    let ids: Vec<Uuid> = jobs.iter().map(|(id, ..)| *id).collect();
    let after: Vec<i64> = jobs.iter().map(|(_, after, _)| *after).collect();
    let last: Vec<i64> = jobs.iter().map(|(.., last)| *last).collect();
    let query = sqlx::query!(
        r#"select e.job_id as "job_id!", e.seq as "seq!", e.at as "at!", e.kind as "kind!", e.body as "body!"
        from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as w (id, after_seq, last_seq)
        join job_events e on e.job_id = w.id and e.seq > w.after_seq and e.seq <= w.last_seq
        order by e.job_id, e.seq"#,
        &ids,
        &after,
        &last,
    )
    .map(|row| (row.job_id, JobEvent { seq: row.seq, at: row.at, kind: row.kind, body: row.body }));
    Ok(query.fetch_all(pool).await?)
}

/// The job that validates a model. When that has ended the model is decided.
pub async fn validation_of_model(pool: &Pool, id: ModelId) -> Result<Option<JobId>> {
    let query = sqlx::query_scalar!(
        r#"select id as "id: JobId" from jobs where model_id = $1 and kind = 'validate' order by id desc limit 1"#,
        id.0
    );
    Ok(query.fetch_optional(pool).await?)
}

/// The job that validates a dataset. When that has ended the dataset is decided.
pub async fn validation_of_dataset(pool: &Pool, id: DatasetId) -> Result<Option<JobId>> {
    let query = sqlx::query_scalar!(
        r#"select id as "id: JobId" from jobs where dataset_id = $1 and kind = 'validate' order by id desc limit 1"#,
        id.0
    );
    Ok(query.fetch_optional(pool).await?)
}
