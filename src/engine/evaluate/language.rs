//! Language models: how well tokens are foretold, and how near two models' distributions are, token by token.
//!
//! Logits over a vocabulary are thousands of numbers a token, so they are never kept: of the original its last states are,
//! and both models' logits of a few tokens at a time are worked out from states, looked at, and forgotten.

use candle_core::{Device, Tensor};

use super::cloze::Cloze;
use super::onward::{Entrance, Way};
use super::pass::Passed;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::logits;
use crate::engine::model::build::Model;

/// Logits that are in memory at a time, of one model and one thread: 16 MB.
const LOGITS: usize = 4 << 20;

/// The original's last states at every place that is asked, `[asked, hidden]`, rows in order.
#[derive(Debug, Clone)]
pub struct States {
    width: usize,
    values: Vec<f32>,
}

/// What one model says of every token that is asked for, rows in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Foretold {
    /// `-ln p(token)`, nats.
    pub nll: Vec<f32>,
    /// What it says beside the original, where that is known.
    pub beside: Option<Beside>,
}

/// One model beside the original, token by token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// `KL(p_original ‖ p_result)`, nats.
    pub kl: Vec<f32>,
    /// Whether both have the same likeliest token.
    pub same: Vec<bool>,
    /// Cosine of the logits.
    pub cosine: Vec<f32>,
}

/// The last states of a model at every place that is asked.
///
/// # Cost
///
/// One forward pass without the head; `4 · asked · hidden` bytes are kept.
///
/// # Errors
///
/// As the forward pass.
pub fn states(model: &Model, cloze: &Cloze, ctx: &RunContext<'_>) -> Result<States> {
    let parts = walk(model, cloze, Way::Whole(ctx), |_, _, states| Ok(states.flatten_all()?.to_vec1::<f32>()?))?;
    let asked = cloze.len();
    let values: Vec<f32> = parts.into_iter().flatten().collect();
    Ok(States { width: values.len().checked_div(asked).unwrap_or(0), values })
}

/// What a model says of every token, and beside the original where its states are given.
///
/// # Cost
///
/// One forward pass, and the head of both models.
///
/// # Errors
///
/// As the forward pass; states of other rows.
pub fn foretell(
    model: &Model,
    cloze: &Cloze,
    original: Option<(&Model, &States)>,
    ctx: &RunContext<'_>,
) -> Result<Foretold> {
    along(Way::Whole(ctx), model, cloze, original)
}

/// The same of rows that stand at an entrance of the model. Of equal models it has the same bits.
///
/// # Cost
///
/// The rest of a forward pass, and the head of both models.
///
/// # Errors
///
/// As [`foretell`].
pub fn onward(
    model: &Model,
    cloze: &Cloze,
    original: Option<(&Model, &States)>,
    entrance: &Entrance,
) -> Result<Foretold> {
    along(Way::Onward(entrance), model, cloze, original)
}

fn along(way: Way<'_, '_>, model: &Model, cloze: &Cloze, original: Option<(&Model, &States)>) -> Result<Foretold> {
    let original = original.map(|(model, states)| Ok::<_, EngineError>((model.at_end()?, states))).transpose()?;
    let offsets = cloze.offsets();
    let parts = walk(model, cloze, way, |model, row, states| {
        let first = offsets.get(row).copied().unwrap_or(0);
        let targets: Vec<u32> = cloze.asked.get(row).into_iter().flatten().map(|(_, token)| *token).collect();
        let original =
            original.as_ref().map(|(model, all)| Ok::<_, EngineError>((model, all.rows(first, targets.len())?)));
        compare(model, &states, &targets, original.transpose()?.as_ref())
    })?;
    let mut all = Foretold { nll: Vec::with_capacity(cloze.len()), beside: original.is_some().then(Beside::default) };
    for part in parts {
        all.nll.extend(part.nll);
        if let (Some(all), Some(part)) = (all.beside.as_mut(), part.beside) {
            all.kl.extend(part.kl);
            all.same.extend(part.same);
            all.cosine.extend(part.cosine);
        }
    }
    Ok(all)
}

