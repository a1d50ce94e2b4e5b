//! From a group of weights to its scale and zero point.
//!
//! A code is `q = clamp(round(w / s) + z)`, its weight `(q - z) · s`. Rounding is to nearest, ties to even, as in
//! PyTorch. A scale is rounded to the type that it is stored as before codes are chosen, so that what is measured is
//! what is written.

use rayon::prelude::*;

use crate::engine::kernels::rounding::{self, Steps};
use crate::engine::model::Dtype;
use crate::engine::model::grouped::Grouped;

/// Weights whose error is summed up at a time: f32 sums of many more would lose digits.
const CHUNK: usize = 1 << 16;
/// How far from a grid that is known the next is looked for, in percent of the full range.
const NEAR: i32 = 8;
/// The largest scale that a type of them holds, the largest power of two, and the smallest.
const fn limits(scale_dtype: Dtype) -> (f32, f32, f32) {
    match scale_dtype {
        Dtype::F16 => (65_504.0, 32_768.0, 5.960_464_5e-8),
        Dtype::BF16 => (3.389_531_4e38, 8.507_059e37, f32::MIN_POSITIVE),
        _ => (f32::MAX, 8.507_059e37, f32::MIN_POSITIVE),
    }
}

/// How the range of a group is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observer {
    /// The range that just holds every weight.
    MinMax,
    /// The range that holds this many percent of them: of `|w|` in a symmetric grid, at either end of another. The bound is
    /// a weight of the group's own (nearest rank), so that 100 is [`Observer::MinMax`], and so is whatever leaves out less
    /// than one weight.
    Percentile(f64),
    /// The range with the least squared error: from a fifth to six fifths of the full one in steps of 1%, then in steps
    /// of 0.1% around the best of these.
    Mse,
    /// The same search with the squared error of each column weighted by the mean square of what it is multiplied with:
    /// `Σ_j E[x_j²] (w_j - ŵ_j)²`, the error of the output where inputs are uncorrelated. Plain where that is not known.
    WeightedMse,
}

impl Observer {
    /// The one of that name without a parameter of its own; [`Observer::Mse`] where there is none.
    pub fn parse(name: &str) -> Self {
        match name {
            "minmax" => Self::MinMax,
            "weighted_mse" => Self::WeightedMse,
            _ => Self::Mse,
        }
    }

    /// The same without statistics.
    #[must_use]
    pub const fn plain(self) -> Self {
        match self {
            Self::WeightedMse => Self::Mse,
            other => other,
        }
    }
}

/// A grid of codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Distance of two neighbouring weights.
    pub scale: f32,
    /// The code of weight 0.
    pub zero: i32,
    /// Smallest code.
    pub low: i32,
    /// Largest code.
    pub high: i32,
}

