//! Models: uploaded as files, validated by a job, then used by others.

use std::collections::HashMap;
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
use super::page::{List, Page};
use super::sources::Wanted;
use super::upload::{self, Purpose};
use super::{App, prefer, wait};
use crate::db::models::{Model, NewModel};
use crate::db::{self, FileRow, UploadState};
use crate::engine::model::spec::Head;
use crate::engine::model::{Category, Dtype, ModelHeader, Support};
use crate::id::{JobId, ModelId};

/// A model as clients see it. What its files say is there once it is ready.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    id: ModelId,
    name: String,
    state: String,
    size_bytes: u64,
    errors: Vec<Detail>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support: Option<Support>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<Dtype>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_by_group: Option<Groups>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
}

/// A file of a model or dataset.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    path: String,
    size_bytes: u64,
    sha256: String,
}

impl From<FileRow> for File {
    fn from(row: FileRow) -> Self {
        Self { path: row.path, size_bytes: row.size_bytes, sha256: row.sha256 }
    }
}

/// Bytes of the tensors by what they are for.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    embedding: u64,
    attention: u64,
    mlp: u64,
    norms: u64,
    head: u64,
    other: u64,
}

/// Bytes of a model's tensors by what they are for: the groups that hold any, with their names.
pub(super) fn bytes_by_group(header: &ModelHeader) -> Vec<(&'static str, u64)> {
    let Groups { embedding, attention, mlp, norms, head, other } = Groups::of(header);
    let groups = [
        ("embedding", embedding),
        ("attention", attention),
        ("mlp", mlp),
        ("norms", norms),
        ("head", head),
        ("other", other),
    ];
    groups.into_iter().filter(|(_, bytes)| *bytes > 0).collect()
}

impl Groups {
    fn of(header: &ModelHeader) -> Self {
        let category: HashMap<&str, Category> =
            header.sites.iter().map(|site| (site.spec.site.as_str(), site.spec.category)).collect();
        let mut groups = Self::default();
        for tensor in &header.tensors {
            let group = match tensor.site.as_deref().and_then(|site| category.get(site)) {
                Some(Category::Embedding) => &mut groups.embedding,
                Some(Category::Attention) => &mut groups.attention,
                Some(Category::Mlp) => &mut groups.mlp,
                Some(Category::Norms) => &mut groups.norms,
                Some(Category::Head) => &mut groups.head,
                _ if tensor.name.to_ascii_lowercase().contains("norm") => &mut groups.norms,
                _ => &mut groups.other,
            };
            *group = group.saturating_add(tensor.bytes);
        }
        groups
    }
}

impl Shown {
    fn of(model: Model) -> Self {
        let header = model.header.as_ref();
        let labels = header.and_then(|header| header.spec.as_ref()).and_then(|spec| match &spec.head {
            Head::Classification { labels } | Head::TokenClassification { labels } => Some(labels.clone()),
            _ => None,
        });
        Self {
            support: header.map(|header| header.support),
            family: header.and_then(|header| header.family.clone()),
            architecture: header.and_then(|header| header.architecture.clone()),
            parameters: header.map(|header| header.parameters),
            dtype: header.map(|header| header.dtype),
            weight_bytes: header.map(|header| header.size_bytes),
            bytes_by_group: header.map(Groups::of),
            labels,
            files: None,
            id: model.id,
            name: model.name,
            state: model.state.as_str().to_owned(),
            size_bytes: model.size_bytes,
            errors: model.errors.into_iter().map(Detail::from).collect(),
            created_at: model.created_at,
            source_job_id: model.source_job_id,
        }
    }

    async fn with_files(mut self, executor: impl PgExecutor<'_>) -> Result<Self> {
        let rows = db::models::files(executor, self.id).await?;
        self.files = Some(rows.into_iter().map(File::from).collect());
        Ok(self)
    }
}

/// `POST /v1/models/files`
pub(super) async fn upload(app: App, uri: Uri, request: Request) -> Result<Response> {
    Params::of(&uri, &[])?;
    let headers = request.headers().clone();
    let form = upload::receive(&app, request, Purpose::Model).await?;
    let once = Once::of(&headers, &uri, &form.identity())?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let new = NewModel { name: form.name, files: form.files, source_job_id: None };
    let mut work = once.begin(&app).await?;
    let model = db::models::insert_in(work.conn(), app.tenant, &new).await?;
    upload::are_stored(&app, &new.files).await?;
    created(work, model).await
}

