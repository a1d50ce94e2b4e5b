//! Puts the report of a compression together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::compress::AfterStage;
use super::measure::Bench;
use super::origin::Origin;
use super::{reasons, sides};
use crate::engine::context::RunContext;
use crate::engine::error::Result;
use crate::engine::evaluate::Answers as ModelAnswers;
use crate::engine::export::verify::Reopened;
use crate::engine::job::OutputFile;
use crate::engine::model::SiteSpec;
use crate::engine::model::build::Model;
use crate::engine::model::inspect::Inspected;
use crate::engine::model::linear::Linear;
use crate::engine::plan::{Plan, PlannedStage};
use crate::engine::recipe::Recipe;
use crate::engine::report::accounting::{self, Accounting};
use crate::engine::report::{
    ArtifactReport, Compression, Measurements, Outcome, PredictedCost, Report, SiteReport, StageReport, VERSION,
    Verdict,
};

/// All that is known when a compression is done.
pub(super) struct Compressed<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) recipe: &'a Recipe,
    pub(super) plan: &'a Plan,
    pub(super) inspected: &'a Inspected,
    pub(super) original: &'a Model,
    pub(super) stages: &'a [AfterStage],
    pub(super) reopened: &'a Reopened,
    pub(super) artifacts: &'a [OutputFile],
    pub(super) wall: Duration,
}

/// Measures and reports. The result that is measured is the one that was read back from disk.
pub(super) fn report(done: &Compressed<'_>, mut bench: Option<Bench<'_>>, ctx: &RunContext<'_>) -> Result<Report> {
    if let Some(bench) = bench.as_mut().filter(|b| b.wants_scores()) {
        bench.original(done.original, ctx)?;
    }
    let bench = bench.as_ref();
    let header = &done.inspected.header;
    let mut report = Report {
        version: VERSION,
        model: sides::summary(&done.origin.source.name, header),
        recipe: Some(done.recipe.clone()),
        plan: Some(done.plan.clone()),
        result: outcome(done, bench.filter(|b| b.wants_scores()), ctx)?,
        measurements: measurements(done, bench, ctx)?,
        provenance: done.origin.provenance(bench, ctx)?,
        unmeasured: BTreeMap::new(),
    };
    reasons::give(&mut report, bench, header);
    Ok(report)
}

fn outcome(done: &Compressed<'_>, scoring: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Outcome> {
    let answers = answers(done, scoring, ctx)?;
    let (header, result) = (&done.inspected.header, &done.reopened.inspected.header);
    let before = sides::before(header, scoring)?;
    let after = sides::after(Some(&before), result, scoring.zip(answers.result.as_ref()))?;
    let floor = done.plan.evaluate.reference_floor.as_ref().and_then(serde_json::Number::as_f64);
    let (account, accounts) = (accounting::account(header), accounting::account(result));
    Ok(Outcome {
        verdict: Verdict::new(Some(&before), &after, floor),
        stages: stages(done, scoring, &answers.stages)?,
        sites: sites(done, &account, &accounts)?,
        bytes_by_category: accounting::compare(Some(&account), &accounts),
        probes: None,
        allocation: None,
        sensitivity: None,
        training: None,
        artifacts: artifacts(done.artifacts, done.reopened.parity),
        fallbacks: done.stages.iter().flat_map(|s| s.fallbacks.clone()).collect(),
        before: Some(before),
        after,
    })
}

/// Answers after every stage, and of the result.
struct Answers {
    stages: Vec<Option<ModelAnswers>>,
    result: Option<ModelAnswers>,
}

fn answers(done: &Compressed<'_>, scoring: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Answers> {
    let score = |model: &Model| scoring.map(|bench| bench.score(model, ctx)).transpose();
    // The last stage's model is the result, which is scored from its files
    let between = done.stages.split_last().map_or(&[][..], |(_, between)| between);
    let mut stages = between.iter().map(|stage| score(&stage.model)).collect::<Result<Vec<_>>>()?;
    let result = score(&done.reopened.model)?;
    if !done.stages.is_empty() {
        stages.push(result.clone());
    }
    Ok(Answers { stages, result })
}

