//! `/jobs`: the list, with filters in its address.

use askama::Template;
use axum::response::Response;

use super::choices::{self, Choice};
use super::form::{Fields, InQuery};
use super::frame::{Frame, page};
use super::job_row::{self, Row};
use crate::db;
use crate::db::jobs::{JobFilter, JobKind, JobState};
use crate::http::App;
use crate::http::error::Result;
use crate::http::extract::Params;
use crate::http::page::Page;
use crate::id::ModelId;

/// Jobs of a page.
const ROWS: u32 = 50;
/// Models to choose from.
pub(super) const CHOICES: u32 = 50;
/// What the list is filtered by.
const FILTERS: &[&str] = &["state", "kind", "model_id", "label"];

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    states: Vec<(&'static str, bool)>,
    kinds: Vec<(&'static str, bool)>,
    models: Vec<Choice>,
    label: String,
    is_filtered: bool,
    jobs: Vec<Row>,
    older: Option<String>,
}

/// `GET /jobs`
pub(super) async fn list(app: App, InQuery(query): InQuery) -> Result<Response> {
    let at = Page::after(query.get("cursor"), ROWS)?;
    let filter = filter(&query, at)?;
    let found = db::jobs::list(&app.pool, app.tenant, &filter).await?;
    let is_live = found.iter().any(|job| !job.state.is_terminal());
    let (jobs, next) = at.list(found, |job| job.id.0, |job| job).into_parts();
    let models = db::names::recent_models(&app.pool, app.tenant, CHOICES).await?;
    let chosen = |all: &[&'static str], name: &str| {
        all.iter().map(|one| (*one, query.get(name) == Some(*one))).collect::<Vec<_>>()
    };
    let states: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
    page(&JobsPage {
        frame: Frame::new("Jobs", "/jobs").live(is_live),
        states: chosen(&states, "state"),
        kinds: chosen(&["compress", "evaluate", "sensitivity", "validate"], "kind"),
        models: choices::of(&models, ModelId::PREFIX, query.get("model_id")),
        label: query.text("label"),
        is_filtered: FILTERS.iter().any(|name| query.get(name).is_some()),
        jobs: job_row::rows(&app, jobs).await?,
        older: next.map(|cursor| format!("/jobs{}", query.query(FILTERS, ("cursor", &cursor)))),
    })
}

fn filter(query: &Fields, at: Page) -> Result<JobFilter> {
    let refuse = |name: &str, text: &str, allowed: &str| Params::refuse(name, text, allowed);
    let state =
        query.get("state").map(|text| text.parse::<JobState>().map_err(|_| refuse("state", text, "a state of a job")));
    let kind = query.get("kind").map(|text| text.parse::<JobKind>().map_err(|_| refuse("kind", text, "a kind of job")));
    let model = query
        .get("model_id")
        .map(|text| text.parse::<ModelId>().map_err(|_| refuse("model_id", text, "an id of the form mdl_<uuid>")));
    let label = query.get("label").map(|text| match text.split_once(':') {
        Some((name, value)) if !text.contains('\0') => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err(refuse("label", text, "name:value")),
    });
    Ok(JobFilter {
        state: state.transpose()?,
        kind: kind.transpose()?,
        model_id: model.transpose()?,
        label: label.transpose()?,
        recipe_name: None,
        limit: at.filter().limit,
        before: at.before,
        ..JobFilter::default()
    })
}
