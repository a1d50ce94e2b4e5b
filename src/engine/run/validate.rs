//! Checks an upload before anyone may use it.

use crate::engine::context::{Phase, RunContext};
use crate::engine::data::Dataset;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::rows;
use crate::engine::job::{Output, Source};
use crate::engine::model::inspect::inspect;

/// Container, config, tensors, tokenizer, and that every weight is a finite number.
pub(super) fn model(source: &Source, ctx: &RunContext<'_>) -> Result<Output> {
    ctx.phase(Phase::Loading);
    let (inspected, checkpoint) = inspect(&source.files)?;
    let mut problems = checkpoint.not_finite(None, ctx.observer)?;
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

/// That every row can be read.
pub(super) fn dataset(source: &Source) -> Result<Output> {
    let dataset = Dataset::read(&source.files)?;
    Ok(Output::Dataset { summary: Box::new(dataset.summary()) })
}
