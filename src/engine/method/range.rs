//! From a group of weights to its scale and zero point.
//!
//! A code is `q = clamp(round(w / s) + z)`, its weight `(q - z) · s`. Rounding is to nearest, ties to even, as in
//! PyTorch. A scale is rounded to the type that it is stored as before codes are chosen, so that what is measured is
//! what is written.

use crate::engine::kernels::rounding::{self, Steps};
use crate::engine::model::Dtype;
use crate::engine::model::grouped::Grouped;

/// How the range of a group is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observer {
    /// The range that just holds every weight.
    MinMax,
    /// The range with the least squared error: from a fifth to six fifths of the full one in steps of 1%, then in steps
    /// of 0.1% around the best of these.
    Mse,
    /// The same search with the squared error of each column weighted by the mean square of what it is multiplied with:
    /// `Σ_j E[x_j²] (w_j - ŵ_j)²`, the error of the output where inputs are uncorrelated. Plain where that is not known.
    WeightedMse,
}

impl Observer {
    /// The one of that name; [`Observer::Mse`] where there is none.
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
        let at = row * Grouped::groups(map.r#in, map.group_size) + column / size;
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

    /// `Σ (w - ŵ)²`, each weighted by its column's importance where there is one.
    fn error(&self, weights: &[f32], importance: Option<&[f32]>) -> f64 {
        f64::from(rounding::error(weights, importance, self.steps()))
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
    /// What scales are stored as.
    pub scale_dtype: Dtype,
}

impl Scheme {
    /// The grid for a group, and whether its scale had to be raised to the smallest that can be stored. `importance` is of
    /// the group's columns.
    pub fn grid(&self, weights: &[f32], importance: Option<&[f32]>) -> (Grid, bool) {
        // What no input ever reaches is all the same: then every weight counts alike
        let importance = importance.filter(|all| all.iter().any(|e| *e > 0.0));
        // The range holds 0, so that an exact zero stays one
        let (min, max) = rounding::range(weights);
        let full = self.over(min, max);
        if self.observer == Observer::MinMax || min == max {
            return full;
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
            best.0
        };
        if let Some(permille) = self.foretold(weights, max.max(-min), importance) {
            // Around it the error is flat, but for what rounding happens to do
            (-3..=3).for_each(|step| {
                look(permille + 3 * step);
            });
            return best.1;
        }
        let coarse = (20..=120).rev().fold(1000, |_, percent| look(10 * percent));
        (coarse - 9..coarse + 10).for_each(|permille| {
            look(permille);
        });
        best.1
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
        if self.bits != 8 || !self.symmetric || importance.is_some() || weights.len() < FEWEST {
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
        let smallest = if self.scale_dtype == Dtype::F16 { 5.960_464_5e-8 } else { f32::MIN_POSITIVE };
        let stored = self.scale_dtype.rounded(scale.min(65_504.0));
        if stored < smallest { (smallest, true) } else { (stored, false) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scheme(bits: u32, symmetric: bool, observer: Observer) -> Scheme {
        Scheme { bits, symmetric, observer, scale_dtype: Dtype::F16 }
    }

    proptest! {
        /// Half a step is the most that rounding may cost, wherever the range holds the weight.
        #[test]
        fn minmax_is_never_off_by_more_than_half_a_step(
            weights in prop::collection::vec(-2f32..2.0, 1..80), bits in prop::sample::select(vec![2u32, 4, 8]), symmetric: bool,
        ) {
            let (grid, _) = scheme(bits, symmetric, Observer::MinMax).grid(&weights, None);
            // f16 scales may fall short by 2^-11 of the range, and an asymmetric zero by half a step at one end
            let slack = if symmetric { 0.5 } else { 1.0 };
            let range = grid.scale * (1 << bits) as f32;
            for w in &weights {
                let off = (w - grid.weight(grid.code(*w))).abs();
                prop_assert!(off <= slack * grid.scale + range / 1024.0 + 1e-7, "{w} is off by {off} of {}", grid.scale);
            }
        }

        #[test]
        fn searching_never_does_worse_than_the_full_range(
            weights in prop::collection::vec(-2f32..2.0, 2..80), symmetric: bool,
        ) {
            let plain = scheme(4, symmetric, Observer::MinMax).grid(&weights, None).0.error(&weights, None);
            let searched = scheme(4, symmetric, Observer::Mse).grid(&weights, None).0.error(&weights, None);
            prop_assert!(searched <= plain);
        }
    }

    /// On rows as models have them: sums of many small numbers, a few of them far out, some of them zero.
    #[test]
    fn a_range_that_is_foretold_is_as_good_as_all_that_are_tried() {
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::{Rng, SeedableRng};

        let scheme = scheme(8, true, Observer::Mse);
        for seed in 0..40 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut uniform = || rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
            let length = 256 + 90 * seed as usize;
            let mut weights: Vec<f32> = (0..length).map(|_| (0..12).map(|_| uniform()).sum::<f32>()).collect();
            weights[3] *= 1.0 + (seed % 7) as f32;
            weights.iter_mut().step_by(2 + seed as usize % 5).for_each(|w| *w *= f32::from(u8::from(seed % 3 != 0)));
            let even = vec![1.0; length]; // even importance is tried one by one
            let (found, tried) = (scheme.grid(&weights, None).0, scheme.grid(&weights, Some(&even)).0);
            let ratio = found.error(&weights, None) / tried.error(&weights, None);
            assert!(ratio < 1.1, "{ratio} at seed {seed}");
        }
    }

    #[test]
    fn what_is_fed_more_counts_more() {
        // Two large weights that nothing reaches, and small ones that carry all
        let weights = [3.0, -2.9, 0.11, -0.13, 0.17, 0.05, -0.08, 0.02];
        let importance = [1e-6, 1e-6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let scheme = scheme(4, true, Observer::WeightedMse);
        let (plain, _) = scheme.grid(&weights, None);
        let (weighted, _) = scheme.grid(&weights, Some(&importance));
        assert!(weighted.error(&weights, Some(&importance)) < 0.5 * plain.error(&weights, Some(&importance)));
        // Even importance is none at all, and so is none anywhere
        assert_eq!(scheme.grid(&weights, Some(&[2.0; 8])), scheme.grid(&weights, None)); // at 4 bits nothing is foretold
        assert_eq!(scheme.grid(&weights, Some(&[0.0; 8])), scheme.grid(&weights, None));
    }

    #[test]
    fn zero_stays_zero_and_empty_ranges_have_a_scale() {
        for symmetric in [true, false] {
            let scheme = scheme(4, symmetric, Observer::Mse);
            let (grid, _) = scheme.grid(&[0.0; 8], None);
            assert_eq!((grid.scale, grid.weight(grid.code(0.0))), (1.0, 0.0));
            let (grid, _) = scheme.grid(&[0.3, 0.0, 0.9], None);
            assert_eq!(grid.weight(grid.code(0.0)).to_bits() << 1, 0);
        }
        let (grid, raised) = scheme(8, true, Observer::MinMax).grid(&[1e-9, -1e-9], None);
        assert!(raised && grid.scale > 0.0);
    }
}
