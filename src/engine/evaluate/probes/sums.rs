//! Means over rows that count for more or less, of original and result, with intervals from rows drawn with replacement.

use serde::{Deserialize, Serialize};

use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::statistics::{BOOTSTRAP_SEED, Bootstrap, Interval, RESAMPLES};

/// Below this the original has nothing that the result could be set against.
const NOTHING: f64 = 1e-9;

/// One number of original and result, on the same rows, with 95% intervals (bootstrap over rows, seeded).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sides {
    /// Of the original.
    pub original: Option<Interval>,
    /// Of the result.
    pub result: Interval,
    /// Result over original, paired; `None` where the original's is nothing.
    pub ratio: Option<Interval>,
}

/// Of each row a sum, and how many things were summed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sums(pub(super) Vec<(f64, f64)>);

impl Sums {
    /// The mean over these rows; NaN where nothing was summed.
    pub(super) fn mean(&self, rows: &[usize]) -> f64 {
        let (mut sum, mut count) = (0f64, 0f64);
        for (row_sum, row_count) in rows.iter().filter_map(|row| self.0.get(*row)) {
            sum += row_sum;
            count += row_count;
        }
        sum / count
    }

    /// The mean with its interval.
    pub(super) fn interval(&self) -> Result<Interval> {
        interval(self.0.len(), |rows| self.mean(rows))
    }

    /// Original and result.
    pub(super) fn sides(original: Option<&Self>, result: &Self) -> Result<Sides> {
        let of_original = original.map(|sums| move |rows: &[usize]| sums.mean(rows));
        let of_original = of_original.as_ref().map(|f| f as Statistic<'_>);
        sides(result.0.len(), of_original, |rows| result.mean(rows))
    }
}

/// A number of some rows.
pub(super) type Statistic<'a> = &'a dyn Fn(&[usize]) -> f64;

/// A statistic of `n` rows with its interval.
pub(super) fn interval(n: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> Result<Interval> {
    let value = statistic(&all(n));
    finite(Bootstrap::new(n, RESAMPLES, BOOTSTRAP_SEED, statistic).interval(value))
}

/// A statistic of `n` rows of original and result, and the ratio of the two.
pub(super) fn sides(n: usize, original: Option<Statistic<'_>>, result: impl Fn(&[usize]) -> f64) -> Result<Sides> {
    let whole = all(n);
    let ratio = |rows: &[usize], original: Statistic<'_>| {
        let below = original(rows);
        if below > NOTHING { result(rows) / below } else { f64::NAN }
    };
    let ratio = original.filter(|original| original(&whole) > NOTHING).map(|original| {
        let value = ratio(&whole, original);
        finite(Bootstrap::new(n, RESAMPLES, BOOTSTRAP_SEED, |rows| ratio(rows, original)).interval(value))
    });
    Ok(Sides {
        original: original.map(|original| interval(n, original)).transpose()?,
        result: interval(n, &result)?,
        ratio: ratio.transpose()?,
    })
}

fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}

fn finite(interval: Interval) -> Result<Interval> {
    if [interval.value, interval.low, interval.high].iter().all(|x| x.is_finite()) {
        return Ok(interval);
    }
    Err(EngineError::Internal("a probe of no rows, or of answers that are not finite".into()))
}
