//! `/jobs/new`: a job's form, then its plan; `POST /jobs` starts it.

use askama::Template;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::choices::{self, Choice};
use super::form::{Fields, InBody, InQuery};
use super::frame::{Frame, Problems, page_with, see};
use super::jobs::CHOICES;
use super::{measure, plan, sensitivity};
use crate::db::{self, ListFilter};
use crate::engine::recipe::presets;
use crate::http::error::{Detail, Result};
use crate::http::{App, jobs};
use crate::id::{DatasetId, ModelId};

/// The form's fields.
pub(super) const FIELDS: &[&str] = &[
    "model_id",
    "recipe_name",
    "evaluation_dataset_id",
    "calibration_dataset_id",
    "validation_dataset_id",
    "training_dataset_id",
    "max_seq_length",
    "deadline_hours",
    "labels",
];
/// Where a job's body has what they say.
const POINTERS: &[&str] = &[
    "/model_id",
    "/recipe_name",
    "/evaluation_dataset_id",
    "/calibration_dataset_id",
    "/validation_dataset_id",
    "/training_dataset_id",
    "/evaluate/max_seq_length",
    "/deadline_seconds",
    "/labels",
];

/// A list to choose from.
pub(super) struct Select {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) none: &'static str,
    pub(super) hint: &'static str,
    pub(super) is_required: bool,
    pub(super) options: Vec<Choice>,
    pub(super) problems: Vec<String>,
}

/// A line to fill in.
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) mode: &'static str,
    pub(super) placeholder: &'static str,
    pub(super) hint: &'static str,
    pub(super) value: String,
    pub(super) problems: Vec<String>,
}

struct RecipeChoice {
    name: String,
    told: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "new_job.html")]
struct NewJobPage {
    frame: Frame,
    models: Vec<()>,
    rest: Vec<Detail>,
    selects: Vec<Select>,
    recipes: Vec<RecipeChoice>,
    recipe_problems: Vec<String>,
    inputs: Vec<Input>,
}

/// `GET /jobs/new`: the form, or with `step=plan` the plan of what was filled in.
pub(super) async fn show(app: App, InQuery(query): InQuery, headers: HeaderMap) -> Result<Response> {
    if measure::is_asked_for(&query) {
        return measure::form(&app, &query, StatusCode::OK, &Problems::default()).await;
    }
    if sensitivity::is_asked_for(&query) {
        return sensitivity::form(&app, &query, StatusCode::OK, &Problems::default()).await;
    }
    if query.get("step") != Some("plan") {
        return form(&app, &query, StatusCode::OK, &Problems::default()).await;
    }
    let body = body(&query);
    match jobs::check(&app, &body).await {
        Ok(checked) => plan::page(&app, &query, &body, &checked, &headers).await,
        Err(error) => {
            let (status, problems) = Problems::of("This job can’t be made:", error)?;
            form(&app, &query, status, &problems).await
        }
    }
}

/// `POST /jobs`: then the job's page.
pub(super) async fn start(app: App, InBody(fields): InBody) -> Result<Response> {
    if measure::is_asked_for(&fields) {
        return measure::start(&app, &fields).await;
    }
    if sensitivity::is_asked_for(&fields) {
        return sensitivity::start(&app, &fields).await;
    }
    let started = async {
        let checked = jobs::check(&app, &body(&fields)).await?;
        jobs::enqueue(&app, checked).await
    };
    match started.await {
        Ok(job) => Ok(see(&format!("/jobs/{}", job.id))),
        Err(error) => {
            let (status, problems) = Problems::of("This job can’t be made:", error)?;
            form(&app, &fields, status, &problems).await
        }
    }
}

/// The body of `POST /v1/jobs` that says the same as the form.
pub(super) fn body(fields: &Fields) -> Value {
    let mut body = Map::new();
    for name in FIELDS.iter().filter(|name| name.ends_with("_id") || **name == "recipe_name") {
        if let Some(text) = fields.get(name) {
            body.insert((*name).to_owned(), json!(text));
        }
    }
    common(fields, &mut body);
    Value::Object(body)
}

