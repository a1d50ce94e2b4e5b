//! A recipe, from the model's files to the artifact and its report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::assemble::{self, Compressed, Models};
use super::distance::Distance;
use super::measure::Bench;
use super::origin::Origin;
use super::{allocated, calibrated, distance, files, following, streamed};
use crate::engine::calibrate;
use crate::engine::calibrate::rows::CalibrationRows;
use crate::engine::context::{Phase, RunContext};
use crate::engine::data::{Dataset, Encoded, Hashes, overlap};
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::rows;
use crate::engine::export::{hf, loaders, packed, verify};
use crate::engine::job::{Datasets, OutputFile, Source};
use crate::engine::method::{self, Action, Fallback, SiteAction};
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::{Inspected, inspect};
use crate::engine::model::linear::Linear;
use crate::engine::model::{ModelSpec, SiteSpec};
use crate::engine::plan::{self, Available, Plan, PlannedAllocation, PlannedEvaluate, PlannedStage};
use crate::engine::problem::{Code, Problem};
use crate::engine::recipe::Recipe;
use crate::engine::report::Allocation;

/// The folder below scratch that results are left in.
pub const OUT: &str = "out";

/// The model after a stage, and what did not go as planned.
pub(super) struct AfterStage {
    pub(super) model: Model,
    pub(super) fallbacks: Vec<Fallback>,
}

/// Runs a recipe. Returns the artifact's files and the report.
pub(super) fn compress(
    source: &Source,
    recipe: &Recipe,
    plan: Option<&Plan>,
    datasets: &Datasets,
    ctx: &RunContext<'_>,
) -> Result<Vec<OutputFile>> {
    let started = ctx.stopwatch.elapsed();
    ctx.phase(Phase::Loading);
    let (inspected, checkpoint) = inspect(&source.files)?;
    let available = available(datasets)?;
    let resolved = plan::resolve(recipe, &inspected.header, &available).map_err(EngineError::Invalid)?;
    if plan.is_some_and(|given| !given.does_as(&resolved)) {
        return Err(EngineError::Internal("the plan of this job is not what its recipe resolves to".into()));
    }
    let plan = resolved;
    let folder = ctx.scratch.join(OUT);
    let from = Opened { source, inspected: &inspected, checkpoint: &checkpoint };
    let origin = Origin { source, reference: None, recipe: Some((recipe, &plan)), datasets, available: &available };
    let run = Run { recipe, plan: &plan, from, folder: &folder, origin, started };
    if plan::is_streamed(&plan.evaluate, &plan.stages, plan.allocation.as_ref()) {
        run.streamed(ctx)
    } else {
        run.in_memory(datasets, ctx)
    }
}

/// A recipe on its way.
struct Run<'a> {
    recipe: &'a Recipe,
    plan: &'a Plan,
    from: Opened<'a>,
    folder: &'a Path,
    origin: Origin<'a>,
    started: Duration,
}

