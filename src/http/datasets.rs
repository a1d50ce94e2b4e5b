//! Datasets: uploaded and validated like models.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;

use super::error::{Detail, Error, Result};
use super::extract::{Id, JsonBody, Params};
use super::idempotency::{Answer, Once, Work};
use super::models::File;
use super::page::{List, Page};
use super::sources::Wanted;
use super::upload::{self, Purpose};
use super::{App, prefer, wait};
use crate::db::datasets::{Dataset, NewDataset};
use crate::db::{self, UploadState};
use crate::engine::data::{DatasetSummary, Duplicate, LabelCount, TagCount, Target, Values};
use crate::id::DatasetId;

/// A dataset as clients see it. What its files say is there once it is ready.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    id: DatasetId,
    name: String,
    state: String,
    size_bytes: u64,
    errors: Vec<Detail>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<LabelCount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<TagCount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicates: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_duplicates: Option<Vec<Duplicate>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
}

impl Shown {
    fn of(dataset: Dataset) -> Self {
        let shown = Self {
            id: dataset.id,
            name: dataset.name,
            state: dataset.state.as_str().to_owned(),
            size_bytes: dataset.size_bytes,
            errors: dataset.errors.into_iter().map(Detail::from).collect(),
            created_at: dataset.created_at,
            format: None,
            rows: None,
            words: None,
            target: None,
            labels: None,
            values: None,
            tags: None,
            duplicates: None,
            first_duplicates: None,
            files: None,
        };
        match dataset.summary {
            Some(summary) => shown.holding(summary),
            None => shown,
        }
    }

    fn holding(self, summary: DatasetSummary) -> Self {
        Self {
            target: Some(summary.target()),
            format: Some(summary.format),
            rows: Some(summary.rows),
            words: Some(summary.words),
            labels: Some(summary.labels),
            values: summary.values,
            tags: Some(summary.tags),
            duplicates: Some(summary.duplicates),
            first_duplicates: Some(summary.first_duplicates),
            ..self
        }
    }

    async fn with_files(mut self, executor: impl PgExecutor<'_>) -> Result<Self> {
        let rows = db::datasets::files(executor, self.id).await?;
        self.files = Some(rows.into_iter().map(File::from).collect());
        Ok(self)
    }
}

/// `POST /v1/datasets/files`
pub(super) async fn upload(app: App, uri: Uri, request: Request) -> Result<Response> {
    Params::of(&uri, &[])?;
    let headers = request.headers().clone();
    let form = upload::receive(&app, request, Purpose::Dataset).await?;
    let once = Once::of(&headers, &uri, &form.identity())?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let new = NewDataset { name: form.name, files: form.files };
    let mut work = once.begin(&app).await?;
    let dataset = db::datasets::insert_in(work.conn(), app.tenant, &new).await?;
    upload::are_stored(&app, &new.files).await?;
    created(work, dataset).await
}

/// `POST /v1/datasets`
pub(super) async fn create(app: App, uri: Uri, headers: HeaderMap, JsonBody(body): JsonBody) -> Result<Response> {
    Params::of(&uri, &[])?;
    let once = Once::of(&headers, &uri, &body)?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let wanted = Wanted::read(&app, &body, Purpose::Dataset).await?;
    let mut work = once.begin(&app).await?;
    let files = wanted.hold(&app, work.conn()).await?;
    let new = NewDataset { name: wanted.name, files };
    let dataset = db::datasets::insert_in(work.conn(), app.tenant, &new).await?;
    created(work, dataset).await
}

async fn created(mut work: Work, dataset: Dataset) -> Result<Response> {
    let location = format!("/v1/datasets/{}", dataset.id);
    let shown = Shown::of(dataset).with_files(work.conn()).await?;
    work.finish(Answer::created(&location, &shown)?).await
}

/// Takes a form of files as a dataset; it is durable when this returns.
pub(super) async fn store(app: &App, request: Request) -> Result<Dataset> {
    let form = upload::receive(app, request, Purpose::Dataset).await?;
    let new = NewDataset { name: form.name, files: form.files };
    let mut tx = app.pool.begin().await.map_err(db::Error::from)?;
    let dataset = db::datasets::insert_in(&mut tx, app.tenant, &new).await?;
    upload::are_stored(app, &new.files).await?;
    tx.commit().await.map_err(db::Error::from)?;
    Ok(dataset)
}

/// `GET /v1/datasets`
pub(super) async fn list(app: App, uri: Uri) -> Result<Json<List<Shown>>> {
    let page = Page::of(&Params::of(&uri, &["limit", "cursor"])?)?;
    let rows = db::datasets::list(&app.pool, app.tenant, &page.filter()).await?;
    Ok(Json(page.list(rows, |dataset| dataset.id.0, Shown::of)))
}

/// `GET /v1/datasets/{id}`
pub(super) async fn find(app: App, Id(id): Id<DatasetId>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::of(&uri, &[])?;
    let wait = prefer::wait(&headers);
    let dataset = settled(&app, id, wait).await?;
    let shown = Shown::of(dataset).with_files(&app.pool).await?;
    Ok((prefer::applied(wait), Json(shown)).into_response())
}

/// `DELETE /v1/datasets/{id}`
pub(super) async fn delete(app: App, Id(id): Id<DatasetId>, uri: Uri) -> Result<StatusCode> {
    Params::of(&uri, &[])?;
    if !db::datasets::delete(&app.pool, app.tenant, id).await? {
        return Err(Error::not_found(format_args!("dataset {id}")));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The dataset, once it is no longer validating or the wait is over.
async fn settled(app: &App, id: DatasetId, wait: Option<Duration>) -> Result<Dataset> {
    let read = async || {
        let dataset = db::datasets::find(&app.pool, app.tenant, id).await?;
        dataset.ok_or_else(|| Error::not_found(format_args!("dataset {id}")))
    };
    let watched = match wait {
        Some(_) => db::jobs::validation_of_dataset(&app.pool, id).await?,
        None => None,
    };
    wait::until(app, watched.map(|job| job.0), wait, read, |dataset| dataset.state != UploadState::Validating).await
}
