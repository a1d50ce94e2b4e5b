//! The plan of a job that is not sent yet.

use askama::Template;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;

use super::bars;
use super::form::{Fields, encode};
use super::frame::{self, Frame};
use super::home::origin;
use super::new_job::FIELDS;
use super::show::{Markup, grouped, short_bytes};
use crate::engine::model::ModelHeader;
use crate::engine::plan::Plan;
use crate::engine::report::html::format::seconds;
use crate::http::App;
use crate::http::error::Result;
use crate::http::jobs::Checked;

struct Tile {
    label: &'static str,
    value: Markup,
    note: String,
}

struct Stage {
    method: String,
    params: String,
    sites: String,
    bytes: Markup,
    parameters: Markup,
}

struct Shown {
    tiles: Vec<Tile>,
    notes: Vec<String>,
    bars: Markup,
    before: Markup,
    before_parameters: Markup,
    stages: Vec<Stage>,
    facts: Vec<(&'static str, Markup)>,
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    frame: Frame,
    recipe: String,
    model: Markup,
    change: String,
    fields: Vec<(&'static str, String)>,
    plan: Option<Shown>,
    curl: String,
    command: String,
}

/// The page of a job's plan.
pub(super) async fn page(
    app: &App,
    fields: &Fields,
    body: &Value,
    checked: &Checked,
    headers: &HeaderMap,
) -> Result<Response> {
    let model = &checked.inputs.model;
    let shown = checked.plan.as_ref().zip(model.header.as_ref()).map(|(plan, header)| shown(plan, header));
    let kept: Vec<(&'static str, String)> =
        FIELDS.iter().filter_map(|name| Some((*name, fields.get(name)?.to_owned()))).collect();
    let query: Vec<String> = kept.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let datasets = names(app, fields).await?;
    frame::page(&PlanPage {
        frame: Frame::new("The plan", "/jobs").live(!checked.inputs.are_ready()),
        recipe: fields.text("recipe_name"),
        model: Markup::link(&format!("/models/{}", model.id), &model.name),
        change: format!("/jobs/new?{}", query.join("&")),
        plan: shown,
        curl: format!(
            "curl --json {} {}/v1/jobs",
            quote(&serde_json::to_string_pretty(body).unwrap_or_default()),
            origin(headers)
        ),
        command: command(fields, &model.name, &datasets),
        fields: kept,
    })
}

/// The names of the datasets that were chosen, by field.
async fn names(app: &App, fields: &Fields) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for name in FIELDS.iter().filter(|name| name.ends_with("_dataset_id")) {
        let Some(id) = fields.get(name).and_then(|text| text.parse::<crate::id::DatasetId>().ok()) else { continue };
        let named = crate::db::names::datasets(&app.pool, app.tenant, &[id.0]).await?;
        found.extend(named.into_iter().map(|dataset| (*name, dataset.name)));
    }
    Ok(found)
}

fn shown(plan: &Plan, header: &ModelHeader) -> Shown {
    let predicted = &plan.predicted;
    let ratio = header.size_bytes as f64 / predicted.size_bytes.max(1) as f64;
    let bits = 8.0 * predicted.size_bytes as f64 / header.parameters.max(1) as f64;
    let most = if plan.is_packed() { "at most; " } else { "" };
    let tile = |label, value: String, note: String| Tile { label, value: Markup(value), note };
    let mut sizes = vec![("as it is".to_owned(), header.size_bytes)];
    sizes.extend(plan.stages.iter().map(|stage| (format!("after {}", stage.method), stage.size_bytes)));
    Shown {
        tiles: vec![
            tile(
                "Size after",
                Markup::bytes(predicted.size_bytes).0,
                format!("{most}from {} · {ratio:.2}×", short_bytes(header.size_bytes as f64)),
            ),
            tile(
                "Parameters after",
                Markup::count(predicted.parameters).0,
                format!("{bits:.2} bits per original weight"),
            ),
            tile("Memory", format!("≤ {}", short_bytes(predicted.peak_memory_bytes as f64)), "at the peak".to_owned()),
            tile("Time", format!("≈ {}", seconds(predicted.wall_seconds)), "on two cores, roughly".to_owned()),
        ],
        notes: plan.notes.iter().map(|note| sentence(note)).collect(),
        bars: bars::sizes(&sizes),
        before: Markup::bytes(header.size_bytes),
        before_parameters: Markup::count(header.parameters),
        stages: plan.stages.iter().map(stage).collect(),
        facts: facts(plan),
    }
}

fn stage(stage: &crate::engine::plan::PlannedStage) -> Stage {
    let params = stage.params.as_object().into_iter().flatten();
    let params: Vec<String> = params
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    Stage {
        method: stage.method.clone(),
        params: params.join(", "),
        sites: grouped(stage.sites.len() as u64),
        bytes: Markup::bytes(stage.size_bytes),
        parameters: Markup::count(stage.parameters),
    }
}

fn facts(plan: &Plan) -> Vec<(&'static str, Markup)> {
    let predicted = &plan.predicted;
    let loaders = predicted.files.first().map(|file| file.loaders.join("; ")).unwrap_or_default();
    let files: Vec<String> =
        predicted.files.iter().map(|file| format!("{}, {} bytes", file.path, grouped(file.size_bytes))).collect();
    let metrics = if plan.evaluate.metrics.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{}, rows cut to {} tokens", plan.evaluate.metrics.join(", "), plan.evaluate.max_seq_length)
    };
    vec![
        ("Loads in", Markup::text(&loaders)),
        ("Files", Markup::text(&files.join("; "))),
        ("Measured", Markup::text(&metrics)),
        (
            "Needs",
            Markup::text(&format!(
                "a worker with {} of memory and {} of scratch space",
                short_bytes(predicted.peak_memory_bytes as f64),
                short_bytes(predicted.disk_bytes as f64)
            )),
        ),
        ("Seed", Markup(plan.seed.to_string())),
    ]
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `pare compress` with the same recipe; its files are named as the datasets are.
fn command(fields: &Fields, model: &str, datasets: &[(&str, String)]) -> String {
    let recipe = fields.text("recipe_name");
    let is_preset = crate::engine::recipe::preset(&recipe).is_some();
    let file = if is_preset { recipe.clone() } else { format!("{recipe}.json") };
    let mut parts = vec![format!("pare compress {} --recipe {}", quote(model), quote(&file))];
    for (name, flag) in [
        ("evaluation_dataset_id", "--eval"),
        ("calibration_dataset_id", "--calibration"),
        ("validation_dataset_id", "--validation"),
        ("training_dataset_id", "--train"),
    ] {
        if let Some((_, dataset)) = datasets.iter().find(|(known, _)| *known == name) {
            parts.push(format!("{flag} {}", quote(&format!("{dataset}.jsonl"))));
        }
    }
    if let Some(tokens) = fields.get("max_seq_length") {
        parts.push(format!("--max-seq-length {}", quote(tokens)));
    }
    parts.push(format!("--out {}", quote(&format!("{model}-{recipe}"))));
    parts.join(" ")
}

/// A word for a shell.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,/:=@%+".contains(&byte);
    if !word.is_empty() && !word.starts_with('-') && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_can_not_break_out_of_their_quotes() {
        assert_eq!(quote("my-model_1.json"), "my-model_1.json");
        assert_eq!(quote("it's; rm -rf /"), r"'it'\''s; rm -rf /'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("--out"), "'--out'");
    }
}
