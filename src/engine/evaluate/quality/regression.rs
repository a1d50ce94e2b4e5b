//! One number a row.

use super::super::Scores;
use super::ranking::{Pair, Ranking};
use super::{PEARSON, Quality, QualityChange, SPEARMAN, bootstrapped, bootstrapped_change, defined, no_rows};
use crate::engine::error::{EngineError, Result};

/// Pearson's and Spearman's correlation of answers `[rows, 1]` with the numbers that they should be, with bootstrap
/// percentile intervals.
///
/// Both say whether large numbers are answered with large ones, not whether answers are near: a constant error, or
/// one factor over all, costs nothing. A metric is left out where answers or numbers do not vary.
///
/// Cost: one sort, then one pass a resample.
///
/// # Errors
///
/// [`EngineError::Internal`] when numbers and rows do not match, or one is not finite.
pub fn regression(scores: &Scores, targets: &[f64]) -> Result<Quality> {
    let answers = answers(scores, targets)?;
    let targets = Ranking::of(targets.to_vec());
    let n = targets.values().len();
    let mut pair = Pair::of(&targets, &answers);
    let pearson = bootstrapped(n, |rows| pair.pearson(rows));
    let spearman = bootstrapped(n, |rows| pair.spearman(rows));
    Ok(defined([(PEARSON, pearson), (SPEARMAN, spearman)]))
}

/// The paired change of both correlations from `original` to `result` on the same rows: paired bootstrap.
///
/// # Errors
///
/// As [`regression`], and when the shapes of original and result differ.
pub fn regression_change(original: &Scores, result: &Scores, targets: &[f64]) -> Result<QualityChange> {
    original.check_pair(result)?;
    let (before, after) = (answers(original, targets)?, answers(result, targets)?);
    let targets = Ranking::of(targets.to_vec());
    let n = targets.values().len();
    let (mut before, mut after) = (Pair::of(&targets, &before), Pair::of(&targets, &after));
    let pearson = bootstrapped_change(n, |rows| (before.pearson(rows), after.pearson(rows)));
    let spearman = bootstrapped_change(n, |rows| (before.spearman(rows), after.spearman(rows)));
    Ok(defined([(PEARSON, pearson), (SPEARMAN, spearman)]))
}

/// The answers, after checking that everything fits.
fn answers(scores: &Scores, targets: &[f64]) -> Result<Ranking> {
    scores.check("the model")?;
    if targets.is_empty() {
        return Err(no_rows());
    }
    if scores.width != 1 || scores.rows() != targets.len() {
        let (rows, width) = (scores.rows(), scores.width);
        let detail = format!("{} numbers do not fit scores [{rows}, {width}]: one a row is needed", targets.len());
        return Err(EngineError::Internal(detail));
    }
    if let Some(row) = targets.iter().position(|number| !number.is_finite()) {
        return Err(EngineError::Internal(format!("the number of row {row} is not finite")));
    }
    Ok(Ranking::of(scores.values.iter().map(|value| f64::from(*value)).collect()))
}
