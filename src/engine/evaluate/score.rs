//! Runs a model over rows.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::Scores;
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, batches};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::ModelSpec;
use crate::engine::model::build::Model;
use crate::engine::model::forward::Packed;

/// Rows of a batch, at most.
pub const BATCH_ROWS: usize = 64;
/// Tokens of a batch, at most; a longer row is a batch of its own.
pub const BATCH_TOKENS: usize = 4096;

/// Logits or pooled vectors of every row, in the rows' order; of every token where the head answers for each.
///
/// Rows go in batches of like length, and the batches on all threads at once; a row's answer does not depend on the
/// batch that it stands in beyond rounding, and batches depend on the lengths alone.
///
/// # Cost
///
/// One forward pass; memory for one batch's activations a thread.
pub fn score(model: &Model, rows: &Encoded, ctx: &RunContext<'_>) -> Result<Scores> {
    let model = model.realized()?;
    let total = rows.ids.len();
    let done = AtomicUsize::new(0);
    let plan = batches(&rows.lengths(), BATCH_ROWS, BATCH_TOKENS);
    let run = |places: &Vec<usize>| -> Result<Vec<Vec<f32>>> {
        let row = |place: &usize| Some((rows.ids.get(*place)?.as_slice(), rows.type_ids.get(*place)?.as_slice()));
        let answers = model.forward(&Packed::new(places.iter().filter_map(row)))?.to_vec2::<f32>()?;
        let done = done.fetch_add(places.len(), Ordering::Relaxed) + places.len();
        ctx.progress(done, total, "rows")?;
        Ok(answers)
    };
    // One batch a task: they are few and long, and the longest ones come last
    let answered: Vec<_> = plan.par_iter().rev().with_max_len(1).map(run).collect::<Result<_>>()?;
    let width = answered.first().and_then(|answers| answers.first()).map_or(0, Vec::len);
    let by_token = model.spec.as_ref().is_some_and(ModelSpec::answers_by_token);
    let lines = |place: usize| if by_token { rows.ids.get(place).map_or(0, Vec::len) } else { 1 };
    let starts: Vec<usize> =
        (0..=total).scan(0, |end, place| Some(std::mem::replace(end, *end + lines(place)))).collect();
    let mut values = vec![0f32; starts.last().map_or(0, |lines| lines * width)];
    for (answers, places) in answered.iter().zip(plan.iter().rev()) {
        let own = places.iter().flat_map(|place| (0..lines(*place)).map(|line| starts.get(*place).map(|at| at + line)));
        for (answer, line) in answers.iter().zip(own) {
            let cells = line.and_then(|line| values.get_mut(line * width..(line + 1) * width));
            let cells = cells.filter(|cells| cells.len() == answer.len());
            cells
                .ok_or_else(|| EngineError::Internal("a batch answered for other rows".into()))?
                .copy_from_slice(answer);
        }
    }
    Ok(Scores { width, values })
}
