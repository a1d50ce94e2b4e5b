//! Intervals, tests and resampling. `D3` of the methods' reference: everything is paired on the same rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::finite;

/// The 97.5% point of the standard normal distribution: two-sided 95% intervals.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// `Z_95` plus the 80% point: differences of this many standard errors are found four times in five.
pub const Z_DETECTABLE: f64 = Z_95 + 0.841_621_233_572_914_3;

/// Bootstrap resamples behind every percentile interval.
pub const RESAMPLES: usize = 2_000;

/// Where the bootstrap's draws start: fixed, so that reports on equal rows can be compared.
pub const BOOTSTRAP_SEED: u64 = 2_000;

/// A value with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    #[serde(serialize_with = "finite::number")]
    pub value: f64,
    /// Lower end.
    #[serde(serialize_with = "finite::number")]
    pub low: f64,
    /// Upper end.
    #[serde(serialize_with = "finite::number")]
    pub high: f64,
}

/// Wilson's 95% score interval of a share `k/n`.
///
/// `(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)` with `p = k/n`. `None` when `n = 0` or `k > n`.
/// Source: Wilson 1927; it holds its level at shares near 0 and 1, where the normal interval collapses.
pub fn wilson(successes: u64, n: u64) -> Option<Interval> {
    if n == 0 || successes > n {
        return None;
    }
    let (p, count) = (successes as f64 / n as f64, n as f64);
    let z2 = Z_95 * Z_95;
    let centre = p + z2 / (2.0 * count);
    let half = Z_95 * (p * (1.0 - p) / count + z2 / (4.0 * count * count)).sqrt();
    let scale = 1.0 + z2 / count;
    // At k = 0 and k = n the ends are 0 and 1 exactly; rounding must not move them inside or outside.
    let low = if successes == 0 { 0.0 } else { ((centre - half) / scale).max(0.0) };
    let high = if successes == n { 1.0 } else { ((centre + half) / scale).min(1.0) };
    Some(Interval { value: p, low, high })
}

/// The arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A mean over answers that come in rows, `m = Σ d_r / Σ n_r`, and its standard error by rows: `√(R/(R-1) Σ (d_r - m n_r)²) / Σ n_r`;
/// `sums` are `(d_r, n_r)`. Answers of one row need not be independent. `None` of fewer than two rows, or of no answer.
///
/// Source: Cochran 1977, section 6.4, of a ratio.
pub fn mean_by_rows(sums: &[(f64, usize)]) -> Option<(f64, f64)> {
    let (rows, answers) = (sums.len() as f64, sums.iter().map(|(_, n)| *n).sum::<usize>() as f64);
    if sums.len() < 2 || answers == 0.0 {
        return None;
    }
    let mean = sums.iter().map(|(d, _)| d).sum::<f64>() / answers;
    let squares: f64 = sums.iter().map(|(d, n)| (d - mean * *n as f64).powi(2)).sum();
    Some((mean, (rows / (rows - 1.0) * squares).sqrt() / answers))
}

/// The `q`-quantile of ascending values, by linear interpolation between order statistics (numpy's default, Hyndman
/// and Fan's type 7): position `q (n - 1)`. `None` of nothing, or when `q` is outside `[0, 1]`.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let position = q * sorted.len().checked_sub(1)? as f64;
    let low = position.floor() as usize;
    let (a, b) = (*sorted.get(low)?, *sorted.get(low + 1).or(sorted.last())?);
    Some(a + (b - a) * (position - low as f64))
}

/// Ranks from 1; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for ties in order.chunk_by(|a, b| a.1 == b.1) {
        let rank = before as f64 + f64::midpoint(ties.len() as f64, 1.0);
        for &(index, _) in ties {
            if let Some(slot) = ranks.get_mut(index) {
                *slot = rank;
            }
        }
        before += ties.len();
    }
    ranks
}

/// Pearson's correlation. `None` when lengths differ, or one side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() {
        return None;
    }
    let (mean_x, mean_y) = (mean(x)?, mean(y)?);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        let (dx, dy) = (a - mean_x, b - mean_y);
        xy += dx * dy;
        xx += dx * dx;
        yy += dy * dy;
    }
    (xx > 0.0 && yy > 0.0).then(|| (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation: Pearson's of the ranks, ties with their mean rank.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

/// McNemar's exact test: the two-sided p of `min(b, c)` under `Binomial(b + c, ½)`, `min(1, 2 P(X ≤ min(b, c)))`.
///
/// `b` and `c` count the rows that only one of two models got right. Nothing discordant gives 1. The largest term is
/// taken as a logarithm and the rest relative to it, so that no count under- or overflows. O(min(b, c)).
pub fn mcnemar_exact(b: u64, c: u64) -> f64 {
    let (m, k) = (b + c, b.min(c));
    if b == c {
        return 1.0;
    }
    // ln C(m, k) - m ln 2, the largest term of the tail.
    let top: f64 =
        (1..=k).map(|i| ((m - k + i) as f64).ln() - (i as f64).ln()).sum::<f64>() - m as f64 * std::f64::consts::LN_2;
    // C(m, i-1) / C(m, i) = i / (m - i + 1)
    let (mut tail, mut term) = (1.0, 1.0);
    for i in (1..=k).rev() {
        term *= i as f64 / (m - i + 1) as f64;
        tail += term;
        if term < tail * f64::EPSILON / 4.0 {
            break;
        }
    }
    (2.0 * (top + tail.ln()).exp()).min(1.0)
}

/// A statistic of resampled rows, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    sorted: Vec<f64>,
}

impl Bootstrap {
    /// Draws `resamples` times `n` of `n` rows with replacement (ChaCha8 from `seed`) and takes `statistic` of each
    /// draw's row numbers. The statistic is given the same draws in the same order whenever `n` and `seed` are equal,
    /// so that a paired difference is just a statistic that looks at both models. Draws that it is not defined of (NaN:
    /// a correlation of rows that are all one row) are left out.
    pub fn new(n: usize, resamples: usize, seed: u64, mut statistic: impl FnMut(&[usize]) -> f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut rows = vec![0_usize; n];
        let mut sorted = Vec::with_capacity(resamples);
        for _ in 0..resamples {
            for row in &mut rows {
                // Multiply-shift: uniform but for a bias of n / 2^64.
                *row = ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize;
            }
            sorted.push(statistic(&rows));
        }
        sorted.retain(|value: &f64| !value.is_nan());
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    /// The 95% percentile interval around `value`, the statistic of the rows themselves.
    pub fn interval(&self, value: f64) -> Interval {
        let end = |q| quantile(&self.sorted, q).unwrap_or(value);
        Interval { value, low: end(0.025), high: end(0.975) }
    }

    /// The two-sided p of "the statistic is 0": twice the smaller share of resamples on either side of it, counting the
    /// rows themselves as one more resample so that it is never 0.
    pub fn p_value(&self) -> f64 {
        let total = self.sorted.len() as f64 + 1.0;
        let below = self.sorted.iter().filter(|value| **value <= 0.0).count() as f64;
        let above = self.sorted.iter().filter(|value| **value >= 0.0).count() as f64;
        (2.0 * (below.min(above) + 1.0) / total).min(1.0)
    }

    /// The standard deviation of the resamples: the statistic's standard error.
    pub fn standard_error(&self) -> f64 {
        let Some(mean) = mean(&self.sorted) else { return 0.0 };
        let squares: f64 = self.sorted.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (self.sorted.len().max(2) - 1) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests;
