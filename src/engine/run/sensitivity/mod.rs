//! A job of kind `sensitivity`: what every site of a model, compressed alone, costs at every level.

mod gather;
mod report;
mod reuse;
mod table;
#[cfg(test)]
mod tests;
mod weights;

use std::path::Path;

use super::compress::{OUT, Opened, available, bench};
use super::origin::Origin;
use super::{evaluate, files};
use crate::engine::context::{Phase, RunContext};
use crate::engine::error::{EngineError, Result};
use crate::engine::job::{Datasets, OutputFile, Source};
use crate::engine::plan::{Plan, PlannedSensitivity, sensitivity as planning};
use crate::engine::recipe::Recipe;
use crate::engine::report::Report;
use report::Told;

pub(super) use gather::taken;
pub(super) use table::{Given, table};

/// What a job of this kind is given.
pub(super) struct Asked<'a> {
    pub(super) source: &'a Source,
    pub(super) recipe: &'a Recipe,
    /// The recipe resolved, if that was done at submission.
    pub(super) plan: Option<&'a Plan>,
    pub(super) datasets: &'a Datasets,
}

/// Makes the table, or takes it from the report of an earlier job that was asked the same; leaves the report.
///
/// # Errors
///
/// A recipe that has nothing to try on this model; data that can't be used; as the methods and the forward pass.
pub(super) fn sensitivity(asked: &Asked<'_>, earlier: Option<&Path>, ctx: &RunContext<'_>) -> Result<Vec<OutputFile>> {
    let mut report = measure(asked, earlier, ctx)?;
    let folder = ctx.scratch.join(OUT);
    let statistics = files::statistics(&folder, ctx)?;
    report.provenance.statistics = ctx.statistics.provenance();
    let bytes = report.finish()?;
    Ok([vec![files::report(&folder, &bytes)?], statistics.into_iter().collect()].concat())
}

/// The report of a job: see [`sensitivity`].
///
/// # Errors
///
/// As there.
pub(super) fn measure(asked: &Asked<'_>, earlier: Option<&Path>, ctx: &RunContext<'_>) -> Result<Report> {
    let started = ctx.stopwatch.elapsed();
    ctx.phase(Phase::Loading);
    let Asked { source, recipe, datasets, .. } = *asked;
    let available = available(datasets)?;
    let opened = evaluate::open(source, ctx)?;
    let header = &opened.inspected.header;
    let plan = planning::plan(recipe, header, &available).map_err(EngineError::Invalid)?;
    if asked.plan.is_some_and(|given| !given.does_as(&plan)) {
        return Err(EngineError::Internal("the plan of this job is not what its recipe resolves to".into()));
    }
    let problems = opened.checkpoint.not_finite(None, ctx.observer)?;
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    let origin = Origin { source, reference: None, recipe: Some((recipe, &plan)), datasets, available: &available };
    let mut told = Told { opened: &opened, origin, recipe, plan: &plan, bench: None, started };
    if let Some(found) = earlier.map(|path| reuse::find(path, &told, ctx)).transpose()?.flatten() {
        return Ok(found);
    }
    let levels = plan.sensitivity.as_ref().ok_or_else(|| EngineError::Internal("the plan tries nothing".into()))?;
    let targets = planning::menu(&plan.stages, &levels.bits, header).map_err(EngineError::Invalid)?;
    ctx.phase(Phase::Evaluating);
    let seen = gather::seen(&opened.model, &opened.checkpoint, &plan, datasets, ctx)?;
    let from = Opened { source, inspected: &opened.inspected, checkpoint: &opened.checkpoint };
    let mut bench = bench(&from, &plan, &held_out(datasets), ctx)?;
    if let Some(bench) = &mut bench {
        let few = few(&bench.rows.questions.encoded().lengths(), levels);
        bench.rows.questions = bench.rows.questions.select(&few);
        if !opened.model.is_stored() {
            bench.original(&opened.model, ctx)?;
        }
    }
    let table = table(&Given { model: &opened.model, targets: &targets, seen: &seen, bench: bench.as_ref() }, ctx)?;
    told.bench = bench.as_ref();
    told.report(table, ctx)
}

/// The data whose held-out tenth answers are compared on.
fn held_out(datasets: &Datasets) -> Datasets {
    let calibration = datasets.calibration.as_ref().or(datasets.training.as_ref()).cloned();
    Datasets { calibration, ..Datasets::default() }
}

/// The places of the rows that are kept: so many that their number and their tokens stay in bounds, spread evenly.
fn few(lengths: &[usize], asked: &PlannedSensitivity) -> Vec<usize> {
    let rows = lengths.len();
    let tokens = lengths.iter().sum::<usize>().max(1);
    let fit = (asked.max_tokens as u128 * rows as u128 / tokens as u128).max(1);
    let count = rows.min(asked.num_samples).min(usize::try_from(fit).unwrap_or(rows));
    (0..count).map(|i| i * rows / count.max(1)).collect()
}
