//! `/datasets/{id}`: what a dataset holds.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::bars::{percent, spark};
use super::frame::{Frame, Problems, page_with, see};
use super::model::{Delete, FILES, FileLine, LETTERS, PROBLEMS, Wrong, files_told, in_use};
use super::show::{Markup, cut, grouped};
use crate::db::datasets::Dataset;
use crate::db::{self, UploadState};
use crate::engine::data::LabelCount;
use crate::http::App;
use crate::http::error::{Error, Result};
use crate::http::extract::Id;
use crate::id::DatasetId;

/// Labels that are listed.
const LABELS: usize = 100;

struct Label {
    name: String,
    rows: String,
    share: String,
    bar: Markup,
}

#[derive(Template)]
#[template(path = "dataset.html")]
struct DatasetPage {
    frame: Frame,
    name: String,
    id: Markup,
    state: Markup,
    is_validating: bool,
    problems: Problems,
    errors: Vec<Wrong>,
    facts: Vec<(&'static str, Markup)>,
    labels: Vec<Label>,
    labels_told: String,
    files: Vec<FileLine>,
    files_told: String,
    delete: Delete,
}

/// `GET /datasets/{id}`
pub(super) async fn show(app: App, Id(id): Id<DatasetId>) -> Result<Response> {
    draw(&app, id, StatusCode::OK, Problems::default()).await
}

/// `POST /datasets/{id}/delete`: then the list.
pub(super) async fn delete(app: App, Id(id): Id<DatasetId>) -> Result<Response> {
    match db::datasets::delete(&app.pool, app.tenant, id).await {
        Ok(true) => Ok(see("/datasets")),
        Ok(false) => Err(Error::not_found(format_args!("dataset {id}"))),
        Err(error) => draw(&app, id, StatusCode::CONFLICT, in_use(error)?).await,
    }
}

async fn draw(app: &App, id: DatasetId, status: StatusCode, problems: Problems) -> Result<Response> {
    let found = db::datasets::find(&app.pool, app.tenant, id).await?;
    let dataset = found.ok_or_else(|| Error::not_found(format_args!("dataset {id}")))?;
    let files = db::datasets::files(&app.pool, id).await?;
    let is_validating = dataset.state == UploadState::Validating;
    let counts = dataset.summary.as_ref().map(|summary| summary.labels.as_slice()).unwrap_or_default();
    let page = DatasetPage {
        frame: Frame::new(dataset.name.clone(), "/datasets").live(is_validating),
        id: Markup::copyable(&id.to_string()),
        state: Markup::state(dataset.state.as_str()),
        is_validating,
        problems,
        labels: labels(counts),
        labels_told: match counts.len() {
            ..=LABELS => "Most frequent first.".to_owned(),
            all => format!("The {LABELS} most frequent of {}.", grouped(all as u64)),
        },
        facts: facts(&dataset),
        errors: dataset.errors.iter().take(PROBLEMS).map(Wrong::of).collect(),
        name: dataset.name,
        files_told: files_told(files.len()),
        files: files.into_iter().take(FILES).map(FileLine::of).collect(),
        delete: Delete {
            action: format!("/datasets/{id}/delete"),
            what: "Its rows are let go. Jobs that were measured on it keep their reports.",
        },
    };
    page_with(status, &page)
}

fn facts(dataset: &Dataset) -> Vec<(&'static str, Markup)> {
    let mut facts = Vec::new();
    if let Some(summary) = &dataset.summary {
        let labelled = match summary.labels.len() {
            0 => "the rows have none".to_owned(),
            number => grouped(number as u64),
        };
        let duplicates = match summary.duplicates {
            0 => "none".to_owned(),
            number => format!("{} of the rows stand there before, word for word", grouped(number)),
        };
        facts.extend([
            ("Rows", Markup(grouped(summary.rows))),
            ("Words", Markup(grouped(summary.words))),
            ("Labels", Markup(labelled)),
            ("Duplicates", Markup(duplicates)),
            ("Format", Markup::text(&summary.format)),
        ]);
    }
    facts.push(("Size", Markup::bytes(dataset.size_bytes)));
    facts.push(("Uploaded", Markup::time(dataset.created_at)));
    facts
}

fn labels(counts: &[LabelCount]) -> Vec<Label> {
    let total = counts.iter().map(|count| count.rows).fold(0, u64::saturating_add);
    let most = counts.iter().map(|count| count.rows).max().unwrap_or(0);
    let label = |count: &LabelCount| Label {
        name: cut(&count.label, LETTERS),
        rows: grouped(count.rows),
        share: percent(count.rows, total),
        bar: spark(count.rows, most),
    };
    counts.iter().take(LABELS).map(label).collect()
}