impl Run<'_> {
    /// One tensor at a time: nothing is measured by running the model.
    fn streamed(&self, ctx: &RunContext<'_>) -> Result<Vec<OutputFile>> {
        ctx.phase(Phase::Compressing);
        let done = streamed::run(self.plan, &self.from, self.folder, ctx)?;
        ctx.phase(Phase::Packaging);
        let artifacts = artifacts(&done.written, &done.inspected, self.plan, self.folder)?;
        let compressed = Compressed {
            origin: self.origin,
            recipe: self.recipe,
            plan: self.plan,
            inspected: self.from.inspected,
            result: &done.inspected,
            parity: 0.0,
            errors: done.errors,
            fallbacks: done.fallbacks,
            told: done.told,
            allocation: None,
            models: None,
            artifacts: &artifacts,
            wall: ctx.stopwatch.elapsed().saturating_sub(self.started),
        };
        let bytes = assemble::report(&compressed, None, ctx)?.finish()?;
        Ok([artifacts, vec![files::report(self.folder, &bytes)?]].concat())
    }

    /// The whole model, as it is before and after every stage.
    fn in_memory(&self, datasets: &Datasets, ctx: &RunContext<'_>) -> Result<Vec<OutputFile>> {
        let Self { plan, from, folder, .. } = self;
        let problems = from.checkpoint.not_finite(None, ctx.observer)?;
        if !problems.is_empty() {
            return Err(EngineError::Invalid(problems));
        }
        let original = Model::load(from.inspected, from.checkpoint, ctx)?;
        ctx.phase(Phase::Compressing);
        let rows = calibration_rows(&original, from.checkpoint, plan, datasets, ctx)?;
        let (stages, allocation) = self.stages(&original, &rows, ctx)?;
        let statistics = files::statistics(folder, ctx)?;
        let last = stages.last().map_or(&original, |stage| &stage.model);
        ctx.phase(Phase::Packaging);
        let written = hf::write(last, from.inspected, from.checkpoint, &from.source.files, folder, ctx)?;
        let told = if plan.is_packed() { packed::rewrite(&folder.join(hf::WEIGHTS), ctx)? } else { Vec::new() };
        let reopened = verify::reopen(last, folder, &written, ctx)?;
        let artifacts = artifacts(&written, &reopened.inspected, plan, folder)?;
        let wall = ctx.stopwatch.elapsed().saturating_sub(self.started);
        ctx.phase(Phase::Evaluating);
        let bench = bench(from, plan, datasets, ctx)?;
        let compressed = Compressed {
            origin: self.origin,
            recipe: self.recipe,
            plan,
            inspected: from.inspected,
            result: &reopened.inspected,
            parity: reopened.parity,
            errors: errors(&original, &reopened.model)?,
            fallbacks: stages.iter().map(|stage| stage.fallbacks.clone()).collect(),
            told,
            allocation: allocation.as_ref(),
            models: Some(Models { original: &original, stages: &stages, result: &reopened.model }),
            artifacts: &artifacts,
            wall,
        };
        let bytes = assemble::report(&compressed, bench, ctx)?.finish()?;
        Ok([artifacts, vec![files::report(folder, &bytes)?], statistics.into_iter().collect()].concat())
    }
}

impl Run<'_> {
    /// The model after every stage, and how a budget was shared out where there is one.
    fn stages(
        &self,
        original: &Model,
        rows: &CalibrationRows,
        ctx: &RunContext<'_>,
    ) -> Result<(Vec<AfterStage>, Option<Allocation>)> {
        let plan = self.plan;
        let (mut stages, mut told): (Vec<AfterStage>, _) = (Vec::new(), None);
        for (number, stage) in plan.stages.iter().enumerate() {
            let before = stages.last().map_or(original, |s| &s.model);
            let on = On { original, before, stage, rows };
            let mut after = match plan.allocation.as_ref().filter(|planned| planned.stage == number) {
                Some(planned) => {
                    let (after, allocation) = self.allocated(planned, &on, ctx)?;
                    told = Some(allocation);
                    after
                }
                None => on.run(bind(stage)?, number, ctx)?,
            };
            if stages.is_empty() && plan.calibration.as_ref().is_some_and(|calibration| calibration.is_made) {
                after.fallbacks.push(made_rows(original));
            }
            stages.push(after);
        }
        Ok((stages, told))
    }

    /// A stage whose sites share out a budget.
    fn allocated(
        &self,
        planned: &PlannedAllocation,
        on: &On<'_>,
        ctx: &RunContext<'_>,
    ) -> Result<(AfterStage, Allocation)> {
        let header = &self.from.inspected.header;
        let spec = header.spec.as_ref().ok_or_else(|| lost("a budget for a model that can't be run"))?;
        let fidelity = vec!["fidelity".to_owned()];
        let evaluate = PlannedEvaluate { metrics: fidelity, reference_floor: None, ..self.plan.evaluate.clone() };
        let bench = |rows: Encoded| -> Result<Bench<'_>> {
            let rows = rows::of_calibration(spec, self.from.checkpoint, rows, self.plan.seed)?;
            let mut bench = Bench::new(spec, &evaluate, rows);
            bench.original(on.original, ctx)?;
            Ok(bench)
        };
        let held_out = if on.rows.held_out.ids.is_empty() { &on.rows.fit } else { &on.rows.held_out };
        let work = allocated::Work {
            planned,
            stage: on.stage,
            header,
            original: on.original,
            before: on.before,
            targets: &on.targets()?,
            rows: &on.rows.fit,
            tried: &bench(allocated::few(&on.rows.fit))?,
            judged: &bench(held_out.clone())?,
        };
        // Each try keeps its own parts of the checkpoint, behind those of all stages
        let run = |action: Box<dyn SiteAction>, place: usize| {
            on.run(Action::Site(action), self.plan.stages.len() + place, ctx)
        };
        work.run(run, ctx)
    }
}

