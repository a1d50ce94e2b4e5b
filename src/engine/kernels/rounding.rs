//! Rounding to evenly spaced numbers, and what it costs.

/// Evenly spaced numbers: `(code - zero) · scale` for whole codes from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// Distance of two neighbours.
    pub scale: f32,
    /// The code of 0.
    pub zero: f32,
    /// Smallest code.
    pub low: f32,
    /// Largest code.
    pub high: f32,
}

/// 1.5 · 2²³: adding it rounds to the nearest whole number, ties to even, in every instruction set.
const ROUND: f32 = 12_582_912.0;
/// Numbers are bounded by this first, far beyond any code and within what [`ROUND`] holds.
const BOUND: f32 = 4_194_304.0;

/// `x` held within bounds. `f32::clamp` takes three times as long in a vectorized loop, for it must hand NaN on.
#[inline(always)]
#[allow(clippy::inline_always)] // must become part of the vectorized loop
fn bounded(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

impl Steps {
    /// The code of a weight over the scale, which lies within [`BOUND`].
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn code(self, scaled: f32) -> f32 {
        let whole = (scaled + ROUND) - ROUND;
        bounded(whole + self.zero, self.low, self.high)
    }
}

/// The smallest and the largest of some numbers and 0. In two passes: of one, the compiler makes a shuffle of pairs, which takes
/// five times as long.
pub fn range(weights: &[f32]) -> (f32, f32) {
    (wide!(extreme(weights, |w, low| w < low)), wide!(extreme(weights, |w, high| w > high)))
}

/// Of some numbers and 0 the one that is beyond all others.
#[inline(always)]
#[allow(clippy::inline_always)]
fn extreme(weights: &[f32], is_beyond: impl Fn(f32, f32) -> bool) -> f32 {
    let further = |w: f32, found: f32| if is_beyond(w, found) { w } else { found };
    let mut found = [0f32; 16];
    let (chunks, rest) = weights.as_chunks::<16>();
    for chunk in chunks {
        found.iter_mut().zip(chunk).for_each(|(found, w)| *found = further(*w, *found));
    }
    found.iter_mut().zip(rest).for_each(|(found, w)| *found = further(*w, *found));
    found.into_iter().fold(0f32, |all, w| further(w, all))
}

/// How many numbers are further from 0 than `bound`. Exact up to 2²⁸ of them.
pub fn beyond(weights: &[f32], bound: f32) -> usize {
    wide!({
        let mut counts = [0f32; 16];
        let (chunks, rest) = weights.as_chunks::<16>();
        for chunk in chunks {
            for (count, w) in counts.iter_mut().zip(chunk) {
                *count += if w.abs() > bound { 1.0 } else { 0.0 };
            }
        }
        let rest = rest.iter().filter(|w| w.abs() > bound).count();
        counts.iter().map(|count| *count as usize).sum::<usize>() + rest
    })
}

/// How far from 0 those are that are further than `bound`, in their order. Meant for few: most chunks have none, which is
/// seen of all their numbers at once.
pub fn far(weights: &[f32], bound: f32) -> Vec<f32> {
    wide!({
        let mut found = Vec::new();
        let (chunks, rest) = weights.as_chunks::<16>();
        for chunk in chunks {
            if chunk.iter().fold(false, |any, w| any | (w.abs() > bound)) {
                found.extend(chunk.iter().map(|w| w.abs()).filter(|w| *w > bound));
            }
        }
        found.extend(rest.iter().map(|w| w.abs()).filter(|w| *w > bound));
        found
    })
}

/// `Σ e_j (w_j - ŵ_j)²`, `e` being 1 without importance; in sixteen f32 sums, which is enough to compare grids for one group.
/// Weights are at most 2²² steps from 0.
pub fn error(weights: &[f32], importance: Option<&[f32]>, steps: Steps) -> f32 {
    match importance {
        None if steps.zero == 0.0 => wide!(symmetric(weights, steps)),
        None => wide!(plain(weights, steps)),
        Some(importance) => wide!(weighted(weights, importance, steps)),
    }
}

/// `Σ e_j d_j²`, `d_j` being how far a weight lies outside of the bounds: what no grid inside of them can lose less than.
pub fn outside(weights: &[f32], importance: Option<&[f32]>, (low, high): (f32, f32)) -> f32 {
    let off = |w: f32| w - bounded(w, low, high);
    wide!({
        let mut sums = [0f32; 16];
        match importance {
            None => weights.chunks(16).for_each(|weights| {
                sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += off(*w) * off(*w));
            }),
            Some(all) => weights.chunks(16).zip(all.chunks(16)).for_each(|(weights, all)| {
                sums.iter_mut().zip(weights).zip(all).for_each(|((sum, w), e)| *sum += e * off(*w) * off(*w));
            }),
        }
        sums.iter().sum()
    })
}

/// `code(w / scale)` for every weight.
pub fn codes(weights: &[f32], steps: Steps, codes: &mut [i8]) {
    wide!({
        for (code, w) in codes.iter_mut().zip(weights) {
            let whole = steps.code(bounded(w / steps.scale, -BOUND, BOUND));
            // The last byte of 1.5 · 2²³ + n is n: a conversion would look for NaN and overflow at every number
            *code = ((whole + ROUND).to_bits() as u8).cast_signed();
        }
    });
}

