//! Puts the report of a compression together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::compress::AfterStage;
use super::distance::Distance;
use super::measure::Bench;
use super::origin::Origin;
use super::{outputs, reasons, sides};
use crate::engine::context::RunContext;
use crate::engine::error::Result;
use crate::engine::evaluate::Answers as ModelAnswers;
use crate::engine::evaluate::probes::Probes;
use crate::engine::job::OutputFile;
use crate::engine::method::Fallback;
use crate::engine::model::SiteHeader;
use crate::engine::model::build::Model;
use crate::engine::model::inspect::Inspected;
use crate::engine::plan::{Plan, PlannedStage};
use crate::engine::recipe::Recipe;
use crate::engine::report::accounting::{self, Accounting};
use crate::engine::report::histogram;
use crate::engine::report::{
    Allocation, ArtifactReport, Compression, LatencyComparison, Measurements, Outcome, PredictedCost, Report,
    SiteHistogram, SiteReport, StageReport, VERSION, Verdict,
};

/// All that is known when a compression is done.
pub(super) struct Compressed<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) recipe: &'a Recipe,
    pub(super) plan: &'a Plan,
    pub(super) inspected: &'a Inspected,
    /// What the written files say, read back.
    pub(super) result: &'a Inspected,
    /// Largest difference of any number from what should have been written.
    pub(super) parity: f64,
    /// How far every site's weights are from the original's.
    pub(super) errors: Vec<Distance>,
    /// What was not done as asked, by stage.
    pub(super) fallbacks: Vec<Vec<Fallback>>,
    /// What the format did not do as asked.
    pub(super) told: Vec<Fallback>,
    /// How a budget was shared out.
    pub(super) allocation: Option<&'a Allocation>,
    /// The models themselves, where anything is measured by running them.
    pub(super) models: Option<Models<'a>>,
    pub(super) artifacts: &'a [OutputFile],
    pub(super) wall: Duration,
}

/// The models of a run, each in memory.
#[derive(Clone, Copy)]
pub(super) struct Models<'a> {
    pub(super) original: &'a Model,
    /// After each stage.
    pub(super) stages: &'a [AfterStage],
    /// As it was read back.
    pub(super) result: &'a Model,
}

