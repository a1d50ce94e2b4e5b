//! Measures a model as it is, against a reference where one is given.

use std::collections::BTreeMap;
use std::time::Duration;

use super::compress::{OUT, available};
use super::measure::Bench;
use super::{assemble, files, loaders};
use crate::engine::context::{Phase, RunContext};
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::Scores;
use crate::engine::evaluate::rows;
use crate::engine::job::{Datasets, OutputFile, Source};
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::{Inspected, inspect};
use crate::engine::plan::{self, Available, PlannedEvaluate};
use crate::engine::recipe::{Evaluate, Recipe};
use crate::engine::report::accounting::{account, compare};
use crate::engine::report::{
    After, ArtifactReport, Before, Measurements, Outcome, Provenance, Report, SiteReport, VERSION, Verdict,
};

/// A measured model.
pub struct Evaluated {
    /// What was found.
    pub report: Report,
    /// Its answers, in the rows' order; none where nothing was asked for.
    pub scores: Option<Scores>,
    /// Time that reading rows, tokenizing and running took, without loading the model.
    pub evaluate_time: Duration,
}

struct Opened {
    inspected: Inspected,
    checkpoint: Checkpoint,
    model: Model,
}

fn open(source: &Source, ctx: &RunContext<'_>) -> Result<Opened> {
    let (inspected, checkpoint) = inspect(&source.files)?;
    let model = Model::load(&inspected, &checkpoint, ctx)?;
    Ok(Opened { inspected, checkpoint, model })
}

/// Measures, and leaves the report.
pub(super) fn evaluate(
    source: &Source,
    reference: Option<&Source>,
    settings: &Evaluate,
    datasets: &Datasets,
    ctx: &RunContext<'_>,
) -> Result<Vec<OutputFile>> {
    let mut evaluated = evaluate_files(source, reference, settings, datasets, ctx)?;
    let bytes = evaluated.report.finish()?;
    Ok(vec![files::report(&ctx.scratch.join(OUT), &bytes)?])
}

/// Measures a model.
///
/// # Errors
///
/// A family that can't be run; settings, data or models that can't be used; a reference with other answers.
pub fn evaluate_files(
    source: &Source,
    reference: Option<&Source>,
    settings: &Evaluate,
    datasets: &Datasets,
    ctx: &RunContext<'_>,
) -> Result<Evaluated> {
    ctx.phase(Phase::Loading);
    let available = available(datasets)?;
    let measured = open(source, ctx)?;
    let original = reference.map(|source| open(source, ctx)).transpose()?;
    let planned = planned(settings, &measured.inspected, &available)?;
    let Some(spec) = &measured.inspected.header.spec else {
        let detail = "this family of models can't be run, so there is nothing to measure";
        return Err(EngineError::invalid("/model_id", crate::engine::problem::Code::UnsupportedModel, detail));
    };
    ctx.phase(Phase::Evaluating);
    let started = ctx.stopwatch.elapsed();
    let rows = rows::choose(spec, &measured.checkpoint, datasets, (planned.max_seq_length, 0), ctx)?;
    let mut bench = Bench::new(spec, &planned, rows);
    let wanted = bench.wants_scores();
    let scores = wanted.then(|| bench.score(&measured.model, ctx)).transpose()?;
    let evaluate_time = ctx.stopwatch.elapsed().saturating_sub(started);
    if let Some(original) = original.as_ref().filter(|_| wanted) {
        bench.original(&original.model, ctx)?;
    }
    let header = &measured.inspected.header;
    let total = |opened: &Opened| opened.inspected.header.files.iter().map(|f| f.size_bytes).sum();
    let before = original
        .as_ref()
        .map(|opened| -> Result<Before> {
            let header = &opened.inspected.header;
            let quality = if wanted { bench.original_quality()? } else { None };
            Ok(Before {
                size_bytes: header.size_bytes,
                total_bytes: total(opened),
                parameters: header.parameters,
                quality,
            })
        })
        .transpose()?;
    let mut after = After::new(before.as_ref(), header.size_bytes, total(&measured), header.parameters);
    if let Some(scores) = &scores {
        after.quality = bench.quality(scores)?;
        after.quality_change = bench.change(scores)?;
        after.fidelity = bench.fidelity(scores)?;
    }
    let side = account(header);
    let other = original.as_ref().map(|opened| account(&opened.inspected.header));
    let floor = planned.reference_floor.as_ref().and_then(serde_json::Number::as_f64);
    let result = Outcome {
        verdict: Verdict::new(before.as_ref(), &after, floor),
        stages: Vec::new(),
        sites: sites(&measured, &side.by_site, other.as_ref().map(|o| &o.by_site)),
        bytes_by_category: compare(other.as_ref(), &side),
        probes: None,
        allocation: None,
        sensitivity: None,
        training: None,
        artifacts: listed(source, &measured)?,
        fallbacks: Vec::new(),
        before,
        after,
    };
    let latency = bench.latency(original.as_ref().map(|o| &o.model), &measured.model, ctx)?;
    let mut report = Report {
        version: VERSION,
        model: assemble::summary(&source.name, header),
        recipe: None,
        plan: None,
        result,
        measurements: Measurements { latency, compression: None, predicted: None },
        provenance: Provenance {
            pare_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: ctx.host.clone(),
            device: "cpu".to_owned(),
            threads: ctx.threads,
            seed: 0,
            recipe_sha256: None,
            model_files: files::hashes(source)?,
            reference_files: reference.map_or(Ok(Vec::new()), files::hashes)?,
            datasets: assemble::datasets(datasets, &available)?,
            protocol: assemble::protocol(Some(&bench)),
            resolved_defaults: BTreeMap::new(),
        },
        unmeasured: BTreeMap::new(),
    };
    assemble::reasons(&mut report, Some(&bench), header);
    for pointer in
        ["/recipe", "/plan", "/provenance/recipe_sha256", "/measurements/compression", "/measurements/predicted"]
    {
        report.unmeasured(pointer, "a model was measured as it is: nothing was compressed");
    }
    Ok(Evaluated { report, scores, evaluate_time })
}

