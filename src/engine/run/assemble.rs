//! Puts the report together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::compress::AfterStage;
use super::files;
use super::measure::{Bench, PROTOCOL};
use crate::engine::context::RunContext;
use crate::engine::error::Result;
use crate::engine::evaluate::Scores;
use crate::engine::export::verify::Reopened;
use crate::engine::hash::sha256;
use crate::engine::job::{Datasets, OutputFile, Source};
use crate::engine::model::ModelHeader;
use crate::engine::model::build::Model;
use crate::engine::model::inspect::Inspected;
use crate::engine::model::spec::{Category, Head};
use crate::engine::plan::{Available, Plan};
use crate::engine::recipe::Recipe;
use crate::engine::report::accounting::{self, Accounting};
use crate::engine::report::{
    After, ArtifactReport, Before, Compression, DatasetProvenance, Measurements, ModelSummary, Outcome, PredictedCost,
    Protocol, Provenance, Report, SiteReport, StageReport, VERSION, Verdict, resolved_defaults,
};

/// All that is known when a compression is done.
pub(super) struct Compressed<'a> {
    pub(super) source: &'a Source,
    pub(super) recipe: &'a Recipe,
    pub(super) plan: &'a Plan,
    pub(super) datasets: &'a Datasets,
    pub(super) available: &'a Available,
    pub(super) inspected: &'a Inspected,
    pub(super) original: &'a Model,
    pub(super) stages: &'a [AfterStage],
    pub(super) reopened: &'a Reopened,
    pub(super) artifacts: &'a [OutputFile],
    pub(super) wall: Duration,
}

/// Measures and reports. The result that is measured is the one that was read back from disk.
pub(super) fn report(done: &Compressed<'_>, bench: Option<Bench<'_>>, ctx: &RunContext<'_>) -> Result<Report> {
    let result = &done.reopened.model;
    let mut bench = bench;
    if let Some(bench) = bench.as_mut().filter(|b| b.wants_scores()) {
        bench.original(done.original, ctx)?;
    }
    let bench = bench.as_ref();
    let scoring = bench.filter(|b| b.wants_scores());
    let answers = |model: &Model| scoring.map(|b| b.score(model, ctx)).transpose();
    // The last stage's model is the result, which is scored from its files
    let mut per_stage: Vec<Option<Scores>> = done
        .stages
        .iter()
        .take(done.stages.len().saturating_sub(1))
        .map(|s| answers(&s.model))
        .collect::<Result<_>>()?;
    let last = answers(result)?;
    if !done.stages.is_empty() {
        per_stage.push(last.clone());
    }

    let header = &done.inspected.header;
    let before = Before {
        size_bytes: header.size_bytes,
        total_bytes: header.files.iter().map(|f| f.size_bytes).sum(),
        parameters: header.parameters,
        quality: scoring.map_or(Ok(None), Bench::original_quality)?,
    };
    let total_bytes = done.artifacts.iter().map(|f| f.size_bytes).sum();
    let mut after =
        After::new(Some(&before), done.plan.predicted.size_bytes, total_bytes, done.plan.predicted.parameters);
    if let (Some(bench), Some(scores)) = (scoring, &last) {
        after.quality = bench.quality(scores)?;
        after.quality_change = bench.change(scores)?;
        after.fidelity = bench.fidelity(scores)?;
    }
    let floor = done.plan.evaluate.reference_floor.as_ref().and_then(serde_json::Number::as_f64);
    let (sides, bytes_by_category) = bytes(header, &done.reopened.inspected.header);
    let outcome = Outcome {
        verdict: Verdict::new(Some(&before), &after, floor),
        stages: stages(done, scoring, &per_stage)?,
        sites: sites(done, &sides)?,
        bytes_by_category,
        probes: None,
        allocation: None,
        sensitivity: None,
        training: None,
        artifacts: artifacts(done.artifacts, done.reopened.parity),
        fallbacks: done.stages.iter().flat_map(|s| s.fallbacks.clone()).collect(),
        before: Some(before),
        after,
    };
    let measurements = Measurements {
        latency: bench.map_or(Ok(None), |b| b.latency(Some(done.original), result, ctx))?,
        compression: Some(Compression {
            wall_seconds: done.wall.as_secs_f64(),
            cpu_seconds: ctx.stopwatch.cpu_time().map(|t| t.as_secs_f64()),
            peak_memory_bytes: ctx.stopwatch.peak_memory_bytes(),
        }),
        predicted: Some(PredictedCost::from(&done.plan.predicted)),
    };
    let mut report = Report {
        version: VERSION,
        model: summary(&done.source.name, header),
        recipe: Some(done.recipe.clone()),
        plan: Some(done.plan.clone()),
        result: outcome,
        measurements,
        provenance: provenance(done, bench, ctx)?,
        unmeasured: BTreeMap::new(),
    };
    reasons(&mut report, bench, header);
    Ok(report)
}

