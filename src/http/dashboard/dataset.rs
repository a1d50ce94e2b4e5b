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
use crate::engine::data::{DatasetSummary, Duplicate, Target};
use crate::http::App;
use crate::http::error::{Error, Result};
use crate::http::extract::Id;
use crate::id::DatasetId;

/// Labels that are listed.
const LABELS: usize = 100;

/// A label or a tag, and how often it is there.
struct Label {
    name: String,
    count: String,
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
    of_what: OfWhat,
    files: Vec<FileLine>,
    files_told: String,
    delete: Delete,
}

/// What the table of labels counts.
struct OfWhat {
    title: &'static str,
    one: &'static str,
    counted: &'static str,
}

impl OfWhat {
    const fn of(target: Target) -> Self {
        match target {
            Target::Tags => Self { title: "Tags", one: "Tag", counted: "Words" },
            Target::None | Target::Class | Target::Regression => {
                Self { title: "Labels", one: "Label", counted: "Rows" }
            }
        }
    }
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
    let counts = dataset.summary.as_ref().map(counts).unwrap_or_default();
    let target = dataset.summary.as_ref().map(DatasetSummary::target).unwrap_or_default();
    let page = DatasetPage {
        frame: Frame::new(dataset.name.clone(), "/datasets").live(is_validating),
        id: Markup::copyable(&id.to_string()),
        state: Markup::state(dataset.state.as_str()),
        is_validating,
        problems,
        labels: labels(&counts),
        labels_told: match counts.len() {
            ..=LABELS => "Most frequent first.".to_owned(),
            all => format!("The {LABELS} most frequent of {}.", grouped(all as u64)),
        },
        of_what: OfWhat::of(target),
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
        facts.extend([
            ("Rows", Markup(grouped(summary.rows))),
            ("Words", Markup(grouped(summary.words))),
            ("Labels", Markup::text(&labelled(summary))),
            ("Duplicates", Markup::text(&duplicated(summary))),
            ("Format", Markup::text(&summary.format)),
        ]);
    }
    facts.push(("Size", Markup::bytes(dataset.size_bytes)));
    facts.push(("Uploaded", Markup::time(dataset.created_at)));
    facts
}

/// What is to be answered, in words.
fn labelled(summary: &DatasetSummary) -> String {
    match (summary.target(), summary.values) {
        (Target::Regression, Some(values)) => {
            format!("numbers from {} to {}, {:.4} on average", values.low, values.high, values.mean)
        }
        (Target::Regression, None) => "numbers".to_owned(),
        (Target::Tags, _) => format!("a tag for every word, of {}", grouped(summary.tags.len() as u64)),
        (Target::Class, _) => grouped(summary.labels.len() as u64),
        (Target::None, _) => "the rows have none".to_owned(),
    }
}

/// How many rows stand there before, and where the first of them do.
fn duplicated(summary: &DatasetSummary) -> String {
    if summary.duplicates == 0 {
        return "none".to_owned();
    }
    let told = format!("{} of the rows stand there before, word for word", grouped(summary.duplicates));
    let place = |one: &Duplicate| {
        format!("{} as line {} of {}", one.row.line, one.same_as.line, cut(&one.same_as.file, LETTERS))
    };
    let places: Vec<String> = summary.first_duplicates.iter().map(place).collect();
    if places.is_empty() { told } else { format!("{told}: line {}", places.join(", ")) }
}

/// Labels or tags with their counts.
fn counts(summary: &DatasetSummary) -> Vec<(&str, u64)> {
    let labels = summary.labels.iter().map(|count| (count.label.as_str(), count.rows));
    labels.chain(summary.tags.iter().map(|count| (count.tag.as_str(), count.words))).collect()
}

fn labels(counts: &[(&str, u64)]) -> Vec<Label> {
    let total = counts.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let label = |(name, count): &(&str, u64)| Label {
        name: cut(name, LETTERS),
        count: grouped(*count),
        share: percent(*count, total),
        bar: spark(*count, most),
    };
    counts.iter().take(LABELS).map(label).collect()
}
