//! `/recipes`: presets and stored ones.

use askama::Template;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;

use super::form::{InQuery, encode};
use super::frame::{Frame, page};
use super::home::origin;
use super::show::{Markup, cut};
use crate::db;
use crate::engine::method::METHODS;
use crate::engine::recipe::presets;
use crate::http::App;
use crate::http::error::{Error, Result};
use crate::http::page::Page;

/// Stored recipes of a page.
const ROWS: u32 = 10;

struct Row {
    name: String,
    kind: String,
    told: Markup,
    stages: Vec<String>,
    json: Markup,
    use_it: String,
}

impl Row {
    fn new(name: &str, kind: String, told: Markup, recipe: &Value) -> Self {
        let stages = recipe.get("stages").and_then(Value::as_array).into_iter().flatten();
        Self {
            name: name.to_owned(),
            kind,
            told,
            stages: stages.map(|one| cut(&stage(one), 300)).collect(),
            json: Markup::json(recipe),
            use_it: format!("/jobs/new?recipe_name={}", encode(name)),
        }
    }
}

#[derive(Template)]
#[template(path = "recipes.html")]
struct RecipesPage {
    frame: Frame,
    recipes: Vec<Row>,
    older: Option<String>,
    methods: Vec<(&'static str, &'static str, &'static str)>,
    origin: String,
}

/// `GET /recipes`
pub(super) async fn list(app: App, InQuery(query): InQuery, headers: HeaderMap) -> Result<Response> {
    let at = Page::after(query.get("cursor"), ROWS)?;
    let mut recipes = Vec::new();
    if at.before.is_none() {
        for preset in presets() {
            let recipe = serde_json::to_value(&preset.recipe).map_err(Error::internal)?;
            recipes.push(Row::new(preset.name, "preset".to_owned(), Markup::text(preset.summary), &recipe));
        }
    }
    let stored = db::recipes::list(&app.pool, app.tenant, &at.filter()).await?;
    let (stored, next) = at.list(stored, |recipe| recipe.id.0, |recipe| recipe).into_parts();
    recipes.extend(stored.iter().map(|stored| {
        let told = Markup(format!("Stored {}.", Markup::time(stored.created_at)));
        Row::new(&stored.name, format!("version {}", stored.version), told, &stored.recipe)
    }));
    let methods = METHODS.iter().map(|method| method.spec());
    page(&RecipesPage {
        frame: Frame::new("Recipes", "/recipes"),
        recipes,
        older: next.map(|cursor| format!("/recipes?cursor={cursor}")),
        methods: methods.map(|spec| (spec.name, spec.summary, needs(spec.needs.as_str()))).collect(),
        origin: origin(&headers),
    })
}

/// `quantize: bits 4, group_size 64`
fn stage(stage: &Value) -> String {
    let method = stage.get("method").and_then(Value::as_str).unwrap_or("stage");
    let params = stage.get("params").and_then(Value::as_object).into_iter().flatten();
    let params: Vec<String> = params
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    if params.is_empty() { method.to_owned() } else { format!("{method}: {}", params.join(", ")) }
}

fn needs(key: &'static str) -> &'static str {
    match key {
        "calibration" => "calibration text",
        "training_text" => "text to train on",
        "labels" => "labelled rows",
        _ => "nothing",
    }
}