/// [`plain`] of steps with 0 in their middle: the same sums with two operations less.
#[inline(always)]
#[allow(clippy::inline_always)]
fn symmetric(weights: &[f32], steps: Steps) -> f32 {
    let inverse = 1.0 / steps.scale;
    let mut sums = [0f32; 16];
    let chunks = weights.as_chunks::<16>();
    for chunk in chunks.0 {
        for (sum, w) in sums.iter_mut().zip(chunk) {
            let off = w - steps.code(w * inverse) * steps.scale;
            *sum += off * off;
        }
    }
    for (sum, w) in sums.iter_mut().zip(chunks.1) {
        let off = w - steps.code(w * inverse) * steps.scale;
        *sum += off * off;
    }
    sums.iter().sum()
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn plain(weights: &[f32], steps: Steps) -> f32 {
    let inverse = 1.0 / steps.scale;
    let mut sums = [0f32; 16];
    let chunks = weights.as_chunks::<16>();
    for chunk in chunks.0 {
        for (sum, w) in sums.iter_mut().zip(chunk) {
            let off = w - (steps.code(w * inverse) - steps.zero) * steps.scale;
            *sum += off * off;
        }
    }
    for (sum, w) in sums.iter_mut().zip(chunks.1) {
        let off = w - (steps.code(w * inverse) - steps.zero) * steps.scale;
        *sum += off * off;
    }
    sums.iter().sum()
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn weighted(weights: &[f32], importance: &[f32], steps: Steps) -> f32 {
    let inverse = 1.0 / steps.scale;
    let mut sums = [0f32; 16];
    let pairs = weights.chunks(16).zip(importance.chunks(16));
    for (weights, importance) in pairs {
        for ((sum, w), e) in sums.iter_mut().zip(weights).zip(importance) {
            let off = w - (steps.code(w * inverse) - steps.zero) * steps.scale;
            *sum += e * off * off;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Steps = Steps { scale: 0.25, zero: 3.0, low: -8.0, high: 7.0 };

    fn weights(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i * 7919 % 613) as f32 / 100.0 - 3.0).collect()
    }

    fn by_definition(w: f32) -> f32 {
        ((w / STEPS.scale).round_ties_even() + STEPS.zero).clamp(STEPS.low, STEPS.high)
    }

    #[test]
    fn codes_are_those_of_the_definition_ties_and_the_far_outside_included() {
        let mut all = weights(77);
        all.extend([0.125, -0.125, 0.375, 1e30, -1e30, 0.0, -0.0, 1e-40]);
        let mut found = vec![0i8; all.len()];
        codes(&all, STEPS, &mut found);
        for (w, code) in all.iter().zip(found) {
            assert_eq!(f32::from(code), by_definition(*w), "{w}");
        }
    }

    #[test]
    fn steps_around_zero_have_the_error_of_their_codes() {
        let steps = Steps { scale: 0.02, zero: 0.0, low: -127.0, high: 127.0 };
        for count in [5, 16, 130] {
            let all = weights(count);
            let mut found = vec![0i8; count];
            codes(&all, steps, &mut found);
            let off = |(w, code): (&f32, &i8)| f64::from(w - f32::from(*code) * steps.scale).powi(2);
            let sum: f64 = all.iter().zip(&found).map(off).sum();
            assert!((f64::from(error(&all, None, steps)) - sum).abs() <= 1e-5 * sum.max(1e-9));
            assert_eq!(error(&all, None, steps), wide!(plain(&all, steps)));
        }
    }

    #[test]
    fn the_range_and_what_lies_beyond_a_bound_are_those_of_the_definition() {
        for count in [0, 3, 16, 37, 200] {
            let all = weights(count);
            let (low, high) = all.iter().fold((0f32, 0f32), |(low, high), w| (low.min(*w), high.max(*w)));
            assert_eq!(range(&all), (low, high));
            let far_out: Vec<f32> = all.iter().map(|w| w.abs()).filter(|w| *w > 1.25).collect();
            assert_eq!(beyond(&all, 1.25), far_out.len());
            assert_eq!(far(&all, 1.25), far_out);
        }
    }

    #[test]
    fn what_lies_outside_of_bounds_counts_and_nothing_else() {
        for count in [0, 1, 16, 37] {
            let all = weights(count);
            let importance: Vec<f32> = (0..count).map(|i| (i % 5) as f32).collect();
            let off = |w: &f32| f64::from(w - w.clamp(-1.0, 2.0)).powi(2);
            let plain: f64 = all.iter().map(off).sum();
            let weighted: f64 = all.iter().zip(&importance).map(|(w, e)| f64::from(*e) * off(w)).sum();
            assert!((f64::from(outside(&all, None, (-1.0, 2.0))) - plain).abs() <= 1e-5 * plain);
            assert!((f64::from(outside(&all, Some(&importance), (-1.0, 2.0))) - weighted).abs() <= 1e-5 * weighted);
        }
    }

    #[test]
    fn the_error_is_that_of_the_codes_at_every_length() {
        for count in [0, 1, 15, 16, 17, 100] {
            let all = weights(count);
            let importance: Vec<f32> = (0..count).map(|i| (i % 5) as f32).collect();
            let off = |w: &f32| f64::from(w - (by_definition(*w) - STEPS.zero) * STEPS.scale).powi(2);
            let plain: f64 = all.iter().map(off).sum();
            let weighted: f64 = all.iter().zip(&importance).map(|(w, e)| f64::from(*e) * off(w)).sum();
            assert!((f64::from(error(&all, None, STEPS)) - plain).abs() <= 1e-5 * plain.max(1e-9));
            assert!((f64::from(error(&all, Some(&importance), STEPS)) - weighted).abs() <= 1e-5 * weighted.max(1e-9));
        }
    }
}
