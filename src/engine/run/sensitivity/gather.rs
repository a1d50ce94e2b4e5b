//! What sites are fed, for the methods that look at it: in one pass over the original, or from an earlier job.

use crate::engine::calibrate::{self, Sites, Stream, Wanted};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::rows;
use crate::engine::job::Datasets;
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::plan::Plan;
use crate::engine::run::compress::bind;

/// States between two blocks are held in memory up to this, and in scratch files beyond it.
const STATES_BYTES: u64 = 512 << 20;

/// What the sites of every stage are fed; nothing of stages that do not look at it.
///
/// Only one site is changed at a time, so what it is fed is what the original's is, and nothing lies between them. Sums of
/// the first stage are taken from an earlier job where there is one that took the same, and are left for later ones.
///
/// # Cost
///
/// One forward pass over the calibration rows for every stage that looks at them.
///
/// # Errors
///
/// As the forward pass; data that can't be used.
pub(super) fn seen(
    model: &Model,
    checkpoint: &Checkpoint,
    plan: &Plan,
    datasets: &Datasets,
    ctx: &RunContext<'_>,
) -> Result<Vec<Sites>> {
    let Some(planned) = &plan.calibration else { return Ok(Vec::new()) };
    let tokenizer = rows::tokenizer(checkpoint)?;
    let rows = calibrate::rows::choose(model, tokenizer.as_ref(), datasets, (planned, plan.seed), ctx)?.fit;
    let mut all = Vec::with_capacity(plan.stages.len());
    for (i, stage) in plan.stages.iter().enumerate() {
        let Some(wanted) = bind(stage)?.wants() else {
            all.push(Sites::new());
            continue;
        };
        let sites: Vec<usize> = stage.sites.iter().filter_map(|site| model.site(site)).collect();
        let given = if i == 0 { ctx.statistics.of(model, &sites, wanted, ctx.observer) } else { None };
        let found = match given {
            Some(found) => found,
            // A table that is the head as well is a table
            None => taken(model, (&sites, false), wanted, &rows, ctx)?,
        };
        if i == 0 {
            ctx.statistics.take(model, &found);
        }
        all.push(found);
    }
    Ok(all)
}

/// What some sites of a model are fed; of a table that is the head as well what the head is fed if `with_tied`, nothing of other
/// tables.
///
/// # Cost
///
/// One forward pass over the rows, and the products that are wanted.
///
/// # Errors
///
/// As the forward pass.
pub(in crate::engine::run) fn taken(
    model: &Model,
    (sites, with_tied): (&[usize], bool),
    wanted: Wanted,
    rows: &Encoded,
    ctx: &RunContext<'_>,
) -> Result<Sites> {
    let wanted = Wanted { cross: false, ..wanted };
    let Some(wiring) = model.wiring.as_ref().filter(|_| !rows.ids.is_empty()) else { return Ok(Sites::new()) };
    let mut stream = Stream::new(&model.at_tables()?, rows, "fed", STATES_BYTES, ctx)?;
    let mut all = Sites::new();
    for block in &wiring.blocks {
        let here = model.at_block(stream.next())?;
        let inside: Vec<usize> = block.sites().into_iter().filter(|site| sites.contains(site)).collect();
        if !inside.is_empty() {
            all.extend(stream.look(&here, None, &inside, wanted, ctx)?);
        }
        stream.advance(&here)?;
    }
    let heads = wiring.head.into_iter().filter(|head| with_tied || *head != wiring.token);
    let heads = heads.chain(wiring.transform.as_ref().map(|transform| transform.site));
    let heads: Vec<usize> = heads.filter(|site| sites.contains(site)).collect();
    if !heads.is_empty() {
        all.extend(stream.finish(&model.at_end()?, None, &heads, wanted)?);
    }
    if all.values().any(|moments| moments.tokens == 0) {
        return Err(EngineError::Internal("a site was fed nothing".into()));
    }
    Ok(all)
}
