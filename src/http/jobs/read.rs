//! Watching jobs, and stopping them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header::{ETAG, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};

use super::shown::{Attempt, Event, Shown};
use crate::db;
use crate::db::jobs::{Job, JobFilter, JobKind, JobState};
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, Params};
use crate::http::page::{List, Page};
use crate::http::{App, code, prefer, range, wait};
use crate::id::{JobId, ModelId};

/// `Retry-After` of a job that has not ended.
pub(super) const LOOK_AGAIN: HeaderValue = HeaderValue::from_static("1");

/// The entity tag of a job as it is.
pub(super) fn etag(job: &Job) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("\"{}\"", job.revision)).map_err(Error::internal)
}

/// The job, or 404.
pub(crate) async fn get(app: &App, id: JobId) -> Result<Job> {
    let job = db::jobs::find(&app.pool, app.tenant, id).await?;
    job.ok_or_else(|| Error::not_found(format_args!("job {id}")))
}

/// `GET /v1/jobs/{id}`: with `Prefer: wait` it answers when the job has ended, or, with `If-None-Match`, when it has
/// changed.
pub(crate) async fn find(app: App, Id(id): Id<JobId>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::of(&uri, &[])?;
    let is_known = |job: &Job| range::none_match(&headers, &format!("\"{}\"", job.revision));
    let has_tag = headers.contains_key(http::header::IF_NONE_MATCH);
    let is_done = |job: &Job| if has_tag { !is_known(job) } else { job.state.is_terminal() };
    let wait = prefer::wait(&headers);
    let job = wait::until(&app, Some(id.0), wait, || get(&app, id), is_done).await?;
    let (tag, is_over) = (etag(&job)?, job.state.is_terminal());
    let mut response = if is_known(&job) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // one that was never claimed has none: those who wait for it need not ask
        let attempts = if job.attempt == 0 { Vec::new() } else { db::jobs::attempts(&app.pool, id).await? };
        Json(Shown::from(job).with_attempts(attempts.into_iter().map(Attempt::from))).into_response()
    };
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().extend(prefer::applied(wait));
    if !is_over {
        response.headers_mut().insert(RETRY_AFTER, LOOK_AGAIN);
    }
    Ok(response)
}

/// `GET /v1/jobs`: without their plans, which are long.
pub(crate) async fn list(app: App, uri: Uri) -> Result<Json<List<Shown>>> {
    const KNOWN: &[&str] =
        &["kind", "state", "model_id", "recipe_name", "label", "created_after", "created_before", "limit", "cursor"];
    let params = Params::of(&uri, KNOWN)?;
    let page = Page::of(&params)?;
    let filter = JobFilter {
        kind: params.parse::<JobKind>("kind", "validate, compress, evaluate or sensitivity")?,
        state: params
            .parse::<JobState>("state", "queued, running, cancelling, succeeded, failed, cancelled or expired")?,
        model_id: params.parse::<ModelId>("model_id", "an id of the form mdl_<uuid>")?,
        recipe_name: text(&params, "recipe_name")?.map(str::to_owned),
        label: text(&params, "label")?.map(label).transpose()?,
        created_after: time(&params, "created_after")?,
        created_before: time(&params, "created_before")?,
        limit: page.filter().limit,
        before: page.before,
    };
    let jobs = db::jobs::list(&app.pool, app.tenant, &filter).await?;
    Ok(Json(page.list(jobs, |job| job.id.0, |job| Shown::from(Job { plan: None, ..job }))))
}

/// A text that the database can hold.
fn text<'a>(params: &'a Params, name: &str) -> Result<Option<&'a str>> {
    match params.get(name) {
        Some(text) if text.contains('\0') => Err(Params::refuse(name, "a text with NUL", "a text without it")),
        text => Ok(text),
    }
}

/// `name:value`
fn label(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once(':').ok_or_else(|| Params::refuse("label", text, "name:value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A time with its offset. A `+` stands for a space in a query, so that one must be written `%2B`.
fn time(params: &Params, name: &str) -> Result<Option<DateTime<Utc>>> {
    let read = |text: &str| {
        let allowed = "a time as in RFC 3339, such as 2026-11-23T20:15:00Z (a '+' is written %2B)";
        DateTime::parse_from_rfc3339(text).map_err(|_| Params::refuse(name, text, allowed))
    };
    Ok(params.get(name).map(read).transpose()?.map(|time| time.to_utc()))
}

/// `DELETE /v1/jobs/{id}`
pub(crate) async fn delete(app: App, Id(id): Id<JobId>, uri: Uri) -> Result<StatusCode> {
    Params::of(&uri, &[])?;
    if !db::jobs::delete(&app.pool, app.tenant, id).await? {
        return Err(Error::not_found(format_args!("job {id}")));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/jobs/{id}/cancel`
pub(crate) async fn cancel(app: App, Id(id): Id<JobId>, uri: Uri) -> Result<Response> {
    Params::of(&uri, &[])?;
    let job = stop(&app, id).await?;
    Ok(([(ETAG, etag(&job)?)], Json(Shown::from(job))).into_response())
}

/// Cancels a job, or asks it to stop.
///
/// # Errors
///
/// 404; 409 for one that has ended otherwise.
pub(crate) async fn stop(app: &App, id: JobId) -> Result<Job> {
    let job = db::jobs::cancel(&app.pool, app.tenant, id).await?;
    let job = job.ok_or_else(|| Error::not_found(format_args!("job {id}")))?;
    if job.state.is_terminal() && job.state != JobState::Cancelled {
        return Err(Error::new(code::JOB_FINISHED, format!("the job has ended already: it is {}", job.state)));
    }
    Ok(job)
}

/// `GET /v1/jobs/{id}/events`
pub(crate) async fn events(app: App, Id(id): Id<JobId>, uri: Uri) -> Result<Json<List<Event>>> {
    let params = Params::of(&uri, &["limit", "cursor", "after"])?;
    let page = Page::of(&params)?;
    let after = params.parse::<u32>("after", "a line's seq")?.map(i64::from);
    // a cursor is a line's number in the shape of an id
    let cursor = page.before.map(|id| i64::try_from(id.as_u128()).unwrap_or(i64::MAX));
    get(&app, id).await?;
    let lines = db::jobs::events(&app.pool, id, cursor.or(after).unwrap_or(0), page.filter().limit).await?;
    let number = |line: &db::jobs::JobEvent| uuid::Uuid::from_u128(u128::try_from(line.seq).unwrap_or(0));
    Ok(Json(page.list(lines, number, Event::from)))
}
