//! `POST /v1/jobs/{id}/retry`: the same job once more, planned anew. The old one stays as it ended.

use axum::response::Response;
use http::{HeaderMap, Uri};
use serde_json::Value;

use super::plan::{self, Inputs};
use super::read::get;
use super::request::{LONGEST_DEADLINE_SECONDS, Request, Role, Source};
use super::submit::{self, Checked};
use crate::db::Conflict;
use crate::db::jobs::{Job, JobKind, NewJob};
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, OptionalJson, Params};
use crate::http::fields::Fields;
use crate::http::idempotency::Once;
use crate::http::{App, code};
use crate::id::JobId;

/// `POST /v1/jobs/{id}/retry`
pub(crate) async fn retry(
    app: App,
    Id(id): Id<JobId>,
    uri: Uri,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson,
) -> Result<Response> {
    Params::of(&uri, &[])?;
    let once = Once::of(&headers, &uri, &body)?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let deadline_seconds = body.as_ref().map(deadline).transpose()?.flatten();
    submit::queue(&app, once, &again(&app, id, deadline_seconds).await?).await
}

/// The same job once more, checked and planned anew.
///
/// # Errors
///
/// 404; 409 for one that has not ended or that the server makes by itself; what is wrong with it by now.
pub(crate) async fn again(app: &App, id: JobId, deadline_seconds: Option<u32>) -> Result<NewJob> {
    let old = get(app, id).await?;
    check(&old)?;
    let request = request(&old, deadline_seconds)?;
    let inputs = Inputs::find(app, &request).await?;
    let written = plan::recipe(app, &request).await?;
    let checked = submit::resolve(Checked { request, inputs, written, plan: None }).await?;
    Ok(NewJob {
        retry_of: Some(id),
        recipe_name: old.recipe_name,
        source_job_id: old.source_job_id,
        formats: old.formats,
        ..submit::new_job(checked)
    })
}

/// The one setting that a retry may change: a job that expired needs more time.
fn deadline(body: &Value) -> Result<Option<u32>> {
    let mut fields = Fields::of(body, &["deadline_seconds"]).map_err(Error::invalid)?;
    let seconds = fields.integer("deadline_seconds", 1..=LONGEST_DEADLINE_SECONDS);
    let problems = fields.finish();
    if problems.is_empty() {
        Ok(seconds.and_then(|seconds| u32::try_from(seconds).ok()))
    } else {
        Err(Error::invalid(problems))
    }
}

/// Whether a job may be retried.
fn check(old: &Job) -> Result<()> {
    if !matches!(old.kind, JobKind::Compress | JobKind::Evaluate | JobKind::Sensitivity) {
        let detail = format!(
            "job {} is of kind '{}', which the server makes by itself: upload the model or dataset again",
            old.id, old.kind
        );
        return Err(Error::new(code::NOT_RETRYABLE, detail));
    }
    if !old.state.is_terminal() {
        let conflict = Conflict::JobIsLive { state: old.state.as_str() };
        return Err(Error::new(code::JOB_LIVE, format!("{conflict}, or wait for its end")));
    }
    Ok(())
}

/// What the old job was asked for. Its recipe is the one that was written, also where its name has another one now.
fn request(old: &Job, deadline_seconds: Option<u32>) -> Result<Request> {
    let datasets = [
        (Role::Calibration, old.calibration_dataset_id),
        (Role::Training, old.training_dataset_id),
        (Role::Validation, old.validation_dataset_id),
        (Role::Evaluation, old.evaluation_dataset_id),
    ];
    let given_seconds = (old.deadline_at - old.created_at).num_seconds();
    Ok(Request {
        kind: old.kind,
        model_id: old.model_id.ok_or_else(|| Error::internal("a job of this kind names no model"))?,
        recipe: match (&old.recipe, &old.recipe_name) {
            (Some(recipe), _) => Source::Given(recipe.clone()),
            (None, Some(name)) => Source::Named(name.clone()),
            (None, None) => Source::Nowhere,
        },
        evaluate: old.evaluate.clone(),
        sensitivity: None, // it stands in the recipe
        datasets: datasets.into_iter().filter_map(|(role, id)| Some((role, id?))).collect(),
        reference_model_id: old.reference_model_id,
        deadline_seconds: deadline_seconds.or_else(|| u32::try_from(given_seconds).ok()),
        priority: old.priority,
        labels: old.labels.as_object().cloned().unwrap_or_default(),
    })
}
