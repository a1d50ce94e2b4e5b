//! A comparison as clients see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::db::jobs::{Job, JobKind};
use crate::engine::evaluate::fidelity::Fidelity;
use crate::engine::evaluate::quality::{Quality, QualityChange};
use crate::engine::report::differences::differences;
use crate::engine::report::{DatasetProvenance, LatencyComparison, Report, compare};
use crate::id::{DatasetId, JobId, ModelId};

/// What is compared.
pub(super) struct Side {
    pub(super) job: Job,
    pub(super) report: Report,
    pub(super) model_name: Option<String>,
}

/// Reports side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    jobs: Vec<Shown>,
    /// Whether task quality of all was measured on the same rows under the same protocol.
    same_measurement: bool,
    differences: Vec<Difference>,
    recipe_differences: Vec<RecipeDifference>,
}

impl Comparison {
    /// Everything against the first.
    pub(super) fn of(sides: &[Side]) -> Self {
        let (first, others) = sides.split_first().map_or((None, sides), |(first, others)| (Some(first), others));
        let pairs = first.into_iter().flat_map(|first| others.iter().map(move |other| (first, other)));
        let differences: Vec<Difference> = pairs.map(|(first, other)| Difference::of(first, other)).collect();
        let is_same = |first: &Side| others.iter().all(|o| compare::same_measurement(&first.report, &o.report).is_ok());
        Self {
            jobs: sides.iter().map(Shown::of).collect(),
            same_measurement: first.is_some_and(is_same),
            differences,
            recipe_differences: recipe_differences(sides),
        }
    }
}

/// One job's report, in short.
#[derive(Debug, Serialize)]
struct Shown {
    job_id: JobId,
    kind: JobKind,
    labels: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<ModelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation_dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seq_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
    size_bytes: u64,
    total_bytes: u64,
    parameters: u64,
    bits_per_weight: Option<f64>,
    ratio_to_stored: Option<f64>,
    ratio_to_f32: Option<f64>,
    quality: Option<Quality>,
    quality_change: Option<QualityChange>,
    fidelity: Option<Fidelity>,
    latency: Option<Vec<LatencyComparison>>,
}

impl Shown {
    fn of(side: &Side) -> Self {
        let Side { job, report, model_name } = side;
        let after = &report.result.after;
        let provenance = &report.provenance;
        Self {
            job_id: job.id,
            kind: job.kind,
            labels: job.labels.clone(),
            model_id: job.model_id,
            model_name: model_name.clone(),
            recipe_name: job.recipe_name.clone(),
            recipe: job.recipe.clone(),
            evaluation_dataset_id: job.evaluation_dataset_id,
            evaluation_rows: provenance.datasets.get("evaluation").map(|rows: &DatasetProvenance| rows.rows),
            max_seq_length: provenance.protocol.as_ref().map(|protocol| protocol.max_seq_length as u64),
            finished_at: job.finished_at,
            size_bytes: after.size_bytes,
            total_bytes: after.total_bytes,
            parameters: after.parameters,
            bits_per_weight: after.bits_per_weight,
            ratio_to_stored: after.ratio_to_stored,
            ratio_to_f32: after.ratio_to_f32,
            quality: after.quality.clone(),
            quality_change: after.quality_change.clone(),
            fidelity: after.fidelity.clone(),
            latency: report.measurements.latency.clone(),
        }
    }
}

/// A job − the first one. What can't be compared is null, with the reason beside it.
#[derive(Debug, Serialize)]
struct Difference {
    job_id: JobId,
    size_bytes: i64,
    total_bytes: i64,
    size_ratio: Option<f64>,
    quality: Option<BTreeMap<String, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_reason: Option<String>,
    fidelity: Option<FidelityDifference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fidelity_reason: Option<String>,
    latency: Option<Vec<LatencyDifference>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_reason: Option<String>,
}

impl Difference {
    fn of(first: &Side, other: &Side) -> Self {
        let (a, b) = (&first.report, &other.report);
        let (quality, quality_reason) = split(compare::quality(a, b));
        let (fidelity, fidelity_reason) = split(compare::fidelity(a, b));
        let (latency, latency_reason) = split(compare::latency(a, b));
        let (before, after) = (&a.result.after, &b.result.after);
        Self {
            job_id: other.job.id,
            size_bytes: minus(after.size_bytes, before.size_bytes),
            total_bytes: minus(after.total_bytes, before.total_bytes),
            size_ratio: (before.size_bytes > 0).then(|| after.size_bytes as f64 / before.size_bytes as f64),
            quality,
            quality_reason,
            fidelity: fidelity.map(FidelityDifference::from),
            fidelity_reason,
            latency: latency.map(|list| list.into_iter().map(LatencyDifference::from).collect()),
            latency_reason,
        }
    }
}

/// Second − first of how near two results are to their original.
#[derive(Debug, Serialize)]
struct FidelityDifference {
    kl_mean: Option<f64>,
    top1_agreement: Option<f64>,
    cosine: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative_rms_difference: Option<f64>,
}

impl From<compare::FidelityDifference> for FidelityDifference {
    fn from(it: compare::FidelityDifference) -> Self {
        let compare::FidelityDifference { kl_mean, top1_agreement, cosine, relative_rms_difference } = it;
        Self { kl_mean, top1_agreement, cosine, relative_rms_difference }
    }
}

/// Second − first of one call's time.
#[derive(Debug, Serialize)]
struct LatencyDifference {
    threads: usize,
    batch: usize,
    length: usize,
    median_ms: f64,
    p95_ms: f64,
}

impl From<compare::LatencyDifference> for LatencyDifference {
    fn from(it: compare::LatencyDifference) -> Self {
        let compare::LatencyDifference { threads, batch, length, median_ms, p95_ms } = it;
        Self { threads, batch, length, median_ms, p95_ms }
    }
}

/// A place where the recipes, as written, are not all equal.
#[derive(Debug, Serialize)]
struct RecipeDifference {
    pointer: String,
    values: Vec<RecipeValue>,
}

/// What stands there in one of them; absent where nothing does.
#[derive(Debug, Serialize)]
struct RecipeValue {
    job_id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

fn recipe_differences(sides: &[Side]) -> Vec<RecipeDifference> {
    let recipes: Vec<Option<&Value>> = sides.iter().map(|side| side.job.recipe.as_ref()).collect();
    let found = differences(&recipes).into_iter().map(|difference| {
        let values =
            sides.iter().zip(difference.values).map(|(side, value)| RecipeValue { job_id: side.job.id, value });
        RecipeDifference { pointer: difference.pointer, values: values.collect() }
    });
    found.collect()
}

fn split<T>(compared: Result<T, String>) -> (Option<T>, Option<String>) {
    match compared {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
    }
}

/// `a − b` of sizes; no file is near the ends of the range.
fn minus(a: u64, b: u64) -> i64 {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    signed(a).saturating_sub(signed(b))
}
