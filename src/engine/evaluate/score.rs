//! Runs a model over rows.

use super::Scores;
use super::onward::{Entrance, Way};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::ModelSpec;
use crate::engine::model::build::Model;

/// Logits or pooled vectors of every row, in the rows' order; of every token where the head answers for each.
///
/// A row's answer does not depend on the batch that it stands in beyond rounding, and batches depend on the lengths alone.
///
/// # Cost
///
/// One forward pass; memory for one batch's activations a thread.
///
/// # Errors
///
/// As the forward pass.
pub fn score(model: &Model, rows: &Encoded, ctx: &RunContext<'_>) -> Result<Scores> {
    along(Way::Whole(ctx), model, rows)
}

/// The same of rows that stand at an entrance of the model. Of equal models they have the same bits.
///
/// # Cost
///
/// The rest of a forward pass.
///
/// # Errors
///
/// As the forward pass.
pub fn onward(model: &Model, rows: &Encoded, entrance: &Entrance) -> Result<Scores> {
    along(Way::Onward(entrance), model, rows)
}

fn along(way: Way<'_, '_>, model: &Model, rows: &Encoded) -> Result<Scores> {
    let total = rows.ids.len();
    let answered = way.each(model, rows, |passed| Ok(passed.model.answer(&passed.states)?.to_vec2::<f32>()?))?;
    let width = answered.first().and_then(|(_, answers)| answers.first()).map_or(0, Vec::len);
    let by_token = model.spec.as_ref().is_some_and(ModelSpec::answers_by_token);
    let lines = |place: usize| if by_token { rows.ids.get(place).map_or(0, Vec::len) } else { 1 };
    let starts: Vec<usize> =
        (0..=total).scan(0, |end, place| Some(std::mem::replace(end, *end + lines(place)))).collect();
    let mut values = vec![0f32; starts.last().map_or(0, |lines| lines * width)];
    for (places, answers) in &answered {
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
