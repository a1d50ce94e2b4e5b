//! Datasets: uploaded and validated like models.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header::LOCATION;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::error::{Detail, Error, Result};
use super::extract::{Id, Params};
use super::models::File;
use super::page::{List, Page};
use super::upload::{self, Purpose};
use super::{App, prefer, wait};
use crate::db::datasets::{Dataset, NewDataset};
use crate::db::{self, UploadState};
use crate::engine::data::LabelCount;
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
    duplicates: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<LabelCount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
}

impl Shown {
    fn of(dataset: Dataset) -> Self {
        let (format, rows, words, duplicates, labels) = match dataset.summary {
            Some(s) => (Some(s.format), Some(s.rows), Some(s.words), Some(s.duplicates), Some(s.labels)),
            None => (None, None, None, None, None),
        };
        Self {
            id: dataset.id,
            name: dataset.name,
            state: dataset.state.as_str().to_owned(),
            size_bytes: dataset.size_bytes,
            errors: dataset.errors.into_iter().map(Detail::from).collect(),
            created_at: dataset.created_at,
            format,
            rows,
            words,
            duplicates,
            labels,
            files: None,
        }
    }

    async fn with_files(mut self, app: &App) -> Result<Self> {
        let rows = db::datasets::files(&app.pool, self.id).await?;
        self.files = Some(rows.into_iter().map(File::from).collect());
        Ok(self)
    }
}

/// `POST /v1/datasets/files`
pub(super) async fn upload(app: App, uri: Uri, request: Request) -> Result<Response> {
    Params::of(&uri, &[])?;
    let dataset = store(&app, request).await?;
    let location = format!("/v1/datasets/{}", dataset.id);
    let shown = Shown::of(dataset).with_files(&app).await?;
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(shown)).into_response())
}

/// Takes a form of files as a dataset; it is durable when this returns.
pub(super) async fn store(app: &App, request: Request) -> Result<Dataset> {
    let form = upload::receive(app, request, Purpose::Dataset).await?;
    let new = NewDataset { name: form.name, files: form.files };
    Ok(db::datasets::insert(&app.pool, app.tenant, &new).await?)
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
    let shown = Shown::of(dataset).with_files(&app).await?;
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
    wait::until(app, None, wait, read, |dataset| dataset.state != UploadState::Validating).await
}
