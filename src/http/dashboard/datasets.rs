//! `/datasets`: what there is, and the form that adds to it.

use askama::Template;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::form::InQuery;
use super::frame::{Frame, Problems, page_with, see};
use super::show::Markup;
use super::upload_form::UploadForm;
use crate::db::datasets::Dataset;
use crate::db::{self, UploadState};
use crate::engine::data::{DatasetSummary, Target};
use crate::http::App;
use crate::http::datasets;
use crate::http::error::Result;
use crate::http::page::Page;

/// Datasets of a page.
const ROWS: u32 = 50;

struct Row {
    path: String,
    name: String,
    state: Markup,
    rows: Markup,
    labels: Markup,
    format: Markup,
    size: Markup,
    created: Markup,
}

impl Row {
    fn of(dataset: Dataset) -> Self {
        let summary = dataset.summary.as_ref();
        let labels = |summary: &DatasetSummary| match summary.target() {
            Target::None => Markup::text("none"),
            Target::Class => Markup::text(&summary.labels.len().to_string()),
            Target::Regression => Markup::text("numbers"),
            Target::Tags => Markup::text(&format!("{} tags", summary.tags.len())),
        };
        Self {
            path: format!("/datasets/{}", dataset.id),
            state: Markup::state(dataset.state.as_str()),
            rows: summary.map_or_else(Markup::dash, |summary| Markup::count(summary.rows)),
            labels: summary.map_or_else(Markup::dash, labels),
            format: summary.map_or_else(Markup::dash, |summary| Markup::text(&summary.format)),
            size: Markup::bytes(dataset.size_bytes),
            created: Markup::time(dataset.created_at),
            name: dataset.name,
        }
    }
}

#[derive(Template)]
#[template(path = "datasets.html")]
struct DatasetsPage {
    frame: Frame,
    datasets: Vec<Row>,
    older: Option<String>,
    problems: Problems,
    upload: UploadForm,
}

/// `GET /datasets`
pub(super) async fn list(app: App, InQuery(query): InQuery) -> Result<Response> {
    draw(&app, query.get("cursor"), StatusCode::OK, Problems::default()).await
}

/// `POST /datasets`: then the dataset's page.
pub(super) async fn upload(app: App, request: Request) -> Result<Response> {
    match datasets::store(&app, request).await {
        Ok(dataset) => Ok(see(&format!("/datasets/{}", dataset.id))),
        Err(error) => {
            let (status, problems) = Problems::of("This upload was refused, and nothing of it kept:", error)?;
            draw(&app, None, status, problems).await
        }
    }
}

async fn draw(app: &App, cursor: Option<&str>, status: StatusCode, problems: Problems) -> Result<Response> {
    let at = Page::after(cursor, ROWS)?;
    let found = db::datasets::list(&app.pool, app.tenant, &at.filter()).await?;
    let is_live = found.iter().any(|dataset| dataset.state == UploadState::Validating) && problems.list.is_empty();
    let (datasets, next) = at.list(found, |dataset| dataset.id.0, Row::of).into_parts();
    let older = next.map(|cursor| format!("/datasets?cursor={cursor}"));
    let frame = Frame::new("Datasets", "/datasets").live(is_live);
    page_with(status, &DatasetsPage { frame, datasets, older, problems, upload: UploadForm::of_datasets() })
}