/// Measures and reports. The result that is measured is the one that was read back from disk.
pub(super) fn report(done: &Compressed<'_>, mut bench: Option<Bench<'_>>, ctx: &RunContext<'_>) -> Result<Report> {
    if let (Some(bench), Some(models)) = (bench.as_mut().filter(|b| b.wants_scores()), done.models) {
        bench.original(models.original, ctx)?;
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

/// The report's `result`. `scoring` is where the models are run, and `None` where that is not wanted.
pub(super) fn outcome(done: &Compressed<'_>, scoring: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Outcome> {
    let answers = answers(done, scoring, ctx)?;
    let (header, result) = (&done.inspected.header, &done.result.header);
    let before = sides::before(header, scoring)?;
    let after = sides::after(Some(&before), result, scoring.zip(answers.result.as_ref()))?;
    let floor = done.plan.evaluate.floor();
    let seen = done
        .models
        .zip(scoring)
        .map(|(models, bench)| outputs::errors(models.original, models.result, bench.rows.questions.encoded(), ctx));
    let seen = seen.transpose()?.unwrap_or_default();
    let (account, accounts) = (accounting::account(header), accounting::account(result));
    let sites = sites(done, &account, &accounts, &seen);
    Ok(Outcome {
        verdict: Verdict::new(Some(&before), &after, floor),
        stages: stages(done, scoring, &answers.stages)?,
        histograms: histograms(done, &sites),
        sites,
        bytes_by_category: accounting::compare(Some(&account), &accounts),
        probes: probes(done, scoring.zip(answers.result.as_ref()), ctx)?,
        allocation: done.allocation.cloned(),
        sensitivity: None,
        training: None,
        artifacts: artifacts(done.artifacts, done.parity),
        fallbacks: done.fallbacks.iter().flatten().chain(&done.told).cloned().collect(),
        before: Some(before),
        after,
    })
}

/// What Transformers need kept.
fn probes(
    done: &Compressed<'_>,
    answers: Option<(&Bench<'_>, &ModelAnswers)>,
    ctx: &RunContext<'_>,
) -> Result<Option<Probes>> {
    let (Some((bench, answers)), Some(models)) = (answers, done.models) else { return Ok(None) };
    bench.probes(Some(models.original), (models.result, answers), ctx)
}

/// Answers after every stage, and of the result.
struct Answers {
    stages: Vec<Option<ModelAnswers>>,
    result: Option<ModelAnswers>,
}

fn answers(done: &Compressed<'_>, scoring: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Answers> {
    let Some(Models { stages, result, .. }) = done.models else {
        return Ok(Answers { stages: done.fallbacks.iter().map(|_| None).collect(), result: None });
    };
    let score = |model: &Model| scoring.map(|bench| bench.score(model, ctx)).transpose();
    // The last stage's model is the result, which is scored from its files
    let between = stages.split_last().map_or(&[][..], |(_, between)| between);
    let has_stages = !stages.is_empty();
    let mut stages = between.iter().map(|stage| score(&stage.model)).collect::<Result<Vec<_>>>()?;
    let result = score(result)?;
    if has_stages {
        stages.push(result.clone());
    }
    Ok(Answers { stages, result })
}

fn stages(
    done: &Compressed<'_>,
    bench: Option<&Bench<'_>>,
    scores: &[Option<ModelAnswers>],
) -> Result<Vec<StageReport>> {
    let stage = |((planned, fallbacks), scores): ((&PlannedStage, &Vec<Fallback>), &Option<ModelAnswers>)| {
        let measured = bench.zip(scores.as_ref());
        Ok(StageReport {
            method: planned.method.clone(),
            size_bytes: planned.size_bytes,
            parameters: planned.parameters,
            quality: measured.map_or(Ok(None), |(bench, scores)| bench.quality(scores))?,
            fidelity: measured.map_or(Ok(None), |(bench, scores)| bench.fidelity(scores))?,
            fallbacks: fallbacks.clone(),
        })
    };
    let mut stages: Vec<StageReport> =
        done.plan.stages.iter().zip(&done.fallbacks).zip(scores).map(stage).collect::<Result<_>>()?;
    // What was foretold of the last one is what was written, or more where that is coded
    if let Some(last) = stages.last_mut() {
        last.size_bytes = done.result.header.size_bytes;
    }
    Ok(stages)
}

/// `seen`: the errors of their outputs, of all or of none.
fn sites(done: &Compressed<'_>, before: &Accounting, after: &Accounting, seen: &[Option<f64>]) -> Vec<SiteReport> {
    let result = &done.result.header;
    let heads = result.spec.as_ref().map(|spec| spec.heads);
    let bytes = |side: &Accounting, site: &str| side.by_site.get(site).copied().unwrap_or(0);
    let report = |(place, (site, distance)): (usize, (&SiteHeader, &Distance))| {
        let sizes = (Some(bytes(before, &site.spec.site)), bytes(after, &site.spec.site));
        let report = sides::site(site, heads, sizes).with_error(distance.relative());
        SiteReport { cosine: distance.cosine(), output_error: seen.get(place).copied().flatten(), ..report }
    };
    result.sites.iter().zip(&done.errors).enumerate().map(report).collect()
}

/// Of the sites whose weights were compared: all, or the worst of very many.
fn histograms(done: &Compressed<'_>, sites: &[SiteReport]) -> Vec<SiteHistogram> {
    let of = |place: usize| Some(done.errors.get(place)?.histogram(&sites.get(place)?.site));
    histogram::told(sites).into_iter().filter_map(of).collect()
}

fn latency(done: &Compressed<'_>, bench: &Bench<'_>, ctx: &RunContext<'_>) -> Result<Option<Vec<LatencyComparison>>> {
    done.models.map_or(Ok(None), |models| bench.latency(Some(models.original), models.result, ctx))
}

/// Exported files; the weights with the difference from opening them again.
fn artifacts(files: &[OutputFile], parity: f64) -> Vec<ArtifactReport> {
    let report = |file: &OutputFile| ArtifactReport {
        path: file.path.clone(),
        format: file.format.clone(),
        size_bytes: file.size_bytes,
        sha256: file.sha256.clone(),
        loaders: file.loaders.clone(),
        parity: file.path.ends_with(".safetensors").then_some(parity),
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
        latency: bench.map_or(Ok(None), |b| latency(done, b, ctx))?,
        compression: Some(compression),
        predicted: Some(PredictedCost::from(&done.plan.predicted)),
    })
}