/// How far every site's weights are from the original's.
fn errors(original: &Model, result: &Model) -> Result<Vec<Distance>> {
    let error = |((site, before), after): ((&SiteSpec, &Arc<Linear>), &Arc<Linear>)| {
        Ok(distance::between(before.map.to_vec()?, after.map.to_vec()?, site.r#in, site.is_centered))
    };
    result.sites.iter().zip(&original.maps).zip(&result.maps).map(error).collect()
}

/// The written files, whose bytes must be what was foretold.
fn artifacts(written: &[String], result: &Inspected, plan: &Plan, folder: &Path) -> Result<Vec<OutputFile>> {
    check_prediction(plan, folder)?;
    let loaders = loaders::of(&result.header);
    let artifact = |path: &String| {
        let is_weights = path == hf::WEIGHTS;
        let file = files::artifact(folder, path, if is_weights { loaders.clone() } else { Vec::new() })?;
        let format = if is_weights { files::weight_format(&result.header).to_owned() } else { file.format };
        Ok(OutputFile { format, ..file })
    };
    written.iter().map(artifact).collect()
}

/// The model that is worked on, opened.
pub(super) struct Opened<'a> {
    pub(super) source: &'a Source,
    pub(super) inspected: &'a Inspected,
    pub(super) checkpoint: &'a Arc<Checkpoint>,
}

/// Where models are measured; `None` where nothing is to be measured, or can be.
pub(super) fn bench<'a>(
    from: &Opened<'a>,
    plan: &'a Plan,
    datasets: &Datasets,
    ctx: &RunContext<'_>,
) -> Result<Option<Bench<'a>>> {
    let evaluate = &plan.evaluate;
    let spec = from.inspected.header.spec.as_ref().filter(|_| !evaluate.metrics.is_empty());
    let bench = |spec: &'a ModelSpec| -> Result<Bench<'a>> {
        let rows = rows::choose(spec, from.checkpoint, datasets, (evaluate.max_seq_length, plan.seed), ctx)?;
        Ok(Bench::new(spec, evaluate, rows))
    };
    spec.map(bench).transpose()
}

/// How many rows every dataset has, and what evaluation rows are to be answered with. Reads them all.
///
/// # Errors
///
/// A dataset that can't be read; rows that stand in two of them.
pub fn available(datasets: &Datasets) -> Result<Available> {
    let named = [
        ("calibration", &datasets.calibration),
        ("training", &datasets.training),
        ("validation", &datasets.validation),
        ("evaluation", &datasets.evaluation),
    ];
    let mut read = Vec::new();
    for (role, source) in named {
        if let Some(source) = source {
            read.push((role, Dataset::read(&source.files)?));
        }
    }
    let hashes: Vec<_> = read.iter().map(|(role, dataset)| (role, Hashes::of(dataset))).collect();
    let mut problems = Vec::new();
    for (i, (role, later)) in hashes.iter().enumerate() {
        for (other, earlier) in hashes.iter().take(i) {
            if let Some(shared) = overlap(&later.prints(), &earlier.prints()) {
                let detail = shared.detail(&format!("the {role} data"), &format!("the {other} data"));
                problems.push(Problem::new(format!("/{role}"), Code::DatasetsOverlap, detail));
            }
        }
    }
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    let found = |role: &str| read.iter().find(|(r, _)| *r == role).map(|(_, dataset)| dataset);
    let rows = |role: &str| found(role).map(|dataset| dataset.rows.len() as u64);
    Ok(Available {
        calibration_rows: rows("calibration"),
        training_rows: rows("training"),
        validation_rows: rows("validation"),
        evaluation_rows: rows("evaluation"),
        evaluation_target: found("evaluation").map(|dataset| dataset.target).unwrap_or_default(),
        evaluation_has_numbers: found("evaluation").is_some_and(|dataset| dataset.numbers().is_some()),
    })
}

