//! One class a row.

use super::super::Scores;
use super::super::statistics::{Z_95, Z_DETECTABLE, mcnemar_exact, wilson};
use super::classes::Counts;
use super::{
    ACCURACY, Change, Discordant, Estimate, MACRO_F1, MCC, Quality, QualityChange, Test, bootstrapped,
    bootstrapped_change, defined, no_rows,
};
use crate::engine::error::{EngineError, Result};

/// Discordant rows, all on one side, from which the exact test can call a difference: `2 · ½⁶ < 0.05`.
const FEWEST_DISCORDANT: f64 = 6.0;

/// Accuracy (Wilson's interval), macro-F1 and Matthews' coefficient (bootstrap percentile intervals) of logits
/// `[rows, labels]`.
///
/// macro-F1 is the plain mean of `2 tp / (2 tp + fp + fn)` over the classes that occur in labels or predictions;
/// Matthews' coefficient is the correlation of labels and predictions, -1 to 1, 0 where either does not vary; both as
/// scikit-learn has them. `n_labels` is the number of the model's labels.
///
/// # Errors
///
/// [`EngineError::Internal`] when labels and rows do not match or a score is not finite.
pub fn classification(scores: &Scores, labels: &[usize], n_labels: usize) -> Result<Quality> {
    let predicted = predictions(scores, labels, n_labels)?;
    let right = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
    let accuracy = wilson(right as u64, labels.len() as u64).ok_or_else(no_rows)?;
    let mut counts = Counts::new(n_labels);
    let mut each =
        |value: fn(&Counts) -> f64| bootstrapped(labels.len(), |rows| value(counts.of(&predicted, labels, rows)));
    Ok(defined([
        (ACCURACY, Some(Estimate::new(accuracy, labels.len()))),
        (MACRO_F1, each(Counts::macro_f1)),
        (MCC, each(Counts::mcc)),
    ]))
}

/// The paired change of accuracy, macro-F1 and Matthews' coefficient from `original` to `result` on the same rows.
///
/// Accuracy, with `b` and `c` the rows that original and result alone got right: `(c - b)/n`,
/// `SE = √((b + c) - (b - c)²/n) / n`, a normal 95% interval and McNemar's exact p. The others: paired bootstrap.
///
/// # Errors
///
/// As [`classification`], and when the shapes of original and result differ.
pub fn change(original: &Scores, result: &Scores, labels: &[usize], n_labels: usize) -> Result<QualityChange> {
    original.check_pair(result)?;
    let before = predictions(original, labels, n_labels)?;
    let after = predictions(result, labels, n_labels)?;
    let mut counts = Counts::new(n_labels);
    let mut each = |value: fn(&Counts) -> f64| {
        bootstrapped_change(labels.len(), |rows| {
            let before = value(counts.of(&before, labels, rows));
            (before, value(counts.of(&after, labels, rows)))
        })
    };
    Ok(defined([
        (ACCURACY, Some(accuracy_change(&before, &after, labels))),
        (MACRO_F1, each(Counts::macro_f1)),
        (MCC, each(Counts::mcc)),
    ]))
}

fn accuracy_change(before: &[usize], after: &[usize], labels: &[usize]) -> Change {
    let (mut original_only, mut result_only) = (0_u64, 0_u64);
    for ((before, after), label) in before.iter().zip(after).zip(labels) {
        match (before == label, after == label) {
            (true, false) => original_only += 1,
            (false, true) => result_only += 1,
            _ => {}
        }
    }
    let (b, c, n) = (original_only as f64, result_only as f64, labels.len() as f64);
    let value = (c - b) / n;
    let error = ((b + c) - (b - c).powi(2) / n).max(0.0).sqrt() / n;
    Change {
        value,
        low: (value - Z_95 * error).max(-1.0),
        high: (value + Z_95 * error).min(1.0),
        p_value: mcnemar_exact(original_only, result_only),
        test: Test::McnemarExact,
        n: labels.len() as u64,
        smallest_detectable_difference: (Z_DETECTABLE * error).max(FEWEST_DISCORDANT / n).min(1.0),
        discordant: Some(Discordant { original_only, result_only }),
    }
}

/// The predicted labels, after checking that everything fits.
pub(super) fn predictions(scores: &Scores, labels: &[usize], n_labels: usize) -> Result<Vec<usize>> {
    scores.check("the model")?;
    if scores.rows() != labels.len() || scores.width != n_labels {
        return Err(EngineError::Internal(format!(
            "{} labels of {n_labels} classes do not fit scores [{}, {}]",
            labels.len(),
            scores.rows(),
            scores.width
        )));
    }
    match labels.iter().find(|label| **label >= n_labels) {
        Some(label) => Err(EngineError::Internal(format!("label {label} is outside the model's {n_labels} classes"))),
        None => Ok(scores.argmax()),
    }
}