impl States {
    fn rows(&self, first: usize, count: usize) -> Result<Tensor> {
        let missing = || EngineError::Internal("the original's states are of other rows".into());
        let cells = self.values.get(first * self.width..(first + count) * self.width).ok_or_else(missing)?;
        Ok(Tensor::from_slice(cells, (count, self.width), &Device::Cpu)?)
    }
}

/// Runs a model over all rows, and hands each row's states at the places that are asked on, with the model to answer them.
/// Rows at which nothing is asked give nothing.
fn walk<T: Send>(
    model: &Model,
    cloze: &Cloze,
    way: Way<'_, '_>,
    see: impl Fn(&Model, usize, Tensor) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let run = |passed: &Passed<'_>| -> Result<Vec<(usize, T)>> {
        let mut seen = Vec::with_capacity(passed.places.len());
        for (place, start) in passed.places.iter().zip(&passed.batch.offsets) {
            let asked = cloze.asked.get(*place).map(Vec::as_slice).unwrap_or_default();
            if asked.is_empty() {
                continue;
            }
            let at: Vec<u32> = asked.iter().map(|(at, _)| *start as u32 + at).collect();
            let at = Tensor::from_slice(&at, at.len(), &Device::Cpu)?;
            seen.push((*place, see(passed.model, *place, passed.states.index_select(&at, 0)?)?));
        }
        Ok(seen)
    };
    let mut seen: Vec<(usize, T)> =
        way.each(model, &cloze.rows, run)?.into_iter().flat_map(|(_, parts)| parts).collect();
    seen.sort_by_key(|(place, _)| *place);
    Ok(seen.into_iter().map(|(_, part)| part).collect())
}

/// Looks at the tokens of one row, a few at a time.
fn compare(model: &Model, states: &Tensor, targets: &[u32], original: Option<&(&Model, Tensor)>) -> Result<Foretold> {
    let vocab = model.spec.as_ref().map_or(1, |spec| spec.vocab).max(1);
    let few = (LOGITS / vocab).max(1);
    let mut all = Foretold { nll: Vec::new(), beside: original.is_some().then(Beside::default) };
    for (i, targets) in targets.chunks(few).enumerate() {
        let lines = model.answer(&states.narrow(0, i * few, targets.len())?)?.to_vec2::<f32>()?;
        let theirs = original.map(|(model, states)| {
            Ok::<_, EngineError>(model.answer(&states.narrow(0, i * few, targets.len())?)?.to_vec2::<f32>()?)
        });
        for (line, target) in lines.iter().zip(targets) {
            let right = line.get(*target as usize).copied().unwrap_or(f32::NEG_INFINITY);
            all.nll.push((logits::log_sum_exp(line) - f64::from(right)) as f32);
        }
        if let (Some(theirs), Some(beside)) = (theirs.transpose()?, all.beside.as_mut()) {
            theirs.iter().zip(&lines).for_each(|(p, q)| beside.push(p, q));
        }
    }
    Ok(all)
}

impl Beside {
    fn push(&mut self, original: &[f32], result: &[f32]) {
        let logits::Beside { kl, cosine } = logits::beside(original, result);
        self.kl.push(kl as f32);
        self.same.push(super::largest(original) == super::largest(result));
        self.cosine.push(cosine as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_beside_each_other() {
        let mut beside = Beside::default();
        beside.push(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]);
        // A shift of all logits changes no probability
        beside.push(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0]);
        beside.push(&[0.0, 0.0], &[0.0, 3f32.ln()]);
        assert!(beside.kl[0] == 0.0 && beside.kl[1] < 1e-6);
        // ½ ln(½/¼) + ½ ln(½/¾)
        assert!((f64::from(beside.kl[2]) - 0.5 * (4f64 / 3.0).ln()).abs() < 1e-6);
        assert_eq!(beside.same, [true, true, false]);
        assert!((beside.cosine[0] - 1.0).abs() < 1e-6);
    }
}
