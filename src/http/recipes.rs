//! Recipes: presets, which are built in, and stored ones, which are never changed, only followed by a next version.

use axum::Json;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::error::{Detail, Error, Result};
use super::extract::{JsonBody, Name, Params};
use super::fields::Fields;
use super::idempotency::{Answer, Once};
use super::page::{List, Page};
use super::{App, code, nulls};
use crate::db;
use crate::db::recipes::StoredRecipe;
use crate::engine::problem::Code;
use crate::engine::recipe::{Preset, Recipe, presets};
use crate::id::RecipeId;

/// The longest name of a recipe.
const NAME_CHARS: usize = 64;

/// A recipe as clients see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    name: String,
    is_preset: bool,
    version: u32,
    recipe: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RecipeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<DateTime<Utc>>,
}

impl Shown {
    fn of_preset(preset: &Preset) -> Result<Self> {
        Ok(Self {
            name: preset.name.to_owned(),
            is_preset: true,
            version: 1,
            recipe: serde_json::to_value(&preset.recipe).map_err(Error::internal)?,
            id: None,
            summary: Some(preset.summary.to_owned()),
            created_at: None,
        })
    }

    fn of(stored: StoredRecipe) -> Self {
        Self {
            name: stored.name,
            is_preset: false,
            version: stored.version,
            recipe: stored.recipe,
            id: Some(stored.id),
            summary: None,
            created_at: Some(stored.created_at),
        }
    }
}

/// The recipe of that name as it would be run now: a preset, or the latest version of a stored one.
pub(super) async fn by_name(app: &App, name: &str) -> Result<Option<Value>> {
    if let Some(preset) = presets().iter().find(|preset| preset.name == name) {
        return serde_json::to_value(&preset.recipe).map(Some).map_err(Error::internal);
    }
    Ok(db::recipes::find_by_name(&app.pool, app.tenant, name).await?.map(|stored| stored.recipe))
}

/// `GET /v1/recipes`: the presets, then the stored ones, newest first.
pub(super) async fn list(app: App, uri: Uri) -> Result<Json<List<Shown>>> {
    let page = Page::of(&Params::of(&uri, &["limit", "cursor"])?)?;
    let filter = page.filter();
    let presets_from = match page.before {
        None => 0,
        Some(id) => preset_index(id).map_or(presets().len(), |index| index.saturating_add(1)),
    };
    let mut rows: Vec<(Uuid, Shown)> = Vec::new();
    for (index, preset) in presets().iter().enumerate().skip(presets_from).take(filter.limit as usize) {
        rows.push((preset_id(index), Shown::of_preset(preset)?));
    }
    let limit = filter.limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    if limit > 0 {
        let before = page.before.filter(|id| preset_index(*id).is_none());
        let stored = db::recipes::list(&app.pool, app.tenant, &db::ListFilter { limit, before }).await?;
        rows.extend(stored.into_iter().map(|recipe| (recipe.id.0, Shown::of(recipe))));
    }
    Ok(Json(page.list(rows, |(id, _)| *id, |(_, recipe)| recipe)))
}

/// Presets have no id; in a cursor their place in the table stands for one. No UUID of version 7 is that small.
fn preset_id(index: usize) -> Uuid {
    Uuid::from_u128(index as u128)
}

fn preset_index(id: Uuid) -> Option<usize> {
    usize::try_from(id.as_u128()).ok()
}

/// `GET /v1/recipes/{name}`
pub(super) async fn find(app: App, Name(name): Name, uri: Uri) -> Result<Json<Shown>> {
    Params::of(&uri, &[])?;
    if let Some(preset) = presets().iter().find(|preset| preset.name == name) {
        return Shown::of_preset(preset).map(Json);
    }
    if !is_name(&name) {
        return Err(Error::not_found("recipe of that name"));
    }
    let stored = db::recipes::find_by_name(&app.pool, app.tenant, &name).await?;
    stored.map(Shown::of).map(Json).ok_or_else(|| Error::not_found(format_args!("recipe '{name}'")))
}

/// `POST /v1/recipes`
pub(super) async fn create(app: App, uri: Uri, headers: HeaderMap, JsonBody(body): JsonBody) -> Result<Response> {
    Params::of(&uri, &[])?;
    let once = Once::of(&headers, &uri, &body)?;
    if let Some(answer) = once.replay(&app).await? {
        return Ok(answer);
    }
    let (name, recipe) = read(&body).map_err(Error::invalid)?;
    let mut work = once.begin(&app).await?;
    let stored = db::recipes::insert_in(work.conn(), app.tenant, name, &nulls::without(recipe)).await?;
    work.finish(Answer::created(&format!("/v1/recipes/{name}"), &Shown::of(stored))?).await
}

/// `{name, recipe}`, with every problem of either.
pub(super) fn read(body: &Value) -> Result<(&str, &Value), Vec<Detail>> {
    let mut fields = Fields::of(body, &["name", "recipe"])?;
    let name = fields.text("name", NAME_CHARS);
    let recipe = fields.value("recipe");
    match name {
        Some(name) if presets().iter().any(|preset| preset.name == name) => {
            fields.add("name", code::NAME_RESERVED, format!("'{name}' is a preset; choose another name"));
        }
        Some(name) if !is_name(name) => {
            let detail = format!("'{name}' is not allowed; lower-case letters, digits, '-', '_' and '.' are");
            fields.add("name", Code::OutOfRange, detail);
        }
        None if fields.value("name").is_none() => fields.add("name", Code::MissingField, "a name is wanted"),
        _ => {}
    }
    let mut problems = match recipe.map(Recipe::parse) {
        Some(Ok(_)) => Vec::new(),
        Some(Err(found)) => found.into_iter().map(|problem| Detail::from(problem).under("/recipe")).collect(),
        None => vec![Detail::new("/recipe", Code::MissingField, "a recipe is wanted")],
    };
    let mut all = fields.finish();
    all.append(&mut problems);
    match (name, recipe) {
        (Some(name), Some(recipe)) if all.is_empty() => Ok((name, recipe)),
        _ => Err(all),
    }
}

/// Names stand in paths and in job bodies, so they are plain.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= NAME_CHARS
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(is_plain)
}