/// `POST /v1/models`
pub(super) async fn create(app: App, uri: Uri, headers: HeaderMap, JsonBody(body): JsonBody) -> Result<Response> {
    Params::of(&uri, &[])?;
    let once = Once::of(&headers, &uri, &body)?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let wanted = Wanted::read(&app, &body, Purpose::Model).await?;
    let mut work = once.begin(&app).await?;
    let files = wanted.hold(&app, work.conn()).await?;
    let new = NewModel { source_job_id: wanted.job(), name: wanted.name, files };
    let model = db::models::insert_in(work.conn(), app.tenant, &new).await?;
    created(work, model).await
}

async fn created(mut work: Work, model: Model) -> Result<Response> {
    let location = format!("/v1/models/{}", model.id);
    let shown = Shown::of(model).with_files(work.conn()).await?;
    work.finish(Answer::created(&location, &shown)?).await
}

/// Takes a form of files as a model; it is durable when this returns.
pub(super) async fn store(app: &App, request: Request) -> Result<Model> {
    let form = upload::receive(app, request, Purpose::Model).await?;
    let new = NewModel { name: form.name, files: form.files, source_job_id: None };
    let mut tx = app.pool.begin().await.map_err(db::Error::from)?;
    let model = db::models::insert_in(&mut tx, app.tenant, &new).await?;
    upload::are_stored(app, &new.files).await?;
    tx.commit().await.map_err(db::Error::from)?;
    Ok(model)
}

/// `GET /v1/models`
pub(super) async fn list(app: App, uri: Uri) -> Result<Json<List<Shown>>> {
    let page = Page::of(&Params::of(&uri, &["limit", "cursor"])?)?;
    let rows = db::models::list(&app.pool, app.tenant, &page.filter()).await?;
    Ok(Json(page.list(rows, |model| model.id.0, Shown::of)))
}

/// `GET /v1/models/{id}`
pub(super) async fn find(app: App, Id(id): Id<ModelId>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::of(&uri, &[])?;
    let wait = prefer::wait(&headers);
    let model = settled(&app, id, wait).await?;
    let shown = Shown::of(model).with_files(&app.pool).await?;
    Ok((prefer::applied(wait), Json(shown)).into_response())
}

/// `DELETE /v1/models/{id}`
pub(super) async fn delete(app: App, Id(id): Id<ModelId>, uri: Uri) -> Result<StatusCode> {
    Params::of(&uri, &[])?;
    if !db::models::delete(&app.pool, app.tenant, id).await? {
        return Err(Error::not_found(format_args!("model {id}")));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The model, once it is no longer validating or the wait is over.
async fn settled(app: &App, id: ModelId, wait: Option<Duration>) -> Result<Model> {
    let read = async || {
        let model = db::models::find(&app.pool, app.tenant, id).await?;
        model.ok_or_else(|| Error::not_found(format_args!("model {id}")))
    };
    let watched = match wait {
        Some(_) => db::jobs::validation_of_model(&app.pool, id).await?,
        None => None,
    };
    wait::until(app, watched.map(|job| job.0), wait, read, |model| model.state != UploadState::Validating).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::{InputForm, Layout, SiteHeader, SiteRole, SiteSpec, TensorInfo};

    #[test]
    fn groups_sum_to_the_tensors() {
        let tensor = |name: &str, site: Option<&str>, bytes| TensorInfo {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: vec![bytes as usize / 4],
            bytes,
            file: "model.safetensors".to_owned(),
            site: site.map(str::to_owned),
        };
        let spec = SiteSpec {
            site: "encoder.0.mlp.up".to_owned(),
            role: SiteRole::Linear,
            category: Category::Mlp,
            module: "up".to_owned(),
            out: 2,
            r#in: 2,
            bias: true,
            is_centered: false,
            transposed: false,
        };
        let header = ModelHeader {
            support: Support::Full,
            family: None,
            architecture: None,
            spec: None,
            tensors: vec![
                tensor("up.weight", Some("encoder.0.mlp.up"), 16),
                tensor("up.bias", Some("encoder.0.mlp.up"), 8),
                tensor("LayerNorm.weight", None, 4),
                tensor("odd", None, 12),
            ],
            sites: vec![SiteHeader { spec, layout: Layout::dense((2, 2), Dtype::F32), input: InputForm::None }],
            parameters: 10,
            dtype: Dtype::F32,
            size_bytes: 40,
            files: Vec::new(),
            has_tokenizer: false,
        };
        let expected = Groups { mlp: 24, norms: 4, other: 12, ..Groups::default() };
        assert_eq!(Groups::of(&header), expected);
    }
}
