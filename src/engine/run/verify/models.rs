//! Opens the models that the report speaks of, and makes its parts again from them.

use std::time::Duration;

use serde_json::{Number, Value, json};

use super::files::Inputs;
use super::{Checker, Effort};
use crate::engine::context::{Phase, RunContext};
use crate::engine::error::{EngineError, Result};
use crate::engine::export::{encoding, hf, loaders};
use crate::engine::job::{Datasets, InputFile, OutputFile, Role, Source};
use crate::engine::model::ModelHeader;
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::inspect;
use crate::engine::plan::{self, Available, Plan};
use crate::engine::problem::Problem;
use crate::engine::recipe::{Evaluate, Recipe};
use crate::engine::report::verify::{Check, Comparison, Precision, compare};
use crate::engine::report::{Outcome, Provenance, Report};
use crate::engine::run::assemble::{self, Compressed, Models};
use crate::engine::run::compress::{self, OUT, Opened};
use crate::engine::run::distance::Distance;
use crate::engine::run::measure::Bench;
use crate::engine::run::origin::Origin;
use crate::engine::run::{distance, evaluate, files, sides};

/// What of a plan is an estimate: another version estimates otherwise.
const ESTIMATES: [&str; 4] =
    ["/plan/predicted/peak_memory_bytes", "/plan/predicted/disk_bytes", "/plan/predicted/wall_seconds", "/plan/notes"];

