//! `/models`: what there is, and the form that adds to it.

use askama::Template;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::form::InQuery;
use super::frame::{Frame, Problems, page_with, see};
use super::show::Markup;
use super::upload_form::UploadForm;
use crate::db::models::Model;
use crate::db::{self, UploadState};
use crate::http::App;
use crate::http::error::Result;
use crate::http::models;
use crate::http::page::Page;

/// Models of a page.
const ROWS: u32 = 50;

/// A model in a table.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) state: Markup,
    pub(super) architecture: Markup,
    pub(super) parameters: Markup,
    pub(super) dtype: Markup,
    pub(super) size: Markup,
    pub(super) created: Markup,
}

impl Row {
    pub(super) fn of(model: Model) -> Self {
        let header = model.header.as_ref();
        let architecture = header.and_then(|header| header.architecture.as_deref().or(header.family.as_deref()));
        Self {
            path: format!("/models/{}", model.id),
            state: Markup::state(model.state.as_str()),
            architecture: architecture.map_or_else(Markup::dash, Markup::text),
            parameters: header.map_or_else(Markup::dash, |header| Markup::count(header.parameters)),
            dtype: header.map_or_else(Markup::dash, |header| Markup::text(header.dtype.as_str())),
            size: Markup::bytes(model.size_bytes),
            created: Markup::time(model.created_at),
            name: model.name,
        }
    }
}

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage {
    frame: Frame,
    models: Vec<Row>,
    older: Option<String>,
    problems: Problems,
    upload: UploadForm,
}

/// `GET /models`
pub(super) async fn list(app: App, InQuery(query): InQuery) -> Result<Response> {
    draw(&app, query.get("cursor"), StatusCode::OK, Problems::default()).await
}

/// `POST /models`: then the model's page.
pub(super) async fn upload(app: App, request: Request) -> Result<Response> {
    match models::store(&app, request).await {
        Ok(model) => Ok(see(&format!("/models/{}", model.id))),
        Err(error) => {
            let (status, problems) = Problems::of("This upload was refused, and nothing of it kept:", error)?;
            draw(&app, None, status, problems).await
        }
    }
}

async fn draw(app: &App, cursor: Option<&str>, status: StatusCode, problems: Problems) -> Result<Response> {
    let at = Page::after(cursor, ROWS)?;
    let found = db::models::list(&app.pool, app.tenant, &at.filter()).await?;
    let is_live = found.iter().any(|model| model.state == UploadState::Validating) && problems.list.is_empty();
    let (models, next) = at.list(found, |model| model.id.0, Row::of).into_parts();
    let older = next.map(|cursor| format!("/models?cursor={cursor}"));
    let frame = Frame::new("Models", "/models").live(is_live);
    page_with(status, &ModelsPage { frame, models, older, problems, upload: UploadForm::of_models() })
}