/// The model that was worked on.
pub(super) fn summary(name: &str, header: &ModelHeader) -> ModelSummary {
    let task = header.spec.as_ref().map(|spec| match spec.head {
        Head::Classification { .. } => "classification".to_owned(),
        Head::Embedding { .. } => "embedding".to_owned(),
    });
    ModelSummary {
        name: name.to_owned(),
        family: header.family.clone(),
        architecture: header.architecture.clone(),
        support: header.support,
        task,
        dtype: header.dtype,
        parameters: header.parameters,
        size_bytes: header.size_bytes,
    }
}

type ByCategory = BTreeMap<Category, crate::engine::report::Bytes>;

fn bytes(before: &ModelHeader, after: &ModelHeader) -> ((Accounting, Accounting), ByCategory) {
    let sides = (accounting::account(before), accounting::account(after));
    let by_category = accounting::compare(Some(&sides.0), &sides.1);
    (sides, by_category)
}

fn stages(done: &Compressed<'_>, bench: Option<&Bench<'_>>, scores: &[Option<Scores>]) -> Result<Vec<StageReport>> {
    let stage = |((planned, after), scores): ((&crate::engine::plan::PlannedStage, &AfterStage), &Option<Scores>)| {
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

fn sites(done: &Compressed<'_>, (before, after): &(Accounting, Accounting)) -> Result<Vec<SiteReport>> {
    let result = &done.reopened.model;
    let heads = result.spec.as_ref().map(|spec| spec.heads);
    let bytes = |side: &Accounting, site: &str| side.by_site.get(site).copied().unwrap_or(0);
    let mut reports = Vec::with_capacity(result.sites.len());
    for ((site, original), linear) in result.sites.iter().zip(&done.original.maps).zip(&result.maps) {
        let layout = linear.map.layout();
        let report = SiteReport {
            site: site.site.clone(),
            category: site.category,
            before_bytes: Some(bytes(before, &site.site)),
            after_bytes: bytes(after, &site.site),
            form: layout.form().to_owned(),
            bits: layout.bits(),
            rank: layout.rank(),
            density: 1.0,
            heads: heads.filter(|_| site.category == Category::Attention),
            relative_error: None,
            sqnr_db: None,
        };
        let error = relative_error(&original.map.to_vec()?, &linear.map.to_vec()?);
        reports.push(report.with_error(error));
    }
    Ok(reports)
}

/// `‖W − Ŵ‖ / ‖W‖`, Frobenius, in f64; 0 where both are zero.
fn relative_error(original: &[f32], result: &[f32]) -> f64 {
    let off: f64 = original.iter().zip(result).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let norm: f64 = original.iter().map(|a| f64::from(*a).powi(2)).sum();
    if norm > 0.0 { (off / norm).sqrt() } else { off.sqrt() }
}

/// Exported files; the weights with the difference from opening them again.
pub(super) fn artifacts(files: &[OutputFile], parity: f64) -> Vec<ArtifactReport> {
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

fn provenance(done: &Compressed<'_>, bench: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Provenance> {
    let recipe =
        serde_json::to_vec(done.recipe).map_err(|e| crate::engine::error::EngineError::Internal(e.to_string()))?;
    Ok(Provenance {
        pare_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: ctx.host.clone(),
        device: "cpu".to_owned(),
        threads: ctx.threads,
        seed: done.plan.seed,
        recipe_sha256: Some(sha256(&recipe)),
        model_files: files::hashes(done.source)?,
        reference_files: Vec::new(),
        datasets: datasets(done.datasets, done.available)?,
        protocol: protocol(bench),
        resolved_defaults: resolved_defaults(done.recipe, done.plan),
    })
}

/// The datasets that were named.
pub(super) fn datasets(datasets: &Datasets, available: &Available) -> Result<BTreeMap<String, DatasetProvenance>> {
    let named = [
        ("calibration", &datasets.calibration, available.calibration_rows),
        ("training", &datasets.training, available.training_rows),
        ("validation", &datasets.validation, available.validation_rows),
        ("evaluation", &datasets.evaluation, available.evaluation_rows),
    ];
    let mut found = BTreeMap::new();
    for (role, source, rows) in named {
        if let Some(source) = source {
            found.insert(role.to_owned(), files::dataset(source, rows.unwrap_or(0))?);
        }
    }
    Ok(found)
}

/// How task quality was measured.
pub(super) fn protocol(bench: Option<&Bench<'_>>) -> Option<Protocol> {
    let bench = bench.filter(|b| b.rows.labels.is_some())?;
    Some(Protocol { description: PROTOCOL.to_owned(), max_seq_length: bench.evaluate.max_seq_length })
}

/// Why what could have been measured was not.
pub(super) fn reasons(report: &mut Report, bench: Option<&Bench<'_>>, header: &ModelHeader) {
    let not_run = if header.spec.is_none() {
        "this family of models can't be run: its weights were compressed, its answers not measured"
    } else {
        "the recipe's metrics are empty: nothing was asked for"
    };
    let no_quality = bench.map_or(not_run, Bench::why_no_quality);
    let no_fidelity = bench.map_or(not_run, |_| "the recipe's metrics do not ask for fidelity");
    let mut missing: Vec<(String, &str)> = Vec::new();
    let mut need = |is_none: bool, pointer: String, reason: &'static str| {
        if is_none {
            missing.push((pointer, reason));
        }
    };
    let result = &report.result;
    need(result.before.as_ref().is_some_and(|b| b.quality.is_none()), "/result/before/quality".into(), no_quality);
    need(result.after.quality.is_none(), "/result/after/quality".into(), no_quality);
    let alone = result.before.is_none();
    need(!alone && result.after.quality_change.is_none(), "/result/after/quality_change".into(), no_quality);
    need(!alone && result.after.fidelity.is_none(), "/result/after/fidelity".into(), no_fidelity);
    for (i, stage) in result.stages.iter().enumerate() {
        need(stage.quality.is_none(), format!("/result/stages/{i}/quality"), no_quality);
        need(stage.fidelity.is_none(), format!("/result/stages/{i}/fidelity"), no_fidelity);
    }
    need(true, "/result/probes".into(), "probes of long range, positions and head balance are not built yet");
    need(true, "/result/allocation".into(), "no stage of this recipe divides a budget over sites");
    need(true, "/result/sensitivity".into(), "a sensitivity job gives this table");
    need(true, "/result/training".into(), "nothing was trained");
    for (i, file) in result.artifacts.iter().enumerate() {
        need(file.parity.is_none(), format!("/result/artifacts/{i}/parity"), "not a weight file: compared by its hash");
    }
    let measured = &report.measurements;
    let no_latency = bench.map_or(not_run, |_| "the recipe's metrics do not ask for latency");
    need(measured.latency.is_none(), "/measurements/latency".into(), no_latency);
    if let Some(compression) = &measured.compression {
        let reason = "this system does not tell";
        need(compression.cpu_seconds.is_none(), "/measurements/compression/cpu_seconds".into(), reason);
        need(compression.peak_memory_bytes.is_none(), "/measurements/compression/peak_memory_bytes".into(), reason);
    }
    let host = &report.provenance.host;
    need(
        host.binary_sha256.is_none(),
        "/provenance/host/binary_sha256".into(),
        "the running program could not be read",
    );
    need(report.provenance.protocol.is_none(), "/provenance/protocol".into(), no_quality);
    for (pointer, reason) in missing {
        report.unmeasured(pointer, reason);
    }
}