impl Checker<'_> {
    /// A job with a recipe.
    pub(super) fn compressed(&mut self, recipe: &Recipe, inputs: &Inputs) -> Result<()> {
        let source = &inputs.model;
        let opened = self.attempt("/model", "the model can be opened", inspect(&source.files))?;
        let Some((inspected, checkpoint)) = opened else { return self.only_own("the model can't be opened") };
        let from = Opened { source, inspected: &inspected, checkpoint: &checkpoint };
        self.summary(&inspected.header);
        let Some(available) = self.available(&inputs.datasets)? else { return self.only_own("data can't be read") };
        let Some((recipe, plan)) = self.plan(recipe, (&inspected.header, &available), plan::resolve)? else {
            return self.only_own("the recipe can't be resolved");
        };
        if self.effort == Effort::Recompress {
            return self.recompress(&recipe, inputs);
        }
        let Some(artifact) = &inputs.artifact else {
            self.original_alone(&inspected.header);
            return Ok(());
        };
        if self.other.contains("artifact") && artifact.files.len() < self.report.result.artifacts.len() {
            self.original_alone(&inspected.header);
            return Ok(());
        }
        let origin = Origin {
            source,
            reference: None,
            recipe: Some((&recipe, &plan)),
            datasets: &inputs.datasets,
            available: &available,
        };
        let done = self.remake(&from, origin, &recipe, &plan, artifact);
        if let Some((outcome, unrun)) = self.attempt("/result", "original and result can be read and run", done)? {
            self.outcome(&outcome, unrun.as_deref(), true);
        }
        Ok(())
    }

    /// The report's `result` from the two models' files, with their answers where these are wanted and can be had; else
    /// why there are none.
    fn remake(
        &mut self,
        from: &Opened<'_>,
        origin: Origin<'_>,
        recipe: &Recipe,
        plan: &Plan,
        artifact: &Source,
    ) -> Result<(Outcome, Option<String>)> {
        let ctx = self.ctx;
        let (inspected, checkpoint) = inspect(&artifact.files)?;
        let errors = errors((&from.inspected.header, from.checkpoint), (&inspected.header, &checkpoint), ctx)?;
        let artifacts = exported(artifact, &inspected.header);
        let unrun = self.unrun(&["model", "artifact"], origin.datasets);
        let mut bench = None;
        if unrun.is_none() {
            ctx.phase(Phase::Evaluating);
            bench = compress::bench(from, plan, origin.datasets, ctx)?;
        }
        if let Some(bench) = &bench {
            self.how(&origin.provenance(Some(bench), ctx)?);
        }
        let mut bench = bench.filter(Bench::wants_scores);
        let loaded = bench.is_some().then(|| -> Result<(Model, Model)> {
            Ok((Model::load(from.inspected, from.checkpoint, ctx)?, Model::load(&inspected, &checkpoint, ctx)?))
        });
        let loaded = loaded.transpose()?;
        if let (Some(bench), Some((original, _))) = (&mut bench, &loaded) {
            bench.original(original, ctx)?;
        }
        let done = Compressed {
            origin,
            recipe,
            plan,
            inspected: from.inspected,
            result: &inspected,
            parity: 0.0,
            errors,
            fallbacks: Vec::new(),
            told: Vec::new(),
            allocation: None,
            models: loaded.as_ref().map(|(original, result)| Models { original, stages: &[], result }),
            artifacts: &artifacts,
            wall: Duration::ZERO,
        };
        Ok((assemble::outcome(&done, bench.as_ref(), ctx)?, unrun))
    }

    /// A job that measured a model as it is, against another where one was given.
    pub(super) fn measured(&mut self, inputs: &Inputs) -> Result<()> {
        let source = &inputs.model;
        let reference = inputs.reference.as_ref();
        if reference.is_none() && self.report.result.before.is_some() {
            return self.only_own("--reference was not given, and the model was measured against it");
        }
        if self.available(&inputs.datasets)?.is_none() {
            return self.only_own("data can't be read");
        }
        let unrun = self.unrun(&["model", "reference"], &inputs.datasets);
        let done = if unrun.is_none() { self.measure(source, reference, inputs) } else { self.read(source, reference) };
        if let Some(outcome) = self.attempt("/result", "the models can be read and run", done)? {
            self.outcome(&outcome, unrun.as_deref(), false);
        }
        Ok(())
    }

    /// What the files alone say.
    fn read(&mut self, source: &Source, reference: Option<&Source>) -> Result<Outcome> {
        let measured = evaluate::open(source, self.ctx)?;
        let original = reference.map(|source| evaluate::open(source, self.ctx)).transpose()?;
        self.summary(&measured.inspected.header);
        evaluate::outcome(source, &measured, original.as_ref(), self.floor(), None)
    }

    /// The whole job again, but for the clocks.
    fn measure(&mut self, source: &Source, reference: Option<&Source>, inputs: &Inputs) -> Result<Outcome> {
        let Some(evaluation) = &self.report.provenance.evaluation else {
            return Err(EngineError::Internal("the report does not say how the model was measured".to_owned()));
        };
        let metrics: Vec<&String> = evaluation.metrics.iter().filter(|metric| *metric != "latency").collect();
        let floor = self.floor().and_then(Number::from_f64);
        let settings = json!({
            "metrics": metrics, "max_seq_length": evaluation.max_seq_length, "reference_floor": floor,
        });
        let settings = Evaluate::parse(&settings).map_err(EngineError::Invalid)?;
        let again = evaluate::evaluate_files(source, reference, &settings, &inputs.datasets, self.ctx)?.report;
        self.part("/model", "what the model's files say", &again.model, &["/model/name"]);
        self.how(&again.provenance);
        Ok(again.result)
    }

    /// The whole job again; all of its result must come out the same.
    fn recompress(&mut self, recipe: &Recipe, inputs: &Inputs) -> Result<()> {
        if let Some(why) = self.no_inputs(&inputs.datasets) {
            return self.only_own(&why);
        }
        let done = compress::compress(&inputs.model, recipe, None, &inputs.datasets, self.ctx);
        if self.attempt("/result", "the recipe runs again", done)?.is_none() {
            return Ok(());
        }
        let path = self.ctx.scratch.join(OUT).join(files::REPORT);
        let bytes = std::fs::read(&path).map_err(EngineError::io(&path, "read"))?;
        let again = Report::read(&bytes).map_err(EngineError::Invalid)?;
        self.how(&again.provenance);
        self.whole(&again.result);
        Ok(())
    }

    /// The model's header.
    pub(super) fn summary(&mut self, header: &ModelHeader) {
        let found = sides::summary(&self.report.model.name, header);
        self.part("/model", "what the model's files say", &found, &["/model/name"]);
    }

    /// What was measured, on which rows, and what counted as an answer.
    pub(super) fn how(&mut self, found: &Provenance) {
        if let Some(rows) = &found.evaluation {
            // Clocks are not always read again, so that metric may be missing
            self.part("/provenance/evaluation", "the rows, as tokens", rows, &["/provenance/evaluation/metrics"]);
        }
        if found.protocol.is_some() || self.report.provenance.protocol.is_some() {
            self.part("/provenance/protocol", "what counts as an answer", &found.protocol, &[]);
        }
    }

    /// Resolves the recipe again, read as strictly as anyone's, as its kind of job does.
    pub(super) fn plan(
        &mut self,
        recipe: &Recipe,
        (header, available): (&ModelHeader, &Available),
        planning: fn(&Recipe, &ModelHeader, &Available) -> Result<Plan, Vec<Problem>>,
    ) -> Result<Option<(Recipe, Plan)>> {
        let written = serde_json::to_value(recipe).unwrap_or(Value::Null);
        let resolve = || -> Result<(Recipe, Plan), Vec<Problem>> {
            let recipe = Recipe::parse(&written)?;
            let plan = planning(&recipe, header, available)?;
            Ok((recipe, plan))
        };
        let what = "the recipe, resolved against the model";
        let Some((recipe, plan)) = self.attempt("/plan", what, resolve().map_err(EngineError::Invalid))? else {
            return Ok(None);
        };
        self.part_at(Precision::Exact, "/plan", what, &plan, &ESTIMATES);
        let found = json!({ "plan": plan });
        let mut comparison = Comparison::default();
        for pointer in ESTIMATES {
            let one = compare(pointer, self.document.pointer(pointer), found.pointer(pointer), Precision::Exact, &[]);
            comparison.compared += one.compared;
            comparison.differences.extend(one.differences);
        }
        let check = Check::compared("/plan/predicted", "estimates of time and memory", comparison);
        let is_other = self.report.provenance.pare_version != env!("CARGO_PKG_VERSION");
        self.checks.push(if is_other { check.as_warning("another version estimates otherwise") } else { check });
        Ok(Some((recipe, plan)))
    }

    fn floor(&self) -> Option<f64> {
        self.report.result.verdict.reference_floor.map(|floor| floor.accuracy)
    }

    /// Why models are not run; `None` where they are.
    fn unrun(&self, models: &[&str], datasets: &Datasets) -> Option<String> {
        if self.effort < Effort::Evaluate {
            return Some("--evaluate runs the models again".to_owned());
        }
        let other = models.iter().find(|name| self.other.contains(**name));
        other.map(|name| format!("the {name} that was given is not the report's")).or_else(|| self.no_rows(datasets))
    }
}

