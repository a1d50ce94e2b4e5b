//! How near the result stays to the original. Needs no labels.

use serde::{Deserialize, Serialize};

use super::language::Beside;
use super::statistics::{Interval, mean, quantile, spearman, wilson};
use super::{Scores, finite};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::spec::Head;

mod numbers;

pub use numbers::{Numbers, regression};

/// Rows whose pairs the similarity correlation is taken over: 124,750 pairs.
pub const SIMILARITY_ROWS: usize = 500;

/// Which rows fidelity was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredOn {
    /// The evaluation set.
    Evaluation,
    /// Calibration rows that were held out.
    HeldOutCalibration,
    /// Text drawn from the model's own vocabulary, because no rows were given.
    Vocabulary,
}

/// What answers are counted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One a row.
    #[default]
    Row,
    /// One a token: of language models those that are foretold, of taggers those that are not special.
    Token,
    /// One a word, of rows of words: at its first token.
    Word,
}

impl Unit {
    const fn is_row(&self) -> bool {
        matches!(self, Self::Row)
    }

    /// For people, of more than one.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Row => "rows",
            Self::Token => "tokens",
            Self::Word => "words",
        }
    }
}

/// How near the result's outputs are to the original's on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Which rows.
    pub measured_on: MeasuredOn,
    /// How many answers.
    pub n: u64,
    /// What these are counted by; absent: rows.
    #[serde(default, skip_serializing_if = "Unit::is_row")]
    pub unit: Unit,
    /// Divergence of the output distributions; `None` for embedding models and those that answer with a number, which have
    /// none.
    pub kl: Option<Kl>,
    /// Share of answers with the same top label, Wilson's interval; `None` where `kl` is.
    pub top1_agreement: Option<Interval>,
    /// Mean cosine of logits, or of pooled vectors; `None` for a number, which has a sign and no direction.
    #[serde(serialize_with = "finite::optional")]
    pub cosine: Option<f64>,
    /// Spearman's correlation of the rows' pairwise similarities; `None` for classifiers.
    #[serde(serialize_with = "finite::optional")]
    pub similarity_spearman: Option<f64>,
    /// The result's perplexity over the original's; language models alone have one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "finite::optional")]
    pub perplexity_ratio: Option<f64>,
    /// How far numbers are from the original's; models that answer with one number a row alone have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
}

/// `KL(p_original ‖ p_result)` over rows, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kl {
    /// Mean.
    #[serde(serialize_with = "finite::number")]
    pub mean: f64,
    /// 50% quantile.
    #[serde(serialize_with = "finite::number")]
    pub median: f64,
    /// 95% quantile.
    #[serde(serialize_with = "finite::number")]
    pub p95: f64,
    /// 99% quantile.
    #[serde(serialize_with = "finite::number")]
    pub p99: f64,
    /// The worst row.
    #[serde(serialize_with = "finite::number")]
    pub max: f64,
    /// Mean of the original against a second scoring of itself, over the first rows (at most 64, however many `n` says): what is
    /// measured when nothing changed. The arithmetic is deterministic, so it is 0 unless something is broken.
    #[serde(serialize_with = "finite::optional")]
    pub floor: Option<f64>,
}

/// Fidelity of a classifier from logits `[rows, labels]`.
///
/// `KL = Σ p (ln p - ln q)` with `p`, `q` the softmax of original and result, in f64. `again` is a second scoring of the
/// original on the same rows, for the floor.
///
/// # Errors
///
/// [`EngineError::Internal`] when shapes differ, there are no rows, or a score is not finite.
pub fn classification(
    original: &Scores,
    result: &Scores,
    again: Option<&Scores>,
    measured_on: MeasuredOn,
) -> Result<Fidelity> {
    original.check_pair(result)?;
    let divergences = divergences(original, result);
    let floor = match again {
        Some(again) => {
            original.check_pair(again)?;
            mean(&self::divergences(original, again))
        }
        None => None,
    };
    let kl = distribution(divergences, floor)?;
    let rows = original.rows() as u64;
    let same = original.argmax().iter().zip(result.argmax()).filter(|(a, b)| **a == *b).count() as u64;
    Ok(Fidelity {
        measured_on,
        n: rows,
        unit: Unit::Row,
        kl: Some(kl),
        top1_agreement: Some(wilson(same, rows).ok_or_else(no_rows)?),
        cosine: Some(mean_cosine(original, result)?),
        similarity_spearman: None,
        perplexity_ratio: None,
        numbers: None,
    })
}

