//! What came of a model: its compressions that were measured alike, by size and quality.

use std::collections::HashMap;

use serde_json::Value;

use super::frontier::{Place, dominated};
use super::frontier_plot::{self, Mark};
use super::show::{Markup, change, cut, name, short_id, value};
use crate::db;
use crate::db::jobs::Outcome;
use crate::engine::evaluate::metric::goodness;
use crate::engine::problem::escape_pointer;
use crate::http::App;
use crate::http::error::Result;
use crate::id::{JobId, ModelId};

/// Jobs that are looked at.
const JOBS: u32 = 200;
/// Results that another beats and that are shown.
const DOMINATED: usize = 20;
/// Agreement with the original stands among the metrics under this name.
const AGREEMENT: &str = "top1_agreement";

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A result measured in one way.
struct Measured {
    key: String,
    metric: String,
    on: String,
    job: JobId,
    recipe: String,
    bytes: u64,
    value: Interval,
    change: Option<Interval>,
    before: Option<(u64, Interval)>,
    done: Markup,
}

/// A way of measuring.
pub(super) struct Choice {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) is_chosen: bool,
}

/// The original in the table.
pub(super) struct Original {
    pub(super) size: Markup,
    pub(super) value: String,
    pub(super) interval: String,
}

/// A result in the table.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) recipe: String,
    pub(super) size: Markup,
    pub(super) ratio: String,
    pub(super) value: String,
    pub(super) interval: String,
    pub(super) change: String,
    pub(super) is_dominated: bool,
    pub(super) done: Markup,
}

/// The results of one way of measuring.
pub(super) struct Results {
    pub(super) choices: Vec<Choice>,
    pub(super) metric: String,
    pub(super) lead: String,
    pub(super) plot: Markup,
    pub(super) original: Option<Original>,
    pub(super) rows: Vec<Row>,
}

/// The results of a model, measured as `chosen` says, else in the commonest way. `None` where there are none.
pub(super) async fn of(app: &App, model: ModelId, chosen: Option<&str>) -> Result<Option<Results>> {
    let outcomes = db::jobs::outcomes(&app.pool, app.tenant, model, JOBS).await?;
    let ids: Vec<_> = outcomes.iter().filter_map(|outcome| Some(outcome.evaluation_dataset_id?.0)).collect();
    let named = db::names::datasets(&app.pool, app.tenant, &ids).await?;
    let names: HashMap<_, _> = named.into_iter().map(|dataset| (dataset.id, dataset.name)).collect();
    let all: Vec<Measured> = outcomes
        .iter()
        .flat_map(|outcome| {
            let on = outcome.evaluation_dataset_id.and_then(|id| names.get(&id.0)).map(String::as_str);
            measured(outcome, on)
        })
        .collect();
    Ok(draw(all, chosen))
}

/// Each metric of an outcome, with a key that says how it was measured: only equal keys are compared.
fn measured(outcome: &Outcome, on: Option<&str>) -> Vec<Measured> {
    let Some(after) = &outcome.after else { return Vec::new() };
    let Some(bytes) = after.pointer("/size_bytes").and_then(Value::as_u64).filter(|bytes| *bytes > 0) else {
        return Vec::new();
    };
    let tokens = outcome.protocol.as_ref().and_then(|protocol| protocol.pointer("/max_seq_length")?.as_u64());
    let dataset = outcome.evaluation_dataset_id.map(|id| id.to_string()).unwrap_or_default();
    let rows = after.pointer("/fidelity/measured_on").and_then(Value::as_str).unwrap_or_default();
    let size_before = outcome.before.as_ref().and_then(|before| before.pointer("/size_bytes")?.as_u64());
    let of = |metric: &str, value, change, before: Option<Interval>| Measured {
        key: format!("{metric}.{}.{}", if dataset.is_empty() { rows } else { &dataset }, tokens.unwrap_or(0)),
        metric: metric.to_owned(),
        on: match (on, rows) {
            (Some(name), _) => format!("on {name}"),
            (None, "held_out_calibration") => "on held-out calibration rows".to_owned(),
            (None, "vocabulary") => "on text from its own vocabulary".to_owned(),
            (None, _) => "on rows that are gone".to_owned(),
        },
        job: outcome.id,
        recipe: recipe(outcome),
        bytes,
        value,
        change,
        before: size_before.zip(before),
        done: Markup::maybe_time(outcome.finished_at),
    };
    let metrics = after.pointer("/quality").and_then(Value::as_object);
    let mut found: Vec<Measured> = metrics
        .into_iter()
        .flatten()
        .filter_map(|(metric, value)| {
            let at = escape_pointer(metric);
            let before =
                outcome.before.as_ref().and_then(|before| interval(before.pointer(&format!("/quality/{at}"))?));
            let change = after.pointer(&format!("/quality_change/{at}")).and_then(interval);
            Some(of(metric, interval(value)?, change, before))
        })
        .collect();
    if let Some(value) = after.pointer("/fidelity/top1_agreement").and_then(interval) {
        let whole = Interval { value: 1.0, low: 1.0, high: 1.0 };
        found.push(of(AGREEMENT, value, None, Some(whole)));
    }
    found
}

/// `{value, low, high}`, where the numbers are some that can be drawn.
fn interval(json: &Value) -> Option<Interval> {
    let number = |key: &str| json.get(key)?.as_f64().filter(|number| number.abs() < 1e6);
    let value = number("value")?;
    let (low, high) = (number("low").unwrap_or(value).min(value), number("high").unwrap_or(value).max(value));
    Some(Interval { value, low, high })
}

