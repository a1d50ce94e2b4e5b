//! `/`: what is going on, and how to start.

use askama::Template;
use axum::response::Response;
use http::HeaderMap;
use http::header::HOST;

use super::frame::{Frame, page};
use super::job_row::{self, Row};
use super::models;
use crate::db::jobs::JobFilter;
use crate::db::{self, ListFilter, UploadState};
use crate::http::App;
use crate::http::error::Result;

/// Jobs and models that are shown.
const ROWS: u32 = 6;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    fleet: String,
    has_worker: bool,
    jobs: Vec<Row>,
    models: Vec<models::Row>,
    origin: String,
    model_id: String,
    dataset_id: String,
}

/// `GET /`
pub(super) async fn show(app: App, headers: HeaderMap) -> Result<Response> {
    let newest = ListFilter { limit: ROWS, before: None };
    let models = db::models::list(&app.pool, app.tenant, &newest).await?;
    let datasets = db::names::recent_datasets(&app.pool, app.tenant, 1).await?;
    let jobs = db::jobs::list(&app.pool, app.tenant, &JobFilter { limit: ROWS, ..JobFilter::default() }).await?;
    let workers = db::workers::list(&app.pool).await?;
    let live = workers.iter().filter(|worker| worker.live).count();
    let running: u64 = workers.iter().map(|worker| worker.running).sum();
    let is_live = jobs.iter().any(|job| !job.state.is_terminal())
        || models.iter().any(|model| model.state == UploadState::Validating);
    page(&HomePage {
        frame: Frame::new("Overview", "").live(is_live),
        fleet: format!(
            "{} {} here, {}.",
            live,
            if live == 1 { "worker is" } else { "workers are" },
            match running {
                0 => "nothing runs".to_owned(),
                1 => "one job runs".to_owned(),
                many => format!("{many} jobs run"),
            }
        ),
        has_worker: live > 0,
        jobs: job_row::rows(&app, jobs).await?,
        model_id: models.first().map_or_else(|| "mdl_…".to_owned(), |model| model.id.to_string()),
        dataset_id: datasets.first().map_or_else(|| "dst_…".to_owned(), |one| format!("dst_{}", one.id.hyphenated())),
        models: models.into_iter().map(models::Row::of).collect(),
        origin: origin(&headers),
    })
}

/// Where the browser found us, for commands to copy.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8080");
    format!("http://{host}")
}