fn stages(
    done: &Compressed<'_>,
    bench: Option<&Bench<'_>>,
    scores: &[Option<ModelAnswers>],
) -> Result<Vec<StageReport>> {
    let stage = |((planned, after), scores): ((&PlannedStage, &AfterStage), &Option<ModelAnswers>)| {
        let measured = bench.zip(scores.as_ref());
        Ok(StageReport {
            method: planned.method.clone(),
            size_bytes: planned.size_bytes,
            parameters: planned.parameters,
            quality: measured.map_or(Ok(None), |(bench, scores)| bench.quality(scores))?,
            fidelity: measured.map_or(Ok(None), |(bench, scores)| bench.fidelity(scores))?,
            fallbacks: after.fallbacks.clone(),
        })
    };
    done.plan.stages.iter().zip(done.stages).zip(scores).map(stage).collect()
}

fn sites(done: &Compressed<'_>, before: &Accounting, after: &Accounting) -> Result<Vec<SiteReport>> {
    let result = &done.reopened.model;
    let heads = result.spec.as_ref().map(|spec| spec.heads);
    let bytes = |side: &Accounting, site: &str| side.by_site.get(site).copied().unwrap_or(0);
    let report = |((site, original), linear): ((&SiteSpec, &Arc<Linear>), &Arc<Linear>)| {
        let sizes = (Some(bytes(before, &site.site)), bytes(after, &site.site));
        let (mut before, mut after) = (original.map.to_vec()?, linear.map.to_vec()?);
        if site.is_centered {
            center(&mut before, site.r#in);
            center(&mut after, site.r#in);
        }
        let error = relative_error(&before, &after);
        Ok(sides::site(site, &linear.map.layout(), heads, sizes).with_error(error))
    };
    result.sites.iter().zip(&done.original.maps).zip(&result.maps).map(report).collect()
}

/// Takes the mean of each column of `[out, in]` away: what is left is what the layer norm after the map sees.
fn center(weights: &mut [f32], columns: usize) {
    let columns = columns.max(1);
    let mut means = vec![0f64; columns];
    for row in weights.chunks(columns) {
        means.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(*w));
    }
    let rows = (weights.len() / columns).max(1) as f64;
    for row in weights.chunks_mut(columns) {
        row.iter_mut().zip(&means).for_each(|(w, sum)| *w = (f64::from(*w) - sum / rows) as f32);
    }
}

/// `‖W − Ŵ‖ / ‖W‖`, Frobenius, in f64; 0 where both are zero.
fn relative_error(original: &[f32], result: &[f32]) -> f64 {
    let off: f64 = original.iter().zip(result).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let norm: f64 = original.iter().map(|a| f64::from(*a).powi(2)).sum();
    if norm > 0.0 { (off / norm).sqrt() } else { off.sqrt() }
}

/// Exported files; the weights with the difference from opening them again.
fn artifacts(files: &[OutputFile], parity: f64) -> Vec<ArtifactReport> {
    let report = |file: &OutputFile| ArtifactReport {
        path: file.path.clone(),
        format: file.format.clone(),
        size_bytes: file.size_bytes,
        sha256: file.sha256.clone(),
        loaders: file.loaders.clone(),
        parity: (file.format == "safetensors").then_some(parity),
    };
    files.iter().map(report).collect()
}

fn measurements(done: &Compressed<'_>, bench: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Measurements> {
    let compression = Compression {
        wall_seconds: done.wall.as_secs_f64(),
        cpu_seconds: ctx.stopwatch.cpu_time().map(|t| t.as_secs_f64()),
        peak_memory_bytes: ctx.stopwatch.peak_memory_bytes(),
    };
    Ok(Measurements {
        latency: bench.map_or(Ok(None), |b| b.latency(Some(done.original), &done.reopened.model, ctx))?,
        compression: Some(compression),
        predicted: Some(PredictedCost::from(&done.plan.predicted)),
    })
}
