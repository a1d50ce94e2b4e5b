//! What can be read of jobs.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Job, JobKind, JobState};
use crate::db::{Pool, Result, unsigned};
use crate::engine::plan::Plan;
use crate::id::{ArtifactId, DatasetId, JobId, ModelId};

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
    /// Submitted after this.
    pub created_after: Option<DateTime<Utc>>,
    /// Submitted before this.
    pub created_before: Option<DateTime<Utc>>,
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

/// `select`s jobs with their leases as [`Job`]s; what comes after the `from` is given.
macro_rules! job_query {
    ($tail:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            r#"select j.id as "id: JobId", j.tenant_id, j.kind as "kind: JobKind", j.state as "state: JobState",
                coalesce(l.phase, j.phase) as phase, l.progress as "progress?", j.attempt, j.crashes,
                j.error, j.plan as "plan: Json<Plan>", j.recipe_name, j.recipe, j.evaluate, j.formats, j.labels,
                j.priority, j.memory_bytes, j.disk_bytes, j.device, j.model_id as "model_id: ModelId",
                j.dataset_id as "dataset_id: DatasetId",
                j.calibration_dataset_id as "calibration_dataset_id: DatasetId",
                j.training_dataset_id as "training_dataset_id: DatasetId",
                j.validation_dataset_id as "validation_dataset_id: DatasetId",
                j.evaluation_dataset_id as "evaluation_dataset_id: DatasetId",
                j.reference_model_id as "reference_model_id: ModelId", j.source_job_id as "source_job_id: JobId",
                j.retry_of as "retry_of: JobId", j.created_at, j.started_at, j.finished_at, j.run_after, j.deadline_at,
                j.cancel_requested_at, j.revision + coalesce(l.changes, 0) as "revision!",
                case
                    when j.state <> 'queued' then null
                    when j.kind <> 'validate' and exists (select from models m
                        where m.id in (j.model_id, j.reference_model_id) and m.state = 'validating')
                        then 'model_validating'
                    when j.kind <> 'validate' and exists (select from datasets d
                        where d.id in (j.calibration_dataset_id, j.training_dataset_id, j.validation_dataset_id,
                            j.evaluation_dataset_id) and d.state = 'validating')
                        then 'dataset_validating'
                    when live.workers = 0 then 'no_worker'
                    when live.with_memory = 0 then 'no_worker_with_memory'
                    when live.with_disk = 0 then 'no_worker_with_disk'
                    when live.with_device = 0 then 'no_worker_with_device'
                    when j.run_after > now() then 'backoff'
                    when exists (select from jobs o where o.state in ('running', 'cancelling')) then 'behind'
                    when exists (select from jobs o where o.state = 'queued' and o.run_after <= now()
                        and (o.priority, o.run_after, o.id) < (j.priority, j.run_after, j.id)) then 'behind'
                end as waiting_reason
            from jobs j left join job_leases l on l.job_id = j.id
            left join lateral (
                select count(*) as workers,
                    count(*) filter (where w.memory_bytes >= j.memory_bytes) as with_memory,
                    count(*) filter (where w.memory_bytes >= j.memory_bytes
                        and w.disk_bytes >= greatest(j.disk_bytes, 1)) as with_disk,
                    count(*) filter (where w.memory_bytes >= j.memory_bytes
                        and w.disk_bytes >= greatest(j.disk_bytes, 1) and j.device = any(w.devices)) as with_device
                from workers w where j.state = 'queued' and w.heartbeat_at > now() - interval '1 minute') live on true
            "# + $tail
            $(, $arg)*
        )
        .map(|row| Job {
            id: row.id,
            tenant_id: row.tenant_id,
            kind: row.kind,
            state: row.state,
            phase: row.phase,
            progress: row.progress,
            attempt: row.attempt.unsigned_abs(),
            crashes: row.crashes.unsigned_abs(),
            waiting_reason: row.waiting_reason,
            error: row.error,
            plan: row.plan.map(|json| json.0),
            recipe_name: row.recipe_name,
            recipe: row.recipe,
            evaluate: row.evaluate,
            formats: row.formats,
            labels: row.labels,
            priority: row.priority,
            memory_bytes: unsigned(row.memory_bytes),
            disk_bytes: unsigned(row.disk_bytes),
            device: row.device,
            model_id: row.model_id,
            dataset_id: row.dataset_id,
            calibration_dataset_id: row.calibration_dataset_id,
            training_dataset_id: row.training_dataset_id,
            validation_dataset_id: row.validation_dataset_id,
            evaluation_dataset_id: row.evaluation_dataset_id,
            reference_model_id: row.reference_model_id,
            source_job_id: row.source_job_id,
            retry_of: row.retry_of,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            run_after: row.run_after,
            deadline_at: row.deadline_at,
            cancel_requested_at: row.cancel_requested_at,
            revision: row.revision,
        })
    };
}

