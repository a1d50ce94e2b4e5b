//! What a model's answers lose when attention is cut, and when words stand in another order.

use super::Unit;
use super::sample::Shuffled;
use super::sums::Sums;
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::Scores;
use crate::engine::evaluate::cloze::Cloze;
use crate::engine::evaluate::fidelity::{cosine, divergence, log_softmax};
use crate::engine::evaluate::language::{self, Foretold};
use crate::engine::evaluate::marked::Marked;
use crate::engine::evaluate::score::score;
use crate::engine::model::build::Model;

/// What one thing that is taken away changes.
pub(super) struct Effect {
    /// `KL(whole ‖ taken away)`, where both are distributions over the same.
    pub(super) change: Option<Sums>,
    /// What the answer loses.
    pub(super) worth: Sums,
}

/// What both do.
pub(super) struct Effects {
    pub(super) cut: Effect,
    pub(super) shuffled: Effect,
}

/// Rows that are answered with a line of numbers, for each row or each of its tokens.
pub(super) struct Lines<'a> {
    pub(super) rows: &'a Encoded,
    /// The same rows, where some tokens' answers are looked at.
    pub(super) marked: Option<&'a Marked>,
    pub(super) shuffled: &'a Shuffled,
    /// Where each row's lines begin; one entry more than there are rows.
    pub(super) starts: &'a [usize],
    /// The column that the original answers with, of every line.
    pub(super) chosen: &'a [usize],
    pub(super) unit: Unit,
}

impl Lines<'_> {
    /// Runs `model` twice, and lays what it says beside its answers to the whole rows.
    pub(super) fn effects(
        &self,
        model: &Model,
        whole: &Scores,
        window: usize,
        ctx: &RunContext<'_>,
    ) -> Result<Effects> {
        let looked_at = |all: Scores| self.marked.map_or(Ok(all.clone()), |marked| marked.of(&all));
        let cut = looked_at(score(&model.within(window), self.rows, ctx)?)?;
        let shuffled = looked_at(self.back(score(model, &self.shuffled.rows, ctx)?)?)?;
        Ok(Effects { cut: self.effect(whole, &cut)?, shuffled: self.effect(whole, &shuffled)? })
    }

    /// Each token's line to where the token stands in the row as it is. Lines of whole rows stand where they stood.
    fn back(&self, scores: Scores) -> Result<Scores> {
        if self.marked.is_none() {
            return Ok(scores);
        }
        let ends = self.shuffled.from.iter().scan(0, |end, row| Some(std::mem::replace(end, *end + row.len())));
        let starts: Vec<usize> = ends.collect();
        let mut values = scores.values.clone();
        let from = self
            .shuffled
            .from
            .iter()
            .zip(&starts)
            .flat_map(|(from, start)| from.iter().map(move |place| start + place));
        for (line, place) in scores.iter().zip(from) {
            let there = values.get_mut(place * scores.width..(place + 1) * scores.width);
            there.ok_or_else(|| EngineError::Internal("a token that stood nowhere".into()))?.copy_from_slice(line);
        }
        Ok(Scores { width: scores.width, values })
    }

    fn effect(&self, whole: &Scores, other: &Scores) -> Result<Effect> {
        whole.check_pair(other)?;
        let lines = || whole.iter().zip(other.iter());
        let lost = |((a, b), chosen): ((&[f32], &[f32]), &usize)| match self.unit {
            Unit::Probability | Unit::Nats => probability(a, *chosen) - probability(b, *chosen),
            Unit::CosineDistance => 1.0 - cosine(a, b),
            Unit::Difference => a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum(),
        };
        let worth: Vec<f64> = lines().zip(self.chosen).map(lost).collect();
        let change: Option<Vec<f64>> =
            (self.unit == Unit::Probability).then(|| lines().map(|(a, b)| divergence(a, b)).collect());
        Ok(Effect { change: change.map(|change| self.sums(&change)), worth: self.sums(&worth) })
    }

    fn sums(&self, lines: &[f64]) -> Sums {
        let row = |w: &[usize]| lines.get(w[0]..w[1]).map(|lines| (lines.iter().sum(), lines.len() as f64));
        Sums(self.starts.windows(2).filter_map(row).collect())
    }
}

/// `softmax(logits)` of one column.
fn probability(logits: &[f32], column: usize) -> f64 {
    log_softmax(logits).get(column).map_or(0.0, |x| x.exp())
}

/// Tokens that are foretold.
pub(super) struct Tokens<'a> {
    pub(super) cloze: &'a Cloze,
    /// The same rows in another order, and what is asked of them.
    pub(super) shuffled: &'a Cloze,
    /// Whether the same tokens are asked for at the same places, so that the two distributions can be laid beside each other.
    pub(super) same_places: bool,
}

impl Tokens<'_> {
    /// Runs `model` three times. `whole` is what it says of each token of the rows as they are, `-ln p`.
    pub(super) fn effects(&self, model: &Model, whole: &[f32], window: usize, ctx: &RunContext<'_>) -> Result<Effects> {
        let states = language::states(model, self.cloze, ctx)?;
        let beside = Some((model, &states));
        let cut = language::foretell(&model.within(window), self.cloze, beside, ctx)?;
        let shuffled = language::foretell(model, self.shuffled, beside.filter(|_| self.same_places), ctx)?;
        Ok(Effects { cut: self.effect(whole, &cut)?, shuffled: self.effect(whole, &shuffled)? })
    }

    fn effect(&self, whole: &[f32], other: &Foretold) -> Result<Effect> {
        if whole.len() != other.nll.len() {
            return Err(EngineError::Internal("a probe foretold other tokens".into()));
        }
        let worth: Vec<f64> = whole.iter().zip(&other.nll).map(|(a, b)| f64::from(*b) - f64::from(*a)).collect();
        let change = other.beside.as_ref().map(|beside| beside.kl.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        Ok(Effect { change: change.map(|change| self.sums(&change)), worth: self.sums(&worth) })
    }

    fn sums(&self, tokens: &[f64]) -> Sums {
        let row = |w: &[usize]| tokens.get(w[0]..w[1]).map(|tokens| (tokens.iter().sum(), tokens.len() as f64));
        Sums(self.cloze.offsets().windows(2).filter_map(row).collect())
    }
}
