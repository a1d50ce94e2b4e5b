//! `POST /v1/jobs`: a job is checked as far as that can be done now, planned if all it names is ready, and queued.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, RETRY_AFTER};
use http::{HeaderMap, Uri};
use serde_json::Value;
use sqlx::PgConnection;

use super::plan::{self, Inputs, Written};
use super::read::{LOOK_AGAIN, etag};
use super::request::{Request, Role, Source};
use super::shown::Shown;
use crate::db;
use crate::db::jobs::{Job, JobKind, NewJob};
use crate::engine::plan::Plan;
use crate::engine::problem::Code;
use crate::http::error::{Detail, Error, Result};
use crate::http::extract::{JsonBody, Params};
use crate::http::idempotency::{Answer, Once};
use crate::http::{App, code};

/// What a job needs beside its models' weights, where there is no plan to say it.
const BASE_MEMORY_BYTES: u64 = 256 << 20;
/// Weights in memory, against weights on disk: 16-bit numbers are widened, and a block is held twice.
const MEMORY_PER_BYTE: u64 = 3;

/// `POST /v1/jobs`
pub(crate) async fn submit(app: App, uri: Uri, headers: HeaderMap, JsonBody(body): JsonBody) -> Result<Response> {
    let params = Params::of(&uri, &["validate_only"])?;
    let validate_only = params.parse::<bool>("validate_only", "true or false")?.unwrap_or(false);
    let once = Once::of(&headers, &uri, &body)?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let checked = check(&app, &body).await?;
    if validate_only {
        refuse_unplannable(&checked.request, &checked.inputs)?;
        let plan = checked.plan;
        let plan = plan.ok_or_else(|| Error::internal("a job with a recipe and a model that is ready has no plan"))?;
        return Ok(Json(plan).into_response());
    }
    queue(&app, once, &new_job(checked)).await
}

/// Queues a job: 201 with where it is.
pub(super) async fn queue(app: &App, once: Once, new: &NewJob) -> Result<Response> {
    let mut work = once.begin(app).await?;
    let job = store_in(app, work.conn(), new).await?;
    let (location, etag) = (format!("/v1/jobs/{}", job.id), etag(&job)?);
    let answer = Answer::created(&location, &Shown::from(job))?.with(RETRY_AFTER, LOOK_AGAIN).with(ETAG, etag);
    work.finish(answer).await
}

/// A job that was checked as far as that can be done now.
pub(crate) struct Checked {
    pub(super) request: Request,
    pub(crate) inputs: Inputs,
    pub(super) written: Option<Written>,
    /// Its plan, where all that it names is ready and it has a recipe.
    pub(crate) plan: Option<Plan>,
}

/// Checks a job's body, and plans it where that can be done.
///
/// # Errors
///
/// Every problem of the body, or of what it names.
pub(crate) async fn check(app: &App, body: &Value) -> Result<Checked> {
    let request = Request::parse(body).map_err(Error::invalid)?;
    let inputs = Inputs::find(app, &request).await?;
    let written = plan::recipe(app, &request).await?;
    resolve(Checked { request, inputs, written, plan: None }).await
}

/// Queues a job that was checked; it is durable when this returns.
pub(crate) async fn enqueue(app: &App, checked: Checked) -> Result<Job> {
    store(app, &new_job(checked)).await
}

/// Queues a job; it is durable when this returns.
pub(crate) async fn store(app: &App, new: &NewJob) -> Result<Job> {
    let mut tx = app.pool.begin().await.map_err(db::Error::from)?;
    let job = store_in(app, &mut tx, new).await?;
    tx.commit().await.map_err(db::Error::from)?;
    Ok(job)
}

async fn store_in(app: &App, conn: &mut PgConnection, new: &NewJob) -> Result<Job> {
    let job = db::jobs::enqueue(&mut *conn, app.tenant, new).await?;
    db::jobs::note_origin(conn, job.id, &app.origin.of_job()).await?;
    tracing::info!(job_id = %job.id, kind = %job.kind, "queued a job");
    Ok(job)
}

/// `validate_only` asks for a plan, so there must be one to give.
fn refuse_unplannable(request: &Request, inputs: &Inputs) -> Result<()> {
    if !matches!(request.kind, JobKind::Compress | JobKind::Sensitivity) {
        let detail = "validate_only answers with a plan, which only jobs of kind 'compress' and 'sensitivity' have";
        return Err(Error::invalid(vec![Detail::new("/kind", Code::NotYetSupported, detail)]));
    }
    if inputs.are_ready() {
        return Ok(());
    }
    let detail =
        "the model or a dataset is still validating: ask again when it is ready, or submit the job, which waits";
    Err(Error::new(code::NOT_READY, detail).with_header(RETRY_AFTER, LOOK_AGAIN))
}

/// Plans on a thread that may take its time: a large model has many sites, a large dataset many rows.
pub(super) async fn resolve(checked: Checked) -> Result<Checked> {
    if !checked.inputs.are_ready() {
        return Ok(checked);
    }
    let planned = tokio::task::spawn_blocking(move || {
        let plan = plan::resolve(&checked.request, &checked.inputs, checked.written.as_ref());
        plan.map(|plan| Checked { plan, ..checked })
    });
    planned.await.map_err(Error::internal)?.map_err(Error::invalid)
}

/// The job that a request asks for.
pub(super) fn new_job(Checked { request, inputs, written, plan }: Checked) -> NewJob {
    let guess = inputs.model_bytes().saturating_mul(MEMORY_PER_BYTE).saturating_add(BASE_MEMORY_BYTES);
    let (memory_bytes, disk_bytes) = match &plan {
        Some(plan) => (plan.predicted.peak_memory_bytes, plan.predicted.disk_bytes),
        None => (guess, inputs.model_bytes().saturating_mul(2)),
    };
    NewJob {
        kind: request.kind,
        model_id: Some(request.model_id),
        calibration_dataset_id: request.dataset(Role::Calibration),
        training_dataset_id: request.dataset(Role::Training),
        validation_dataset_id: request.dataset(Role::Validation),
        evaluation_dataset_id: request.dataset(Role::Evaluation),
        reference_model_id: request.reference_model_id,
        recipe_name: match request.recipe {
            Source::Named(name) => Some(name),
            Source::Given(_) | Source::Nowhere => None,
        },
        recipe: written.map(|written| written.value),
        evaluate: request.evaluate,
        plan,
        deadline_seconds: request.deadline_seconds,
        priority: request.priority,
        labels: Value::Object(request.labels),
        memory_bytes,
        disk_bytes,
        ..NewJob::default()
    }
}
