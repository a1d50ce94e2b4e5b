//! `/models/{id}`: what a model is, what came of it, and what it holds.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::bars::{self, Groups};
use super::form::{Fields, InQuery};
use super::frame::{Frame, Problems, page_with, see};
use super::results::{self, Results};
use super::show::{Markup, cut, grouped, short_hash, short_id};
use super::tensors::{self, Tensors};
use crate::db::models::Model;
use crate::db::{self, Conflict, FileRow, UploadState};
use crate::engine::model::spec::Head;
use crate::engine::model::{ModelHeader, Support};
use crate::engine::problem::Problem;
use crate::http::error::{Detail, Error, Result};
use crate::http::extract::Id;
use crate::http::models::bytes_by_group;
use crate::http::{App, code};
use crate::id::ModelId;

/// Labels that are listed.
const LABELS: usize = 40;
/// Problems that are listed.
pub(super) const PROBLEMS: usize = 100;
/// Files that are listed.
pub(super) const FILES: usize = 100;
/// Letters of a name that is listed.
pub(super) const LETTERS: usize = 120;

/// Something that is wrong with an upload.
pub(super) struct Wrong {
    pub(super) pointer: String,
    pub(super) detail: String,
    pub(super) code: &'static str,
}

impl Wrong {
    pub(super) fn of(problem: &Problem) -> Self {
        Self {
            pointer: cut(&problem.pointer, LETTERS),
            detail: cut(&problem.detail, 2 * LETTERS),
            code: problem.code.as_str(),
        }
    }
}

/// A file of an upload.
pub(super) struct FileLine {
    pub(super) path: String,
    pub(super) size: Markup,
    pub(super) hash: Markup,
}

impl FileLine {
    pub(super) fn of(row: FileRow) -> Self {
        Self {
            size: Markup::bytes(row.size_bytes),
            hash: Markup::copyable_as(&row.sha256, &short_hash(&row.sha256)),
            path: row.path,
        }
    }
}

/// The form that deletes.
pub(super) struct Delete {
    pub(super) action: String,
    pub(super) what: &'static str,
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    frame: Frame,
    path: String,
    compress: String,
    measure: String,
    sensitivity: String,
    name: String,
    id: Markup,
    state: Markup,
    is_ready: bool,
    is_validating: bool,
    problems: Problems,
    errors: Vec<Wrong>,
    facts: Vec<(&'static str, Markup)>,
    labels: Vec<String>,
    more_labels: usize,
    results: Option<Results>,
    groups: Groups,
    tensors: Tensors,
    files: Vec<FileLine>,
    files_told: String,
    delete: Delete,
}

/// What a list of so many files is.
pub(super) fn files_told(files: usize) -> String {
    if files > FILES { format!("The first {FILES} of {files}.") } else { "As they were uploaded.".to_owned() }
}

/// `GET /models/{id}`
pub(super) async fn show(app: App, Id(id): Id<ModelId>, InQuery(query): InQuery) -> Result<Response> {
    draw(&app, id, &query, StatusCode::OK, Problems::default()).await
}

/// `POST /models/{id}/delete`: then the list.
pub(super) async fn delete(app: App, Id(id): Id<ModelId>) -> Result<Response> {
    match db::models::delete(&app.pool, app.tenant, id).await {
        Ok(true) => Ok(see("/models")),
        Ok(false) => Err(Error::not_found(format_args!("model {id}"))),
        Err(error) => draw(&app, id, &Fields::default(), StatusCode::CONFLICT, in_use(error)?).await,
    }
}

/// What keeps something from being deleted; other failures are passed on.
pub(super) fn in_use(error: db::Error) -> Result<Problems> {
    match error {
        db::Error::Conflict(conflict @ Conflict::InUse { .. }) => {
            let detail = Detail::new("", code::IN_USE, conflict.to_string());
            Ok(Problems { title: "It was not deleted:", list: vec![detail] })
        }
        error => Err(error.into()),
    }
}

async fn draw(app: &App, id: ModelId, query: &Fields, status: StatusCode, problems: Problems) -> Result<Response> {
    let found = db::models::find(&app.pool, app.tenant, id).await?;
    let model = found.ok_or_else(|| Error::not_found(format_args!("model {id}")))?;
    let files = db::models::files(&app.pool, id).await?;
    let path = format!("/models/{id}");
    let labels = labels(model.header.as_ref());
    let page = ModelPage {
        frame: Frame::new(model.name.clone(), "/models").live(model.state == UploadState::Validating),
        compress: format!("/jobs/new?model_id={id}"),
        measure: format!("/jobs/new?kind=evaluate&model_id={id}"),
        sensitivity: format!("/jobs/new?kind=sensitivity&model_id={id}"),
        id: Markup::copyable(&id.to_string()),
        state: Markup::state(model.state.as_str()),
        is_ready: model.state == UploadState::Ready,
        is_validating: model.state == UploadState::Validating,
        problems,
        facts: facts(&model),
        more_labels: labels.len().saturating_sub(LABELS),
        labels: labels.iter().take(LABELS).map(|label| cut(label, LETTERS)).collect(),
        results: results::of(app, id, query.get("on")).await?,
        groups: model.header.as_ref().map(|header| bars::groups(&bytes_by_group(header))).unwrap_or_default(),
        tensors: tensors::of(model.header.as_ref(), query, &path),
        errors: model.errors.iter().take(PROBLEMS).map(Wrong::of).collect(),
        name: model.name,
        files_told: files_told(files.len()),
        files: files.into_iter().take(FILES).map(FileLine::of).collect(),
        delete: Delete {
            action: format!("{path}/delete"),
            what: "Its files are let go. Jobs that worked on it keep their results and reports.",
        },
        path,
    };
    page_with(status, &page)
}

fn labels(header: Option<&ModelHeader>) -> &[String] {
    match header.and_then(|header| header.spec.as_ref()).map(|spec| &spec.head) {
        Some(Head::Classification { labels }) => labels,
        _ => &[],
    }
}

fn facts(model: &Model) -> Vec<(&'static str, Markup)> {
    let mut facts = Vec::new();
    if let Some(header) = &model.header {
        let family = header.family.as_deref().unwrap_or("unknown");
        let architecture = header.architecture.as_deref().unwrap_or(family);
        let support = match header.support {
            Support::Full => "everything works: it can be run and measured",
            Support::WeightsOnly => {
                "its family is unknown: weights are compressed, and nothing is measured by running it"
            }
        };
        facts.extend([
            ("Architecture", Markup::text(architecture)),
            ("Parameters", Markup::count(header.parameters)),
            ("Type of the weights", Markup::text(header.dtype.as_str())),
            ("Weight files", Markup::bytes(header.size_bytes)),
            ("All files", Markup::bytes(model.size_bytes)),
        ]);
        if let Some(spec) = &header.spec {
            let shape = format!("{} layers, {} wide, {} heads", spec.layers, spec.hidden, spec.heads);
            facts.push(("Shape", Markup::text(&shape)));
            facts.push(("Longest text", Markup(format!("{} tokens", grouped(spec.positions as u64)))));
        }
        if !header.has_tokenizer {
            facts.push(("Tokenizer", Markup::text("none: it can’t be measured on rows of text")));
        }
        facts.push(("Support", Markup::text(support)));
    } else {
        facts.push(("All files", Markup::bytes(model.size_bytes)));
    }
    if let Some(job) = model.source_job_id {
        facts.push(("Result of", Markup::link(&format!("/jobs/{job}"), &short_id(&job.to_string()))));
    }
    facts.push(("Uploaded", Markup::time(model.created_at)));
    facts
}