/// Fidelity of a language model, token by token.
///
/// # Errors
///
/// [`EngineError::Internal`] where there is no token.
pub fn language(
    beside: &Beside,
    (floor, perplexity_ratio): (Option<f64>, f64),
    measured_on: MeasuredOn,
) -> Result<Fidelity> {
    let tokens = beside.same.len() as u64;
    let same = beside.same.iter().filter(|same| **same).count() as u64;
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    Ok(Fidelity {
        measured_on,
        n: tokens,
        unit: Unit::Token,
        kl: Some(distribution(wide(&beside.kl), floor)?),
        top1_agreement: Some(wilson(same, tokens).ok_or_else(no_rows)?),
        cosine: Some(mean(&wide(&beside.cosine)).ok_or_else(no_rows)?),
        similarity_spearman: None,
        perplexity_ratio: Some(perplexity_ratio),
        numbers: None,
    })
}

/// Mean and quantiles.
fn distribution(mut divergences: Vec<f64>, floor: Option<f64>) -> Result<Kl> {
    divergences.sort_by(f64::total_cmp);
    let at = |q| quantile(&divergences, q).ok_or_else(no_rows);
    Ok(Kl {
        mean: mean(&divergences).ok_or_else(no_rows)?,
        median: at(0.5)?,
        p95: at(0.95)?,
        p99: at(0.99)?,
        max: at(1.0)?,
        floor,
    })
}

/// Fidelity of an embedding model from pooled vectors `[rows, dimension]`: mean cosine of a row's two vectors, and
/// Spearman's correlation of the cosines between rows (of at most [`SIMILARITY_ROWS`] rows, evenly taken).
///
/// The correlation is `None` where it is not defined: fewer than three rows, or similarities that do not vary.
///
/// # Errors
///
/// As [`classification`].
pub fn embedding(original: &Scores, result: &Scores, measured_on: MeasuredOn) -> Result<Fidelity> {
    original.check_pair(result)?;
    Ok(Fidelity {
        measured_on,
        n: original.rows() as u64,
        unit: Unit::Row,
        kl: None,
        top1_agreement: None,
        cosine: Some(mean_cosine(original, result)?),
        similarity_spearman: spearman(&similarities(original), &similarities(result)),
        perplexity_ratio: None,
        numbers: None,
    })
}

/// How far each row's answers are apart, in whatever tells it of this head: the divergence of distributions, `1 − cosine` of vectors,
/// the square of the difference of numbers.
///
/// # Errors
///
/// [`EngineError::Internal`] when shapes differ.
pub fn by_row(original: &Scores, result: &Scores, head: &Head) -> Result<Vec<f64>> {
    original.check_pair(result)?;
    let square = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let both = original.iter().zip(result.iter());
    Ok(match head {
        Head::Embedding { .. } => both.map(|(a, b)| 1.0 - cosine(a, b)).collect(),
        Head::Regression => both.map(square).collect(),
        _ => divergences(original, result),
    })
}

fn no_rows() -> EngineError {
    EngineError::Internal("fidelity can't be measured on no rows".into())
}

/// One divergence a row. What rounding makes negative is 0.
pub(super) fn divergences(original: &Scores, result: &Scores) -> Vec<f64> {
    original.iter().zip(result.iter()).map(|(p, q)| divergence(p, q)).collect()
}

/// `Σ p (ln p - ln q)` of two lines of logits.
pub(super) fn divergence(original: &[f32], result: &[f32]) -> f64 {
    let (p, q) = (log_softmax(original), log_softmax(result));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>().max(0.0)
}

/// `x - max - ln Σ exp(x - max)`, in f64.
pub(super) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let log_sum = logits.iter().map(|&x| (x as f64 - top).exp()).sum::<f64>().ln();
    logits.iter().map(|&x| x as f64 - top - log_sum).collect()
}

fn mean_cosine(original: &Scores, result: &Scores) -> Result<f64> {
    let cosines: Vec<f64> = original.iter().zip(result.iter()).map(|(a, b)| cosine(a, b)).collect();
    mean(&cosines).ok_or_else(no_rows)
}

/// `a·b / (|a| |b|)` in f64. Two zero vectors are alike (1); a zero vector and another are not (0).
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (x as f64, y as f64);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    match (aa > 0.0, bb > 0.0) {
        (true, true) => (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0),
        (false, false) => 1.0,
        _ => 0.0,
    }
}

/// Cosines between all pairs of at most [`SIMILARITY_ROWS`] rows.
fn similarities(scores: &Scores) -> Vec<f64> {
    let rows: Vec<&[f32]> = scores.iter().collect();
    let taken = rows.len().min(SIMILARITY_ROWS);
    let chosen: Vec<&[f32]> = (0..taken).filter_map(|i| rows.get(i * rows.len() / taken).copied()).collect();
    let mut all = Vec::with_capacity(taken * taken.saturating_sub(1) / 2);
    for (i, a) in chosen.iter().enumerate() {
        all.extend(chosen.iter().skip(i + 1).map(|b| cosine(a, b)));
    }
    all
}

#[cfg(test)]
mod tests;
