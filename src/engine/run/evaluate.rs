//! Measures a model as it is, against a reference where one is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::compress::{OUT, available};
use super::measure::Bench;
use super::origin::Origin;
use super::{files, reasons, sides};
use crate::engine::context::{Phase, RunContext};
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::Answers;
use crate::engine::evaluate::rows;
use crate::engine::export::loaders;
use crate::engine::job::{Datasets, OutputFile, Source};
use crate::engine::model::SiteHeader;
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::{Inspected, inspect};
use crate::engine::plan::{self, Available, PlannedEvaluate};
use crate::engine::problem::Code;
use crate::engine::recipe::{Evaluate, Recipe};
use crate::engine::report::accounting::{self, Accounting};
use crate::engine::report::{ArtifactReport, FileHash, Measurements, Outcome, Report, SiteReport, VERSION, Verdict};

/// A measured model.
pub struct Evaluated {
    /// What was found.
    pub report: Report,
    /// Its answers, in the rows' order; none where nothing was asked for.
    pub answers: Option<Answers>,
    /// Time that reading rows, tokenizing and running took, without loading the model.
    pub evaluate_time: Duration,
}

/// A model, opened and read.
pub(super) struct Opened {
    pub(super) inspected: Inspected,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) model: Model,
}

/// Opens a model and reads it.
pub(super) fn open(source: &Source, ctx: &RunContext<'_>) -> Result<Opened> {
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
        return Err(EngineError::invalid("/model_id", Code::UnsupportedModel, detail));
    };
    ctx.phase(Phase::Evaluating);
    let started = ctx.stopwatch.elapsed();
    let rows = rows::choose(spec, &measured.checkpoint, datasets, (planned.max_seq_length, 0), ctx)?;
    let mut bench = Bench::new(spec, &planned, rows);
    let wanted = bench.wants_scores();
    let prepared = ctx.stopwatch.elapsed().saturating_sub(started);
    // First, for what the measured model answers is laid beside it
    if let Some(original) = original.as_ref().filter(|_| wanted) {
        bench.original(&original.model, ctx)?;
    }
    let started = ctx.stopwatch.elapsed();
    let answers = wanted.then(|| bench.score(&measured.model, ctx)).transpose()?;
    let evaluate_time = prepared + ctx.stopwatch.elapsed().saturating_sub(started);
    let probes = answers.as_ref().map_or(Ok(None), |answers| {
        bench.probes(original.as_ref().map(|opened| &opened.model), (&measured.model, answers), ctx)
    })?;
    let latency = bench.latency(original.as_ref().map(|o| &o.model), &measured.model, ctx)?;
    let origin = Origin { source, reference, recipe: None, datasets, available: &available };
    let header = &measured.inspected.header;
    let scored = answers.as_ref().map(|answers| (&bench, answers));
    let result = outcome(source, &measured, original.as_ref(), planned.floor(), scored)?;
    let mut report = Report {
        version: VERSION,
        model: sides::summary(&source.name, header),
        recipe: None,
        plan: None,
        result: Outcome { probes, ..result },
        measurements: Measurements { latency, compression: None, predicted: None },
        provenance: origin.provenance(Some(&bench), ctx)?,
        unmeasured: BTreeMap::new(),
    };
    reasons::give(&mut report, Some(&bench), header);
    Ok(Evaluated { report, answers, evaluate_time })
}

/// The report's `result`; without `answers` it holds what the files alone say.
pub(super) fn outcome(
    source: &Source,
    measured: &Opened,
    original: Option<&Opened>,
    floor: Option<f64>,
    answers: Option<(&Bench<'_>, &Answers)>,
) -> Result<Outcome> {
    let scoring = answers.map(|(bench, _)| bench);
    let before = original.map(|opened| sides::before(&opened.inspected.header, scoring)).transpose()?;
    let after = sides::after(before.as_ref(), &measured.inspected.header, answers)?;
    let account = original.map(|opened| accounting::account(&opened.inspected.header));
    let accounts = accounting::account(&measured.inspected.header);
    Ok(Outcome {
        verdict: Verdict::new(before.as_ref(), &after, floor),
        stages: Vec::new(),
        sites: sites(measured, account.as_ref(), &accounts),
        bytes_by_category: accounting::compare(account.as_ref(), &accounts),
        probes: None,
        allocation: None,
        sensitivity: None,
        training: None,
        artifacts: listed(source, measured)?,
        fallbacks: Vec::new(),
        histograms: Vec::new(),
        before,
        after,
    })
}

fn planned(settings: &Evaluate, inspected: &Inspected, available: &Available) -> Result<PlannedEvaluate> {
    let calibration = None;
    let recipe = Recipe {
        version: 1,
        constraints: None,
        seed: 0,
        calibration,
        stages: Vec::new(),
        evaluate: settings.clone(),
        sensitivity: None,
        export: vec!["safetensors".to_owned()],
    };
    Ok(plan::resolve(&recipe, &inspected.header, available).map_err(EngineError::Invalid)?.evaluate)
}

pub(super) fn sites(opened: &Opened, before: Option<&Accounting>, after: &Accounting) -> Vec<SiteReport> {
    let header = &opened.inspected.header;
    let heads = header.spec.as_ref().map(|spec| spec.heads);
    let bytes = |side: &Accounting, site: &str| side.by_site.get(site).copied();
    let report = |site: &SiteHeader| {
        let name = &site.spec.site;
        let sizes = (before.and_then(|side| bytes(side, name)), bytes(after, name).unwrap_or(0));
        sides::site(site, heads, sizes)
    };
    header.sites.iter().map(report).collect()
}

/// The measured model's own files.
fn listed(source: &Source, opened: &Opened) -> Result<Vec<ArtifactReport>> {
    let runtimes = loaders::of(&opened.inspected.header);
    let hashes = files::hashes(source)?;
    let report = |file: FileHash| {
        let weights = file.path.ends_with(".safetensors");
        let format = file.path.rsplit_once('.').map_or("binary", |(_, extension)| extension);
        let format = if weights { files::weight_format(&opened.inspected.header) } else { format }.to_owned();
        let loaders = if weights { runtimes.clone() } else { Vec::new() };
        let (size_bytes, sha256) = (file.size_bytes, file.sha256);
        ArtifactReport { path: file.path, format, size_bytes, sha256, loaders, parity: None }
    };
    Ok(hashes.into_iter().map(report).collect())
}