/// A job.
pub async fn find(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Option<Job>> {
    Ok(job_query!("where j.id = $1 and j.tenant_id = $2", id.0, tenant).fetch_optional(pool).await?)
}

/// A job that is there, in the caller's transaction.
pub(super) async fn find_in(conn: &mut PgConnection, tenant: Uuid, id: JobId) -> Result<Job> {
    Ok(job_query!("where j.id = $1 and j.tenant_id = $2", id.0, tenant).fetch_one(conn).await?)
}

/// A job that is there, whosever it is.
pub(super) async fn find_any_in(conn: &mut PgConnection, id: JobId) -> Result<Job> {
    Ok(job_query!("where j.id = $1", id.0).fetch_one(conn).await?)
}

/// Jobs, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &JobFilter) -> Result<Vec<Job>> {
    let label = filter.label.as_ref().map(|(name, value)| json!({ name: value }));
    let query = job_query!(
        "where j.tenant_id = $1 and (j.kind = $2 or $2::text is null and j.kind <> 'validate')
            and ($3::text is null or j.state = $3) and ($4::uuid is null or j.model_id = $4)
            and ($5::text is null or j.recipe_name = $5) and ($6::jsonb is null or j.labels @> $6)
            and ($7::timestamptz is null or j.created_at > $7) and ($8::timestamptz is null or j.created_at < $8)
            and ($9::uuid is null or j.id < $9)
        order by j.id desc limit $10",
        tenant,
        filter.kind.map(JobKind::as_str),
        filter.state.map(JobState::as_str),
        filter.model_id.map(|id| id.0),
        filter.recipe_name.as_deref(),
        label,
        filter.created_after,
        filter.created_before,
        filter.before,
        i64::from(filter.limit),
    );
    Ok(query.fetch_all(pool).await?)
}

/// Up to `limit` lines of a job's log after number `after_seq`.
pub async fn events(pool: &Pool, id: JobId, after_seq: i64, limit: u32) -> Result<Vec<JobEvent>> {
    let query = sqlx::query_as!(
        JobEvent,
        "select seq, at, kind, body from job_events where job_id = $1 and seq > $2 order by seq limit $3",
        id.0,
        after_seq,
        i64::from(limit),
    );
    Ok(query.fetch_all(pool).await?)
}

/// A job's claims, first to last.
pub async fn attempts(pool: &Pool, id: JobId) -> Result<Vec<Attempt>> {
    let query = sqlx::query!(
        "select number, worker_id, started_at, ended_at, outcome from job_attempts where job_id = $1 order by number",
        id.0
    )
    .map(|row| Attempt {
        number: row.number.unsigned_abs(),
        worker_id: row.worker_id,
        started_at: row.started_at,
        ended_at: row.ended_at,
        outcome: row.outcome,
    });
    Ok(query.fetch_all(pool).await?)
}

/// A succeeded job's report.
pub async fn report(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Option<Value>> {
    let query = sqlx::query_scalar!("select report from jobs where id = $1 and tenant_id = $2", id.0, tenant);
    Ok(query.fetch_optional(pool).await?.flatten())
}

/// `select`s files as [`JobFile`]s; what comes after the `from` is given.
macro_rules! file_query {
    ($tail:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            r#"select id as "id: ArtifactId", job_id as "job_id: JobId", role, path, format,
                encode(sha256, 'hex') as "sha256!", size_bytes, loaders, created_at
            from job_files "# + $tail
            $(, $arg)*
        )
        .map(|row| JobFile {
            id: row.id,
            job_id: row.job_id,
            role: row.role,
            path: row.path,
            format: row.format,
            sha256: row.sha256,
            size_bytes: unsigned(row.size_bytes),
            loaders: row.loaders,
            created_at: row.created_at,
        })
    };
}

/// The files that a job published, by role and path.
pub async fn files(pool: &Pool, tenant: Uuid, id: JobId) -> Result<Vec<JobFile>> {
    let query = file_query!("where job_id = $1 and tenant_id = $2 order by role, path", id.0, tenant);
    Ok(query.fetch_all(pool).await?)
}

/// One file that a job published.
pub async fn file(pool: &Pool, tenant: Uuid, id: ArtifactId) -> Result<Option<JobFile>> {
    Ok(file_query!("where id = $1 and tenant_id = $2", id.0, tenant).fetch_optional(pool).await?)
}
