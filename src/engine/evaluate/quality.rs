//! Task quality against labels, numbers or tags, and its paired change.
//!
//! One function a kind of answer gives all its metrics with their intervals, one their changes between two models on the
//! same rows. A metric that these rows do not define (a correlation with something that does not vary) is left out.

mod classes;
mod classification;
mod entities;
mod ranking;
mod regression;
mod tokens;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finite;
use super::statistics::{BOOTSTRAP_SEED, Bootstrap, Interval, RESAMPLES, Z_DETECTABLE};
use crate::engine::error::EngineError;

pub use classification::{change, classification};
pub use entities::{Entity, entities, spell};
pub use regression::{regression, regression_change};
pub use tokens::{Tagged, tags, tags_change};

/// Share of rows whose largest logit is the label's.
pub const ACCURACY: &str = "accuracy";
/// Plain mean of the per-class F1.
pub const MACRO_F1: &str = "macro_f1";
/// Matthews' correlation coefficient of labels and answers, of any number of classes.
pub const MCC: &str = "mcc";
/// Pearson's correlation of numbers and answers.
pub const PEARSON: &str = "pearson";
/// Spearman's.
pub const SPEARMAN: &str = "spearman";
/// F1 over the words that have a tag other than `O`, in labels or answers.
pub const TOKEN_F1: &str = "token_f1";
/// F1 over whole entities.
pub const ENTITY_F1: &str = "entity_f1";

/// Metrics of models that answer with a class.
pub const OF_CLASSES: &[&str] = &[ACCURACY, MACRO_F1, MCC];
/// Metrics of models that answer with a number.
pub const OF_NUMBERS: &[&str] = &[PEARSON, SPEARMAN];
/// Metrics of models that answer with a tag for every word.
pub const OF_TAGS: &[&str] = &[TOKEN_F1, ENTITY_F1];

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

/// `statistic` of all `n` rows with its bootstrap interval; `None` where it is not defined.
fn bootstrapped(n: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> Option<Estimate> {
    let value = Some(statistic(&all(n))).filter(|value| value.is_finite())?;
    let bootstrap = Bootstrap::new(n, RESAMPLES, BOOTSTRAP_SEED, statistic);
    Some(Estimate::new(bootstrap.interval(value), n))
}

/// The paired change of a statistic of `n` rows, which gives the original's value and the result's; `None` where it is
/// not defined.
fn bootstrapped_change(n: usize, mut statistic: impl FnMut(&[usize]) -> (f64, f64)) -> Option<Change> {
    let mut difference = |rows: &[usize]| {
        let (before, after) = statistic(rows);
        after - before
    };
    let value = Some(difference(&all(n))).filter(|value| value.is_finite())?;
    let bootstrap = Bootstrap::new(n, RESAMPLES, BOOTSTRAP_SEED, difference);
    let Interval { value, low, high } = bootstrap.interval(value);
    Some(Change {
        value,
        low,
        high,
        p_value: bootstrap.p_value(),
        test: Test::PairedBootstrap,
        n: n as u64,
        smallest_detectable_difference: Z_DETECTABLE * bootstrap.standard_error(),
        discordant: None,
    })
}

fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}

/// Those metrics that are defined.
fn defined<T, const N: usize>(metrics: [(&str, Option<T>); N]) -> BTreeMap<String, T> {
    metrics.into_iter().filter_map(|(name, found)| Some((name.to_owned(), found?))).collect()
}

fn no_rows() -> EngineError {
    EngineError::Internal("quality can't be measured on no rows".into())
}

#[cfg(test)]
mod tests;
