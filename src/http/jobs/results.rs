//! What a job left: its report and its files.

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::Uri;
use http::header::CONTENT_SECURITY_POLICY;
use serde_json::Value;

use super::read::get;
use super::shown::File;
use crate::db;
use crate::db::jobs::JobState;
use crate::engine::report::html;
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, Params};
use crate::http::page::List;
use crate::http::{App, code};
use crate::id::JobId;

/// The page holds its own style and plots, and loads nothing.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; \
                           base-uri 'none'; form-action 'none'";

/// The role of the files that are the smaller model.
pub(crate) const ARTIFACT: &str = "artifact";
/// The role of the report.
pub(super) const REPORT: &str = "report";

/// A job's report, or why there is none.
pub(crate) async fn find_report(app: &App, id: JobId) -> Result<Value> {
    if let Some(report) = db::jobs::report(&app.pool, app.tenant, id).await? {
        return Ok(report);
    }
    let job = get(app, id).await?;
    let why = match job.state {
        JobState::Succeeded => format!("a job of kind '{}' makes none", job.kind),
        state if state.is_terminal() => format!("it is {state}; the job's 'error' says why"),
        state => format!("it is {state}; a report is made at the end"),
    };
    Err(Error::new(code::REPORT_UNAVAILABLE, format!("job {id} has no report: {why}")))
}

/// `GET /v1/jobs/{id}/report`
pub(crate) async fn report(app: App, Id(id): Id<JobId>, uri: Uri) -> Result<Json<Value>> {
    Params::of(&uri, &[])?;
    find_report(&app, id).await.map(Json)
}

/// `GET /v1/jobs/{id}/report.html`
pub(crate) async fn report_page(app: App, Id(id): Id<JobId>, uri: Uri) -> Result<Response> {
    Params::of(&uri, &[])?;
    let report = find_report(&app, id).await?;
    let page = tokio::task::spawn_blocking(move || html::page(&report)).await.map_err(Error::internal)?;
    Ok(([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page)).into_response())
}

/// `GET /v1/jobs/{id}/artifacts`
pub(crate) async fn artifacts(app: App, Id(id): Id<JobId>, uri: Uri) -> Result<Json<List<File>>> {
    Params::of(&uri, &[])?;
    get(&app, id).await?;
    let files = db::jobs::files(&app.pool, app.tenant, id).await?;
    let artifacts = files.into_iter().filter(|file| file.role == ARTIFACT).map(File::from).collect();
    Ok(Json(List::whole(artifacts)))
}
