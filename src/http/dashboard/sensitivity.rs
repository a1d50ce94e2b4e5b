//! `/jobs/new?kind=sensitivity`: the form of a job that tries every site of a model alone; `POST /jobs` starts it.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::choices::{self, Choice};
use super::form::Fields;
use super::frame::{Frame, Problems, page_with, see};
use super::jobs::CHOICES;
use super::new_job::{Input, Select, common, inputs};
use crate::db::{self, ListFilter};
use crate::engine::recipe::presets;
use crate::http::error::{Detail, Result};
use crate::http::{App, jobs};
use crate::id::{DatasetId, ModelId};

/// Lists to choose from, with where a job's body has what is chosen.
const CHOSEN: [(&str, &str); 4] = [
    ("model_id", "/model_id"),
    ("calibration_dataset_id", "/calibration_dataset_id"),
    ("training_dataset_id", "/training_dataset_id"),
    ("recipe_name", "/recipe_name"),
];
/// Where a job's body has what the other fields say.
const OTHERS: [&str; 4] = ["/evaluate/max_seq_length", "/sensitivity/bits", "/deadline_seconds", "/labels"];

#[derive(Template)]
#[template(path = "sensitivity.html")]
struct SensitivityPage {
    frame: Frame,
    has_models: bool,
    has_datasets: bool,
    rest: Vec<Detail>,
    selects: Vec<Select>,
    inputs: Vec<Input>,
}

/// Whether a form asks for a job of this kind.
pub(super) fn is_asked_for(fields: &Fields) -> bool {
    fields.get("kind") == Some("sensitivity")
}

/// Starts the job: then its page.
pub(super) async fn start(app: &App, fields: &Fields) -> Result<Response> {
    let started = async {
        let checked = jobs::check(app, &body(fields)).await?;
        jobs::enqueue(app, checked).await
    };
    match started.await {
        Ok(job) => Ok(see(&format!("/jobs/{}", job.id))),
        Err(error) => {
            let (status, problems) = Problems::of("This job can’t be made:", error)?;
            form(app, fields, status, &problems).await
        }
    }
}

/// The body of `POST /v1/jobs` that says the same as the form.
fn body(fields: &Fields) -> Value {
    let mut body = Map::from_iter([("kind".to_owned(), json!("sensitivity"))]);
    for (name, _) in CHOSEN {
        if let Some(text) = fields.get(name) {
            body.insert(name.to_owned(), json!(text));
        }
    }
    common(fields, &mut body);
    if let Some(text) = fields.get("bits") {
        body.insert("sensitivity".to_owned(), json!({ "bits": bits(text) }));
    }
    Value::Object(body)
}

/// `2, 3, 4`; what is no number stays a text, and is refused where the body is read.
fn bits(text: &str) -> Value {
    let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
    parts.map(|part| part.parse::<u32>().map_or_else(|_| json!(part), |bits| json!(bits))).collect()
}

/// The form, as it was filled in.
pub(super) async fn form(app: &App, fields: &Fields, status: StatusCode, problems: &Problems) -> Result<Response> {
    let models = db::names::recent_models(&app.pool, app.tenant, CHOICES).await?;
    let datasets = db::names::recent_datasets(&app.pool, app.tenant, CHOICES).await?;
    let stored = db::recipes::list(&app.pool, app.tenant, &ListFilter { limit: CHOICES, before: None }).await?;
    let names = presets().iter().map(|preset| preset.name.to_owned()).chain(stored.into_iter().map(|one| one.name));
    let chosen = fields.get("recipe_name");
    let recipe = |name: String| Choice { is_chosen: chosen == Some(name.as_str()), text: name.clone(), value: name };
    let data = |name: &str| choices::of(&datasets, DatasetId::PREFIX, fields.get(name));
    let pointers: Vec<&str> = CHOSEN.iter().map(|(_, pointer)| *pointer).chain(OTHERS).collect();
    let mut lines = inputs(fields, problems);
    lines.insert(
        0,
        Input {
            name: "bits",
            label: "Bits",
            mode: "text",
            placeholder: "2, 3, 4, 5, 6, 8",
            hint: "Every site is tried at each of them.",
            value: fields.text("bits"),
            problems: problems.at("/sensitivity/bits"),
        },
    );
    let page = SensitivityPage {
        frame: Frame::new("New job", "/jobs"),
        has_models: !models.is_empty(),
        has_datasets: !datasets.is_empty(),
        rest: problems.beside(&pointers),
        selects: selects(
            choices::of(&models, ModelId::PREFIX, fields.get("model_id")),
            data,
            names.map(recipe).collect(),
            problems,
        ),
        inputs: lines,
    };
    page_with(status, &page)
}

fn selects(
    models: Vec<Choice>,
    data: impl Fn(&str) -> Vec<Choice>,
    recipes: Vec<Choice>,
    problems: &Problems,
) -> Vec<Select> {
    let select = |name, label, none, hint, is_required, options| Select {
        name,
        label,
        none,
        hint,
        is_required,
        options,
        problems: problems.at(&format!("/{name}")),
    };
    let (calibration, training) = ("calibration_dataset_id", "training_dataset_id");
    vec![
        select("model_id", "Model", "choose a model", "What is tried on.", true, models),
        select(
            calibration,
            "Calibration text",
            "none",
            "A tenth of it is held out: answers are compared on that.",
            false,
            data(calibration),
        ),
        select(training, "Training text", "none", "In place of calibration text.", false, data(training)),
        select(
            "recipe_name",
            "Recipe",
            "none: round every site in groups of 64",
            "How a site is changed, and which sites are.",
            false,
            recipes,
        ),
    ]
}
