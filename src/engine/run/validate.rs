//! Checks an upload before anyone may use it.

use candle_core::Device;

use crate::engine::context::{Phase, RunContext};
use crate::engine::data::Dataset;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::rows;
use crate::engine::export::encoding;
use crate::engine::job::{Output, Source};
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::inspect;
use crate::engine::model::{Layout, ModelHeader};
use crate::engine::problem::Problem;

/// Container, config, tensors, tokenizer, and that every weight is a finite number.
pub(super) fn model(source: &Source, ctx: &RunContext<'_>) -> Result<Output> {
    ctx.phase(Phase::Loading);
    let (inspected, checkpoint) = inspect(&source.files)?;
    let mut problems = checkpoint.not_finite(None, ctx.observer)?;
    problems.extend(dangling(&inspected.header, &checkpoint)?);
    match rows::tokenizer(&checkpoint) {
        Ok(_) => {}
        Err(EngineError::Invalid(found)) => problems.extend(found),
        Err(other) => return Err(other),
    }
    if problems.is_empty() {
        Ok(Output::Model { header: Box::new(inspected.header) })
    } else {
        Ok(Output::Invalid { problems })
    }
}

/// Indices that point beyond their tables, and outliers that stand nowhere.
fn dangling(header: &ModelHeader, checkpoint: &Checkpoint) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for site in header.sites.iter().filter(|site| has_indices(&site.layout)) {
        match encoding::decode(&site.layout, &site.spec.module, checkpoint, &Device::Cpu) {
            Ok(_) => {}
            Err(EngineError::Invalid(found)) => problems.extend(found),
            Err(other) => return Err(other),
        }
    }
    Ok(problems)
}

fn has_indices(layout: &Layout) -> bool {
    match layout {
        Layout::Codebook { .. } => true,
        Layout::Product { left, right } => has_indices(left) || has_indices(right),
        _ => false,
    }
}

/// That every row can be read.
pub(super) fn dataset(source: &Source) -> Result<Output> {
    let dataset = Dataset::read(&source.files)?;
    Ok(Output::Dataset { summary: Box::new(dataset.summary()) })
}
