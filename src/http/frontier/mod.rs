//! `GET /v1/models/{id}/frontier`: what a model was made into, size against quality, under one measurement.

mod csv;
mod groups;

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use super::App;
use super::accept::prefers_csv;
use super::error::{Error, Result};
use super::extract::{Id, Params};
use crate::db;
use crate::engine::evaluate::metric::goodness;
use crate::engine::report::pareto;
use crate::id::{DatasetId, JobId, ModelId};
use groups::{Asked, Entry, Group, Scored};

/// A model's results, as clients see them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    model_id: ModelId,
    #[serde(skip_serializing_if = "Option::is_none")]
    measurement: Option<Measurement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<Original>,
    points: Vec<Point>,
    other_measurements: Vec<Measurement>,
}

/// What makes values comparable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measurement {
    evaluation_dataset_id: DatasetId,
    metric: String,
    max_seq_length: u64,
    protocol: String,
    results: u64,
}

impl Measurement {
    /// Whether values under the two can be compared.
    fn is_same(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.evaluation_dataset_id, one.max_seq_length);
        key(self) == key(other) && self.metric == other.metric && self.protocol == other.protocol
    }
}

/// The model itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Original {
    size_bytes: u64,
    value: f64,
    low: f64,
    high: f64,
    n: u64,
}

/// What a job made of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    job_id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe_name: Option<String>,
    size_bytes: u64,
    value: f64,
    low: f64,
    high: f64,
    n: u64,
    dominated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
}

/// `GET /v1/models/{id}/frontier`
pub(super) async fn show(app: App, Id(id): Id<ModelId>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    let params = Params::of(&uri, &["evaluation_dataset_id", "metric", "max_seq_length"])?;
    let asked = Asked {
        evaluation_dataset_id: params.parse("evaluation_dataset_id", "an id of the form dst_<uuid>")?,
        metric: params.get("metric").map(str::to_owned),
        max_seq_length: params.parse("max_seq_length", "a number of tokens")?,
    };
    let model = db::models::find(&app.pool, app.tenant, id).await?;
    model.ok_or_else(|| Error::not_found(format_args!("model {id}")))?;
    let measured = db::jobs::measured(&app.pool, app.tenant, id).await?;
    let shown = Shown::of(id, &asked, groups::group(&measured));
    let vary = [(VARY, "accept")];
    if prefers_csv(&headers) {
        let text = csv::write(&shown).map_err(Error::internal)?;
        return Ok((vary, [(CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], text).into_response());
    }
    Ok((vary, Json(shown)).into_response())
}

impl Shown {
    /// The group with the most results of those that were asked for.
    fn of(model_id: ModelId, asked: &Asked, groups: Vec<Group>) -> Self {
        let mut shown =
            Self { model_id, measurement: None, original: None, points: Vec::new(), other_measurements: Vec::new() };
        for group in groups {
            if shown.measurement.is_none() && asked.contains(&group.measurement) {
                shown.original = group.original.map(Original::from);
                shown.points = points(&group.measurement.metric, group.results);
                shown.measurement = Some(group.measurement);
            } else {
                shown.other_measurements.push(group.measurement);
            }
        }
        shown
    }
}

impl From<Scored> for Original {
    fn from(scored: Scored) -> Self {
        let Scored { size_bytes, value, low, high, n } = scored;
        Self { size_bytes, value, low, high, n }
    }
}

/// The results from the smallest to the largest, each with whether another one beats it.
fn points(metric: &str, mut results: Vec<Entry>) -> Vec<Point> {
    results.sort_by(|a, b| {
        let by_size = a.scored.size_bytes.cmp(&b.scored.size_bytes);
        by_size.then(b.scored.value.total_cmp(&a.scored.value)).then(a.job_id.cmp(&b.job_id))
    });
    let place = |result: &Entry| pareto::Point {
        size_bytes: result.scored.size_bytes,
        value: goodness(metric, result.scored.value),
    };
    let flags = pareto::dominated(&results.iter().map(place).collect::<Vec<_>>());
    let shown = results.into_iter().zip(flags).map(|(result, dominated)| Point {
        job_id: result.job_id,
        recipe_name: result.recipe_name,
        size_bytes: result.scored.size_bytes,
        value: result.scored.value,
        low: result.scored.low,
        high: result.scored.high,
        n: result.scored.n,
        dominated,
        finished_at: result.finished_at,
    });
    shown.collect()
}