/// What stages of the plan calibrate on; nothing where none does.
fn calibration_rows(
    original: &Model,
    checkpoint: &Checkpoint,
    plan: &Plan,
    datasets: &Datasets,
    ctx: &RunContext<'_>,
) -> Result<CalibrationRows> {
    let Some(planned) = &plan.calibration else { return Ok(CalibrationRows::default()) };
    let tokenizer = rows::tokenizer(checkpoint)?;
    calibrate::rows::choose(original, tokenizer.as_ref(), datasets, (planned, plan.seed), ctx)
}

/// Said where statistics come from no text that anyone gave.
fn made_rows(model: &Model) -> Fallback {
    let decodes = model.spec.as_ref().is_some_and(|spec| spec.is_causal);
    let what = if decodes { "calibrated on text that the model made itself" } else { "calibrated on random tokens" };
    Fallback { site: "**".to_owned(), what: what.to_owned(), why: "no calibration data was given".to_owned() }
}

fn lost(what: impl std::fmt::Display) -> EngineError {
    EngineError::Internal(format!("the plan names {what}, which is not there"))
}

/// A planned stage's method with its parameters.
pub(super) fn bind(stage: &PlannedStage) -> Result<Action> {
    let missing = || lost(format_args!("the method '{}'", stage.method));
    let params = stage.params.as_object().cloned().unwrap_or_default();
    method::find(&stage.method).ok_or_else(missing)?.bind(&params).map_err(EngineError::Invalid)
}

/// What a stage works on.
struct On<'a> {
    original: &'a Model,
    before: &'a Model,
    stage: &'a PlannedStage,
    rows: &'a CalibrationRows,
}

impl On<'_> {
    fn targets(&self) -> Result<Vec<usize>> {
        let index = |site: &String| self.before.site(site).ok_or_else(|| lost(format!("the site '{site}'")));
        self.stage.sites.iter().map(index).collect()
    }

    /// Runs an action on the stage's sites; finished parts are kept under `number`.
    fn run(&self, action: Action, number: usize, ctx: &RunContext<'_>) -> Result<AfterStage> {
        let (before, targets) = (self.before, self.targets()?);
        let (model, fallbacks) = match action {
            Action::Model(action) => action.apply(before, &targets)?,
            Action::Site(action) if action.follows() => {
                let models = (self.original, before);
                following::apply(models, (number, action.as_ref(), &targets), self.rows, ctx)?
            }
            Action::Site(action) if action.wants().is_some() => {
                calibrated::apply(before, (number, action.as_ref(), &targets), &self.rows.fit, ctx)?
            }
            Action::Site(action) => plainly(before, action.as_ref(), &targets, ctx)?,
        };
        Ok(AfterStage { model, fallbacks })
    }
}

/// Applies an action that looks at nothing but the weights.
fn plainly(
    before: &Model,
    action: &dyn SiteAction,
    targets: &[usize],
    ctx: &RunContext<'_>,
) -> Result<(Model, Vec<Fallback>)> {
    let mut model = before.clone();
    let mut fallbacks = Vec::new();
    for (done, i) in targets.iter().enumerate() {
        if let (Some(site), Some(map)) = (before.sites.get(*i), model.maps.get_mut(*i)) {
            let (linear, found) = action.apply(site, &map.read()?, None)?;
            *map = linear.into();
            fallbacks.extend(found);
        }
        ctx.progress(done + 1, targets.len(), "sites")?;
    }
    Ok((model, fallbacks))
}

/// Predicted bytes are bytes on disk; of a packed file they are the most that it may have.
fn check_prediction(plan: &Plan, folder: &Path) -> Result<()> {
    for file in &plan.predicted.files {
        let path = folder.join(&file.path);
        let size_bytes = std::fs::metadata(&path).map_err(EngineError::io(&path, "read"))?.len();
        let fits = if plan.is_bounded() { size_bytes <= file.size_bytes } else { size_bytes == file.size_bytes };
        if !fits {
            let detail = format!(
                "'{}' has {size_bytes} bytes, {} were predicted: please report this",
                file.path, file.size_bytes
            );
            return Err(EngineError::invalid("", Code::VerificationFailed, detail));
        }
    }
    Ok(())
}
