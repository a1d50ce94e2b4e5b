//! Jobs as rows of a table, on every page that lists some.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::results::recipe_title;
use super::show::{Markup, cut, name, percent, short_bytes, value};
use crate::db;
use crate::db::jobs::{Job, JobKind, Outcome};
use crate::engine::problem::escape_pointer;
use crate::http::App;
use crate::http::error::Result;

/// A job in a table.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) what: String,
    pub(super) state: Markup,
    pub(super) waiting: Option<&'static str>,
    pub(super) error: Option<String>,
    pub(super) model: Markup,
    pub(super) outcome: Markup,
    pub(super) took: Markup,
    pub(super) created: Markup,
}

/// Rows, with the names of what they work on and what came of them.
pub(super) async fn rows(app: &App, jobs: Vec<Job>) -> Result<Vec<Row>> {
    let ids = |of: fn(&Job) -> Option<Uuid>| -> Vec<Uuid> { jobs.iter().filter_map(of).collect() };
    let models = db::names::models(&app.pool, app.tenant, &ids(|job| job.model_id.map(|id| id.0))).await?;
    let datasets = db::names::datasets(&app.pool, app.tenant, &ids(|job| job.dataset_id.map(|id| id.0))).await?;
    let outcomes = db::jobs::verdicts(&app.pool, app.tenant, &ids(|job| Some(job.id.0))).await?;
    let outcomes: HashMap<Uuid, Outcome> = outcomes.into_iter().map(|outcome| (outcome.id.0, outcome)).collect();
    let mut names: HashMap<Uuid, Markup> = HashMap::new();
    names.extend(models.iter().map(|model| (model.id, link("models", "mdl", model))));
    names.extend(datasets.iter().map(|dataset| (dataset.id, link("datasets", "dst", dataset))));
    Ok(jobs.into_iter().map(|job| row(&job, &names, outcomes.get(&job.id.0))).collect())
}

/// A name that leads to its page, where there is one.
pub(super) fn link(folder: &str, prefix: &str, named: &db::names::Named) -> Markup {
    if named.is_deleted {
        return Markup(format!("{} <span class=\"muted\">deleted</span>", Markup::text(&named.name)));
    }
    Markup::link(&format!("/{folder}/{prefix}_{}", named.id.hyphenated()), &named.name)
}

fn row(job: &Job, names: &HashMap<Uuid, Markup>, outcome: Option<&Outcome>) -> Row {
    let subject = job.model_id.map(|id| id.0).or(job.dataset_id.map(|id| id.0));
    Row {
        path: format!("/jobs/{}", job.id),
        id: job.id.to_string(),
        what: title(job),
        state: Markup::state(job.state.as_str()),
        waiting: job.waiting_reason.as_deref().map(waits),
        error: job.error.as_ref().and_then(|error| Some(cut(error.get("detail")?.as_str()?, 120))),
        model: subject.and_then(|id| names.get(&id).cloned()).unwrap_or_else(Markup::dash),
        outcome: outcome.map_or_else(Markup::dash, told),
        took: match (job.started_at, job.finished_at) {
            (Some(from), Some(to)) => Markup::duration(from, to),
            _ => Markup::dash(),
        },
        created: Markup::time(job.created_at),
    }
}

/// What a job does, in a few words.
pub(super) fn title(job: &Job) -> String {
    match job.kind {
        JobKind::Compress => recipe_title(job.recipe_name.as_deref(), job.recipe.as_ref()),
        JobKind::Evaluate => "measured as it is".to_owned(),
        JobKind::Sensitivity => "every site alone".to_owned(),
        kind => kind.to_string(),
    }
}

/// `374 kB · 1.53×`, and below it `Accuracy 88.80%`.
fn told(outcome: &Outcome) -> Markup {
    let Some(after) = &outcome.after else { return Markup::dash() };
    let number = |pointer: &str| after.pointer(pointer).and_then(Value::as_f64);
    let metric = outcome.verdict.as_ref().and_then(|verdict| verdict.get("metric")?.as_str());
    let Some(size) = number("/size_bytes").map(short_bytes) else { return Markup::dash() };
    let ratio = number("/ratio_to_stored").map(|ratio| format!(" · {ratio:.2}×")).unwrap_or_default();
    let quality = match metric {
        Some(metric) => number(&format!("/quality/{}/value", escape_pointer(metric)))
            .map(|x| format!("{} {}", name(metric), value(metric)(x))),
        None => number("/fidelity/top1_agreement/value")
            .map(|value| format!("same answer {}", percent(value)))
            .or_else(|| {
                let share = number("/fidelity/numbers/relative_rms_difference")?;
                Some(format!("numbers off by {} of their deviation", percent(share)))
            }),
    };
    let quality = quality.map(|quality| format!(" <div class=\"why\">{quality}</div>")).unwrap_or_default();
    Markup(format!("{size}{ratio}{quality}"))
}

/// Why a job waits, for people.
pub(super) fn waits(reason: &str) -> &'static str {
    match reason {
        "model_validating" => "until its model is checked",
        "dataset_validating" => "until its dataset is checked",
        "no_worker" => "no worker is running",
        "no_worker_with_memory" => "no worker has the memory that it needs",
        "no_worker_with_disk" => "no worker has the scratch space that it needs",
        "no_worker_with_device" => "no worker has the device that it needs",
        "backoff" => "a moment, before it is tried again",
        "behind" => "others are before it",
        _ => "for a worker",
    }
}