fn planned(settings: &Evaluate, inspected: &Inspected, available: &Available) -> Result<PlannedEvaluate> {
    let calibration = None;
    let recipe = Recipe {
        version: 1,
        seed: 0,
        calibration,
        stages: Vec::new(),
        evaluate: settings.clone(),
        export: vec!["safetensors".to_owned()],
    };
    Ok(plan::resolve(&recipe, &inspected.header, available).map_err(EngineError::Invalid)?.evaluate)
}

fn sites(opened: &Opened, after: &BTreeMap<String, u64>, before: Option<&BTreeMap<String, u64>>) -> Vec<SiteReport> {
    let heads = opened.inspected.header.spec.as_ref().map(|spec| spec.heads);
    let report = |site: &crate::engine::model::SiteHeader| SiteReport {
        site: site.spec.site.clone(),
        category: site.spec.category,
        before_bytes: before.and_then(|b| b.get(&site.spec.site).copied()),
        after_bytes: after.get(&site.spec.site).copied().unwrap_or(0),
        form: site.layout.form().to_owned(),
        bits: site.layout.bits(),
        rank: site.layout.rank(),
        density: 1.0,
        heads: heads.filter(|_| site.spec.category == crate::engine::model::Category::Attention),
        relative_error: None,
        sqnr_db: None,
    };
    opened.inspected.header.sites.iter().map(report).collect()
}

/// The measured model's own files.
fn listed(source: &Source, opened: &Opened) -> Result<Vec<ArtifactReport>> {
    let runtimes = loaders::of(&opened.inspected, &opened.model);
    let hashes = files::hashes(source)?;
    let report = |file: crate::engine::report::FileHash| {
        let weights = file.path.ends_with(".safetensors");
        let format = file.path.rsplit_once('.').map_or("binary", |(_, extension)| extension).to_owned();
        let loaders = if weights { runtimes.clone() } else { Vec::new() };
        let (size_bytes, sha256) = (file.size_bytes, file.sha256);
        ArtifactReport { path: file.path, format, size_bytes, sha256, loaders, parity: None }
    };
    Ok(hashes.into_iter().map(report).collect())
}