impl Grid {
    /// The grid that a weight of a map is on.
    pub fn of(map: &Grouped, row: usize, column: usize) -> Self {
        let size = map.group_size.unwrap_or(map.r#in).max(1);
        let at = if map.per_tensor { 0 } else { row * Grouped::groups(map.r#in, map.group_size) + column / size };
        let half = 1i32 << (map.bits - 1);
        let zero = map.zeros.as_ref().map(|zeros| zeros.get(at).copied().unwrap_or(0));
        let low = if zero.is_some() { -half } else { 1 - half };
        let scale = map.scales.get(at).copied().unwrap_or(1.0);
        Self { scale, zero: zero.unwrap_or(0).into(), low, high: half - 1 }
    }

    /// The code of a weight.
    #[inline]
    pub fn code(&self, weight: f32) -> i32 {
        // The bounds come first: a weight far outside must not overflow the conversion
        let shifted = (weight / self.scale).round_ties_even() + self.zero as f32;
        shifted.clamp(self.low as f32, self.high as f32) as i32
    }

    /// The weight of a code.
    #[inline]
    pub fn weight(&self, code: i32) -> f32 {
        (code - self.zero) as f32 * self.scale
    }

    /// `Σ (w - ŵ)²`, each weighted by its column's importance where there is one; of several rows, each row's by the same.
    fn error(&self, weights: &[f32], importance: Option<&[f32]>) -> f64 {
        let part = |part: &[f32]| f64::from(rounding::error(part, importance, self.steps()));
        let width = importance.map_or(CHUNK, <[f32]>::len).max(1);
        if weights.len() <= width {
            return part(weights);
        }
        // Added in their order, so that the sum does not depend on threads
        weights.par_chunks(width).map(part).collect::<Vec<f64>>().iter().sum()
    }

    /// The codes of some weights.
    pub fn codes(&self, weights: &[f32], codes: &mut [i8]) {
        rounding::codes(weights, self.steps(), codes);
    }

    fn steps(&self) -> Steps {
        let (zero, low, high) = (self.zero as f32, self.low as f32, self.high as f32);
        Steps { scale: self.scale, zero, low, high }
    }
}

/// What a grid looks like.
#[derive(Debug, Clone, Copy)]
pub struct Scheme {
    /// Bits of a code.
    pub bits: u32,
    /// Zero is code 0, and codes lie in `±(2^(bits-1) - 1)`.
    pub symmetric: bool,
    /// How the range is chosen.
    pub observer: Observer,
    /// Whether scales are powers of two: `2^⌈log₂ s⌉` in place of `s`, so that a multiplication is a shift (dynamic fixed
    /// point, Courbariaux et al. 2015, arXiv 1412.7024). A step is at most twice as long, which costs 6 dB at most.
    pub power_of_two: bool,
    /// What scales are stored as.
    pub scale_dtype: Dtype,
}

impl Scheme {
    /// The grid for a group, and whether its scale had to be raised to the smallest that can be stored. `importance` is of
    /// the group's columns; where the group is several whole rows, of the columns of each.
    pub fn grid(&self, weights: &[f32], importance: Option<&[f32]>) -> (Grid, bool) {
        self.grid_near(weights, importance, None)
    }

    /// The same, where the grid of weights that are nearly these may be known: a search by errors then looks around that one's
    /// range alone, at a third of the ranges.
    pub fn grid_near(&self, weights: &[f32], importance: Option<&[f32]>, near: Option<Grid>) -> (Grid, bool) {
        // What no input ever reaches is all the same: then every weight counts alike
        let importance = importance.filter(|all| all.iter().any(|e| *e > 0.0));
        // The range holds 0, so that an exact zero stays one
        let (min, max) = match self.observer {
            Observer::Percentile(percent) => percentiles(weights, percent, self.symmetric),
            _ => rounding::range(weights),
        };
        let full = self.over(min, max);
        if matches!(self.observer, Observer::MinMax | Observer::Percentile(_)) || min == max {
            return full;
        }
        if self.power_of_two && self.symmetric {
            // Half of a range has the next power
            let shares = [2.0, 0.5, 0.25, 0.125, 0.0625, 0.03125];
            let candidates = shares.map(|share| self.over(min * share, max * share)).into_iter();
            let error = |(grid, raised): (Grid, bool)| ((grid, raised), grid.error(weights, importance));
            let better = |best: (_, f64), next: (_, f64)| if next.1 < best.1 { next } else { best };
            return candidates.map(error).fold(error(full), better).0;
        }
        // Wider ranges too: one weight far from all others sets the step of its group, and a slightly longer one may
        // fit these better
        let mut best = (1000, full, full.0.error(weights, importance));
        let mut look = |permille: i32| {
            let share = permille as f32 / 1000.0;
            let candidate = self.over(min * share, max * share);
            let error = candidate.0.error(weights, importance);
            if error < best.2 {
                best = (permille, candidate, error);
            }
            (best.0, best.2)
        };
        if let Some(permille) = self.foretold(weights, max.max(-min), importance) {
            // Around it the error is flat, but for what rounding happens to do
            (-3..=3).for_each(|step| {
                look(permille + 3 * step);
            });
            return best.1;
        }
        let middle = near.map(|near| (100.0 * near.scale / full.0.scale).round() as i32);
        let percents = middle.map_or(20..=120, |middle| (middle - NEAR).max(20)..=(middle + NEAR).min(120));
        let mut coarse = 1000;
        for percent in percents.rev() {
            let (found, error) = look(10 * percent);
            coarse = found;
            if percent % 5 == 0 && self.is_lost((weights, importance), (min, max, full.0.scale), percent, error) {
                break;
            }
        }
        (coarse - 9..coarse + 10).for_each(|permille| {
            look(permille);
        });
        best.1
    }

    /// Whether what lies outside of so many percent of the range, and one step more, costs more than the least error yet: then it
    /// does outside of every smaller range too, and none of them is better. `full` is the range and its scale.
    fn is_lost(
        &self,
        (weights, importance): (&[f32], Option<&[f32]>),
        (min, max, scale): (f32, f32, f32),
        percent: i32,
        least: f64,
    ) -> bool {
        /// Scales below it are stored with fewer digits: a range may then be more than a step longer.
        const SMALLEST: f32 = 6.2e-5;
        let (share, is_one_group) = (percent as f32 / 100.0, importance.is_none_or(|all| all.len() == weights.len()));
        if percent > 75 || !is_one_group || weights.len() > CHUNK || self.power_of_two || 0.2 * scale < SMALLEST {
            return false;
        }
        let (low, high) = if self.symmetric { (-max.max(-min), max.max(-min)) } else { (min, max) };
        let bounds = (share * (low - scale), share * (high + scale));
        f64::from(rounding::outside(weights, importance, bounds)) >= least
    }

    /// Where the least error of a fine symmetric grid lies, in thousandths of the full range, without trying: half a step
    /// either way is as likely as any, so a range `t` costs `n t² / (12 · 127²)` for rounding, and `Σ (|w| - t)²` for what lies
    /// beyond it (Nagel et al. 2021, section 2.3). `None` where steps are too coarse for that, columns are weighted, or the
    /// least lies below what is looked at.
    fn foretold(&self, weights: &[f32], largest: f32, importance: Option<&[f32]>) -> Option<i32> {
        /// Weights below this share of the largest are not cut off.
        const FROM: f32 = 0.8;
        /// Shorter groups are tried one by one: what rounding happens to do counts for more there.
        const FEWEST: usize = 256;
        if self.bits != 8 || !self.symmetric || importance.is_some() || weights.len() < FEWEST || self.power_of_two {
            return None;
        }
        let from = FROM * largest;
        let mut tail = rounding::far(weights, from);
        tail.sort_by(|a, b| b.total_cmp(a));
        // What is nearer to 0 than to the first step costs the same whatever the range is
        let half_step = largest / 254.0;
        let rounding = rounding::beyond(weights, half_step) as f64 / (12.0 * 127.0 * 127.0);
        // From the largest down: what is cut off only grows
        let (mut cut, mut sum, mut squares) = (0usize, 0f64, 0f64);
        let mut best = (1000, f64::INFINITY);
        for permille in (800..=1000).rev().step_by(10) {
            let range = f64::from(largest) * f64::from(permille) / 1000.0;
            while let Some(w) = tail.get(cut).map(|w| f64::from(*w)).filter(|w| *w > range) {
                (cut, sum, squares) = (cut + 1, sum + w, squares + w * w);
            }
            let error = rounding * range * range + squares - 2.0 * range * sum + cut as f64 * range * range;
            if error < best.1 {
                best = (permille, error);
            }
        }
        (best.0 > 800).then_some(best.0)
    }

    /// The grid over `[min, max]`, which holds 0.
    fn over(&self, min: f32, max: f32) -> (Grid, bool) {
        let half = 1i32 << (self.bits - 1);
        if self.symmetric {
            let (scale, raised) = self.storable(max.max(-min) / (half - 1) as f32);
            return (Grid { scale, zero: 0, low: 1 - half, high: half - 1 }, raised);
        }
        let (scale, raised) = self.storable((max - min) / (2 * half - 1) as f32);
        let zero = ((-min / scale).round_ties_even() - half as f32).clamp(-half as f32, (half - 1) as f32) as i32;
        (Grid { scale, zero, low: -half, high: half - 1 }, raised)
    }

    /// A scale as it will be stored. An all-zero group has scale 1; one too small for the type gets the smallest it holds.
    fn storable(&self, scale: f32) -> (f32, bool) {
        if scale == 0.0 {
            return (1.0, false);
        }
        let (largest, largest_power, smallest) = limits(self.scale_dtype);
        let scale = if self.power_of_two { power_above(scale.min(largest_power)) } else { scale.min(largest) };
        let stored = self.scale_dtype.rounded(scale);
        if stored < smallest { (smallest, true) } else { (stored, false) }
    }
}

/// `2^⌈log₂ x⌉` of a number from 0 to `2^126`; at least the smallest normal number.
fn power_above(x: f32) -> f32 {
    const MANTISSA: u32 = (1 << 23) - 1;
    let bits = x.max(f32::MIN_POSITIVE).to_bits();
    f32::from_bits(if bits & MANTISSA == 0 { bits } else { (bits & !MANTISSA) + MANTISSA + 1 })
}

/// The range of [`Observer::Percentile`]; all of it where that many percent are zero.
fn percentiles(weights: &[f32], percent: f64, symmetric: bool) -> (f32, f32) {
    // A hair less, for 0.9999 · 10,000 is no whole number in binary
    let rank = ((percent / 100.0 * weights.len() as f64 - 1e-9).ceil() as usize).clamp(1, weights.len().max(1)) - 1;
    let ranked = |mut values: Vec<f32>| {
        if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(rank, f32::total_cmp).1 }
    };
    let (low, high) = if symmetric {
        let bound = ranked(weights.iter().map(|w| w.abs()).collect());
        (-bound, bound)
    } else {
        (-ranked(weights.iter().map(|w| -w).collect()), ranked(weights.to_vec()))
    };
    let found = (low.min(0.0), high.max(0.0));
    if found.0 == found.1 { rounding::range(weights) } else { found }
}

#[cfg(test)]
mod tests;
