//! Task quality against labels, and its paired change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::{BOOTSTRAP_SEED, Bootstrap, Interval, RESAMPLES, Z_95, Z_DETECTABLE, mcnemar_exact, wilson};
use super::{Scores, finite};
use crate::engine::error::{EngineError, Result};

/// Share of rows whose largest logit is the label's.
pub const ACCURACY: &str = "accuracy";
/// Plain mean of the per-class F1.
pub const MACRO_F1: &str = "macro_f1";

/// Discordant rows, all on one side, from which the exact test can call a difference: `2 · ½⁶ < 0.05`.
const FEWEST_DISCORDANT: f64 = 6.0;

/// Metric → value.
pub type Quality = BTreeMap<String, Estimate>;

/// Metric → paired change, after − before.
pub type QualityChange = BTreeMap<String, Change>;

/// A metric with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The metric.
    #[serde(serialize_with = "finite::number")]
    pub value: f64,
    /// Lower end.
    #[serde(serialize_with = "finite::number")]
    pub low: f64,
    /// Upper end.
    #[serde(serialize_with = "finite::number")]
    pub high: f64,
    /// Rows.
    pub n: u64,
}

impl Estimate {
    fn new(Interval { value, low, high }: Interval, n: usize) -> Self {
        Self { value, low, high, n: n as u64 }
    }
}

/// How a change was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Two-sided binomial over the discordant rows.
    McnemarExact,
    /// Rows drawn with replacement, the same for both models.
    PairedBootstrap,
}

/// After − before on the same rows, with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The difference.
    #[serde(serialize_with = "finite::number")]
    pub value: f64,
    /// Lower end.
    #[serde(serialize_with = "finite::number")]
    pub low: f64,
    /// Upper end.
    #[serde(serialize_with = "finite::number")]
    pub high: f64,
    /// Chance of a difference this large if the two were equal.
    #[serde(serialize_with = "finite::number")]
    pub p_value: f64,
    /// Where `p_value` comes from.
    pub test: Test,
    /// Rows.
    pub n: u64,
    /// The difference that rows like these would show four times in five, at the 5% level.
    #[serde(serialize_with = "finite::number")]
    pub smallest_detectable_difference: f64,
    /// Rows that only one of the two got right; accuracy alone has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discordant: Option<Discordant>,
}

/// Rows that only one of two models got right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discordant {
    /// `b`: the original alone.
    pub original_only: u64,
    /// `c`: the result alone.
    pub result_only: u64,
}

/// Accuracy (Wilson's interval) and macro-F1 (bootstrap percentile interval) of logits `[rows, labels]`.
///
/// macro-F1 is the plain mean of `2 tp / (2 tp + fp + fn)` over the classes that occur in labels or predictions, as
/// scikit-learn has it. `n_labels` is the number of the model's labels.
///
/// # Errors
///
/// [`EngineError::Internal`] when labels and rows do not match or a score is not finite.
pub fn classification(scores: &Scores, labels: &[usize], n_labels: usize) -> Result<Quality> {
    let predicted = predictions(scores, labels, n_labels)?;
    let right = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
    let accuracy = wilson(right as u64, labels.len() as u64)
        .ok_or_else(|| EngineError::Internal("quality can't be measured on no rows".into()))?;
    let mut counts = Counts::new(n_labels);
    let all: Vec<usize> = (0..labels.len()).collect();
    let value = counts.macro_f1(&predicted, labels, &all);
    let bootstrap =
        Bootstrap::new(labels.len(), RESAMPLES, BOOTSTRAP_SEED, |rows| counts.macro_f1(&predicted, labels, rows));
    Ok(Quality::from([
        (ACCURACY.to_owned(), Estimate::new(accuracy, labels.len())),
        (MACRO_F1.to_owned(), Estimate::new(bootstrap.interval(value), labels.len())),
    ]))
}

/// The paired change of accuracy and macro-F1 from `original` to `result` on the same rows.
///
/// Accuracy, with `b` and `c` the rows that original and result alone got right: `(c - b)/n`,
/// `SE = √((b + c) - (b - c)²/n) / n`, a normal 95% interval and McNemar's exact p. Macro-F1: paired bootstrap.
///
/// # Errors
///
/// As [`classification`], and when the shapes of original and result differ.
pub fn change(original: &Scores, result: &Scores, labels: &[usize], n_labels: usize) -> Result<QualityChange> {
    original.check_pair(result)?;
    let before = predictions(original, labels, n_labels)?;
    let after = predictions(result, labels, n_labels)?;
    Ok(QualityChange::from([
        (ACCURACY.to_owned(), accuracy_change(&before, &after, labels)),
        (MACRO_F1.to_owned(), f1_change(&before, &after, labels, n_labels)),
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

fn f1_change(before: &[usize], after: &[usize], labels: &[usize], n_labels: usize) -> Change {
    let mut counts = Counts::new(n_labels);
    let mut difference = |rows: &[usize]| {
        let after = counts.macro_f1(after, labels, rows);
        after - counts.macro_f1(before, labels, rows)
    };
    let all: Vec<usize> = (0..labels.len()).collect();
    let value = difference(&all);
    let bootstrap = Bootstrap::new(labels.len(), RESAMPLES, BOOTSTRAP_SEED, difference);
    let Interval { value, low, high } = bootstrap.interval(value);
    Change {
        value,
        low,
        high,
        p_value: bootstrap.p_value(),
        test: Test::PairedBootstrap,
        n: labels.len() as u64,
        smallest_detectable_difference: Z_DETECTABLE * bootstrap.standard_error(),
        discordant: None,
    }
}

/// Per class: right predictions, predictions, rows. Kept between resamples to spare allocations.
struct Counts {
    classes: Vec<[u64; 3]>,
}

impl Counts {
    fn new(n_labels: usize) -> Self {
        Self { classes: vec![[0; 3]; n_labels] }
    }

    /// Mean F1 over the classes that occur among `rows`; 0 of none.
    fn macro_f1(&mut self, predicted: &[usize], labels: &[usize], rows: &[usize]) -> f64 {
        self.classes.fill([0; 3]);
        for &row in rows {
            let (Some(&predicted), Some(&label)) = (predicted.get(row), labels.get(row)) else { continue };
            if let Some([right, guesses, _]) = self.classes.get_mut(predicted) {
                *right += u64::from(predicted == label);
                *guesses += 1;
            }
            if let Some([_, _, support]) = self.classes.get_mut(label) {
                *support += 1;
            }
        }
        let (mut sum, mut occurring) = (0.0, 0_u64);
        for &[right, guesses, support] in &self.classes {
            if guesses + support > 0 {
                sum += 2.0 * right as f64 / (guesses + support) as f64;
                occurring += 1;
            }
        }
        sum / occurring.max(1) as f64
    }
}

/// The predicted labels, after checking that everything fits.
fn predictions(scores: &Scores, labels: &[usize], n_labels: usize) -> Result<Vec<usize>> {
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

#[cfg(test)]
mod tests;
