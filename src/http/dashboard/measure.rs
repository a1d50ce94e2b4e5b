//! `/jobs/new?kind=evaluate`: the form of a job that measures a model as it is; `POST /jobs` starts it.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::choices::{self, Choice};
use super::form::Fields;
use super::frame::{Frame, Problems, page_with, see};
use super::jobs::CHOICES;
use super::new_job::{Input, Select, common, inputs};
use super::show::name;
use crate::db;
use crate::engine::recipe::METRICS;
use crate::http::error::{Detail, Result};
use crate::http::{App, jobs};
use crate::id::{DatasetId, ModelId};

/// Fields that are ids, with where a job's body has them.
const IDS: [(&str, &str); 3] = [
    ("model_id", "/model_id"),
    ("reference_model_id", "/reference_model_id"),
    ("evaluation_dataset_id", "/evaluation_dataset_id"),
];
/// Where a job's body has what the other fields say.
const OTHERS: [&str; 4] = ["/evaluate/max_seq_length", "/evaluate/metrics", "/deadline_seconds", "/labels"];

struct Metric {
    name: &'static str,
    text: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "measure.html")]
struct MeasurePage {
    frame: Frame,
    has_models: bool,
    has_datasets: bool,
    rest: Vec<Detail>,
    selects: Vec<Select>,
    metrics: Vec<Metric>,
    metric_problems: Vec<String>,
    inputs: Vec<Input>,
}

/// Whether a form asks for a job of this kind.
pub(super) fn is_asked_for(fields: &Fields) -> bool {
    fields.get("kind") == Some("evaluate")
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
    let mut body = Map::from_iter([("kind".to_owned(), json!("evaluate"))]);
    for (name, _) in IDS {
        if let Some(text) = fields.get(name) {
            body.insert(name.to_owned(), json!(text));
        }
    }
    common(fields, &mut body);
    // None chosen: all that apply
    let metrics = fields.all("metrics");
    if !metrics.is_empty()
        && let Some(evaluate) = body.entry("evaluate").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
    {
        evaluate.insert("metrics".to_owned(), json!(metrics));
    }
    Value::Object(body)
}

/// The form, as it was filled in.
pub(super) async fn form(app: &App, fields: &Fields, status: StatusCode, problems: &Problems) -> Result<Response> {
    let models = db::names::recent_models(&app.pool, app.tenant, CHOICES).await?;
    let datasets = db::names::recent_datasets(&app.pool, app.tenant, CHOICES).await?;
    let pointers: Vec<&str> = IDS.iter().map(|(_, pointer)| *pointer).chain(OTHERS).collect();
    let chosen = fields.all("metrics");
    let page = MeasurePage {
        frame: Frame::new("New job", "/jobs"),
        has_models: !models.is_empty(),
        has_datasets: !datasets.is_empty(),
        rest: problems.beside(&pointers),
        selects: selects(
            |name| choices::of(&models, ModelId::PREFIX, fields.get(name)),
            choices::of(&datasets, DatasetId::PREFIX, fields.get("evaluation_dataset_id")),
            problems,
        ),
        metrics: METRICS
            .iter()
            .map(|metric| Metric { name: metric, text: name(metric), is_chosen: chosen.contains(metric) })
            .collect(),
        metric_problems: problems.at("/evaluate/metrics"),
        inputs: inputs(fields, problems),
    };
    page_with(status, &page)
}

fn selects(models: impl Fn(&str) -> Vec<Choice>, datasets: Vec<Choice>, problems: &Problems) -> Vec<Select> {
    let select = |name, label, none, hint, is_required, options| Select {
        name,
        label,
        none,
        hint,
        is_required,
        options,
        problems: problems.at(&format!("/{name}")),
    };
    vec![
        select("model_id", "Model", "choose a model", "What is measured.", true, models("model_id")),
        select(
            "reference_model_id",
            "Compared with",
            "none: the model on its own",
            "Another model that answers the same rows in the same process: the original of a result, say.",
            false,
            models("reference_model_id"),
        ),
        select("evaluation_dataset_id", "Evaluation rows", "choose rows", "What it is measured on.", true, datasets),
    ]
}