/// What a job's recipe is called: its name, or its methods.
pub(super) fn recipe(outcome: &Outcome) -> String {
    recipe_title(outcome.recipe_name.as_deref(), outcome.recipe.as_ref())
}

/// `quantize 4 bits`, `factorize 0.5`: a method with what tells it from others of its kind.
fn stage_title(stage: &Value) -> Option<String> {
    let method = stage.get("method")?.as_str()?;
    let number = |key: &str| stage.pointer(&format!("/params/{key}")).filter(|value| value.is_number());
    Some(match (number("bits"), number("rank_ratio").or(number("rank"))) {
        (Some(bits), _) => format!("{method} {bits} bits"),
        (None, Some(rank)) => format!("{method} {rank}"),
        (None, None) => method.to_owned(),
    })
}

/// A recipe's name, or its methods.
pub(super) fn recipe_title(name: Option<&str>, recipe: Option<&Value>) -> String {
    if let Some(name) = name {
        return cut(name, 80);
    }
    let stages = recipe.and_then(|recipe| recipe.get("stages")?.as_array());
    let methods: Vec<String> = stages.into_iter().flatten().filter_map(stage_title).collect();
    if methods.is_empty() { "a recipe".to_owned() } else { cut(&methods.join(" → "), 80) }
}

fn draw(all: Vec<Measured>, chosen: Option<&str>) -> Option<Results> {
    let mut counts: Vec<(&str, usize, &Measured)> = Vec::new();
    for one in &all {
        match counts.iter_mut().find(|(key, _, _)| *key == one.key) {
            Some((_, count, _)) => *count += 1,
            None => counts.push((&one.key, 1, one)),
        }
    }
    let is_known = |key: &&str| counts.iter().any(|(known, _, _)| known == key);
    // of equally common ones task quality, and of that accuracy, comes first
    let rank = |metric: &str| if metric == "accuracy" { 2 } else { usize::from(metric != AGREEMENT) };
    let commonest = counts.iter().max_by_key(|(_, count, one)| (*count, rank(&one.metric)));
    let key = chosen.filter(is_known).or(commonest.map(|(key, _, _)| *key))?.to_owned();
    let choices = counts
        .iter()
        .map(|(known, count, one)| Choice {
            key: (*known).to_owned(),
            text: format!("{} {} ({count})", metric_name(&one.metric), one.on),
            is_chosen: *known == key,
        })
        .collect();
    let kept: Vec<Measured> = all.into_iter().filter(|one| one.key == key).collect();
    let first = kept.first()?;
    let key = first.metric.clone();
    let metric = metric_name(&key);
    let lead = format!(
        "Measured {}. Bytes of the weight files (logarithmic) against the metric, with its 95% interval; the dashed line \
         is the original’s, the steps are the best of each size.",
        first.on
    );
    let before = first.before;
    let place = |one: &Measured| Place { bytes: one.bytes as f64, value: goodness(&one.metric, one.value.value) };
    let places: Vec<Place> = kept.iter().map(place).collect();
    let dominated = dominated(&places);
    let (kept, dominated) = thin_out(kept, dominated);
    let marks: Vec<Mark> = kept
        .iter()
        .zip(&dominated)
        .map(|(one, is_dominated)| Mark {
            path: format!("/jobs/{}", one.job),
            label: one.recipe.clone(),
            bytes: one.bytes as f64,
            value: one.value,
            is_dominated: *is_dominated,
        })
        .collect();
    let plot = frontier_plot::draw((&metric, &key), &marks, before.map(|(bytes, value)| (bytes as f64, value)));
    let original = before.map(|(bytes, value)| Original {
        size: Markup::bytes(bytes),
        value: super::show::value(&key)(value.value),
        interval: told(&key, value),
    });
    let mut rows: Vec<(u64, Row)> =
        kept.into_iter().zip(dominated).map(|(one, is_dominated)| (one.bytes, row(one, is_dominated))).collect();
    rows.sort_by_key(|(bytes, _)| *bytes);
    Some(Results { choices, metric, lead, plot, original, rows: rows.into_iter().map(|(_, row)| row).collect() })
}

/// All that are on the frontier, and of the others the newest: a page is no archive.
fn thin_out(measured: Vec<Measured>, dominated: Vec<bool>) -> (Vec<Measured>, Vec<bool>) {
    let mut room = DOMINATED;
    let pairs = measured.into_iter().zip(dominated);
    let kept = pairs.filter(|(_, is_dominated)| {
        let fits = !is_dominated || room > 0;
        room -= usize::from(*is_dominated && fits);
        fits
    });
    kept.unzip()
}

fn metric_name(metric: &str) -> String {
    if metric == AGREEMENT { "Same answer".to_owned() } else { name(metric) }
}

fn told(metric: &str, interval: Interval) -> String {
    if interval.low == interval.high {
        return String::new();
    }
    format!("{} to {}", value(metric)(interval.low), value(metric)(interval.high))
}

fn row(one: Measured, is_dominated: bool) -> Row {
    let ratio = one.before.map(|(before, _)| format!("{:.2}×", before as f64 / one.bytes as f64));
    let moved = change(&one.metric);
    let change = one.change.map(|c| format!("{} ({} to {})", moved(c.value), moved(c.low), moved(c.high)));
    Row {
        path: format!("/jobs/{}", one.job),
        recipe: if one.recipe.is_empty() { short_id(&one.job.to_string()) } else { one.recipe },
        size: Markup::bytes(one.bytes),
        ratio: ratio.unwrap_or_default(),
        value: value(&one.metric)(one.value.value),
        interval: told(&one.metric, one.value),
        change: change.unwrap_or_default(),
        is_dominated,
        done: one.done,
    }
}