/// What forms of all kinds of jobs have.
pub(super) fn common(fields: &Fields, body: &mut Map<String, Value>) {
    if let Some(text) = fields.get("max_seq_length") {
        body.insert("evaluate".to_owned(), json!({ "max_seq_length": number(text) }));
    }
    if let Some(text) = fields.get("deadline_hours") {
        let seconds = text.replace(',', ".").parse::<f64>().ok().filter(|hours| hours.is_finite());
        let seconds = seconds.map(|hours| (hours * 3600.0).round().clamp(-1e15, 1e15) as i64);
        body.insert("deadline_seconds".to_owned(), seconds.map_or_else(|| json!(text), |seconds| json!(seconds)));
    }
    if let Some(text) = fields.get("labels") {
        body.insert("labels".to_owned(), labels(text));
    }
}

/// A whole number; what is none stays a text, and is refused where the body is read.
fn number(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
}

/// `name:value, name:value`
fn labels(text: &str) -> Value {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| match pair.split_once(':') {
        Some((name, value)) => (name.trim().to_owned(), json!(value.trim())),
        None => (pair.to_owned(), json!("")),
    };
    Value::Object(pairs.map(pair).collect())
}

async fn form(app: &App, fields: &Fields, status: StatusCode, problems: &Problems) -> Result<Response> {
    let models = db::names::recent_models(&app.pool, app.tenant, CHOICES).await?;
    let datasets = db::names::recent_datasets(&app.pool, app.tenant, CHOICES).await?;
    let stored = db::recipes::list(&app.pool, app.tenant, &ListFilter { limit: CHOICES, before: None }).await?;
    let chosen = fields.get("recipe_name");
    let mut recipes: Vec<RecipeChoice> = presets()
        .iter()
        .map(|preset| (preset.name.to_owned(), preset.summary.to_owned()))
        .chain(stored.into_iter().map(|recipe| (recipe.name, format!("Stored, version {}.", recipe.version))))
        .map(|(name, told)| RecipeChoice { is_chosen: chosen == Some(name.as_str()), name, told })
        .collect();
    if chosen.is_none()
        && let Some(first) = recipes.first_mut()
    {
        first.is_chosen = true;
    }
    let data = |name: &str| choices::of(&datasets, DatasetId::PREFIX, fields.get(name));
    let page = NewJobPage {
        frame: Frame::new("New job", "/jobs"),
        models: vec![(); models.len()],
        rest: problems.beside(POINTERS),
        selects: selects(choices::of(&models, ModelId::PREFIX, fields.get("model_id")), data, problems),
        recipes,
        recipe_problems: problems.at("/recipe_name"),
        inputs: inputs(fields, problems),
    };
    page_with(status, &page)
}

fn selects(models: Vec<Choice>, data: impl Fn(&str) -> Vec<Choice>, problems: &Problems) -> Vec<Select> {
    let select = |name, label, none, hint| Select {
        name,
        label,
        none,
        hint,
        is_required: false,
        options: data(name),
        problems: problems.at(&format!("/{name}")),
    };
    vec![
        Select {
            name: "model_id",
            label: "Model",
            none: "choose a model",
            hint: "",
            is_required: true,
            options: models,
            problems: problems.at("/model_id"),
        },
        select(
            "evaluation_dataset_id",
            "Evaluation rows",
            "none: fidelity to the original alone",
            "What the report measures on; read once, at the end.",
        ),
        select(
            "calibration_dataset_id",
            "Calibration text",
            "none",
            "For recipes that take statistics of real inputs.",
        ),
        select("validation_dataset_id", "Validation rows", "none", "For recipes that choose between alternatives."),
        select("training_dataset_id", "Training text", "none", "For recipes that train."),
    ]
}

/// The lines of [`common`].
pub(super) fn inputs(fields: &Fields, problems: &Problems) -> Vec<Input> {
    let input = |name, label, mode, placeholder, hint, pointer: &str| Input {
        name,
        label,
        mode,
        placeholder,
        hint,
        value: fields.text(name),
        problems: problems.at(pointer),
    };
    vec![
        input(
            "max_seq_length",
            "Tokens of a row",
            "numeric",
            "128",
            "Longer rows are cut when the result is measured.",
            "/evaluate/max_seq_length",
        ),
        input("deadline_hours", "Give up after, hours", "decimal", "24", "Counted from now.", "/deadline_seconds"),
        input("labels", "Labels", "text", "team:search, run:7", "To find the job again.", "/labels"),
    ]
}