/// How far every site's weights are from the original's, one site in memory at a time.
fn errors(
    (original, before): (&ModelHeader, &Checkpoint),
    (result, after): (&ModelHeader, &Checkpoint),
    ctx: &RunContext<'_>,
) -> Result<Vec<Distance>> {
    let mut errors = Vec::with_capacity(result.sites.len());
    for (done, (site, was)) in result.sites.iter().zip(&original.sites).enumerate() {
        let now = encoding::decode(&site.layout, &site.spec.module, after, &ctx.device)?.to_vec()?;
        let was = encoding::decode(&was.layout, &was.spec.module, before, &ctx.device)?.to_vec()?;
        errors.push(distance::between(was, now, site.spec.r#in, site.spec.is_centered));
        ctx.progress(done + 1, result.sites.len(), "sites")?;
    }
    Ok(errors)
}

/// What the job would have told of the files that it left.
fn exported(artifact: &Source, header: &ModelHeader) -> Vec<OutputFile> {
    let runtimes = loaders::of(header);
    let format = |path: &str| match path.rsplit_once('.') {
        _ if path == hf::WEIGHTS => files::weight_format(header).to_owned(),
        Some((_, extension)) => extension.to_owned(),
        None => "binary".to_owned(),
    };
    let file = |file: &InputFile| OutputFile {
        role: Role::Artifact,
        path: file.path.clone(),
        format: format(&file.path),
        size_bytes: file.size_bytes,
        sha256: file.sha256.clone().unwrap_or_default(),
        loaders: if file.path == hf::WEIGHTS { runtimes.clone() } else { Vec::new() },
    };
    artifact.files.iter().map(file).collect()
}
