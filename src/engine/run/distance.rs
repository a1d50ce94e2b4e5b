//! How far a site's weights are from the original's.

use super::bins::Bins;
use crate::engine::kernels::sums;
use crate::engine::report::SiteHistogram;

/// Numbers summed in f32 before they are added in f64; and counted or left out together.
const CHUNK: usize = 1024;
/// Weights of a site that are counted for its histogram, at most: chunks spread evenly over them.
const MOST_COUNTED: usize = 1 << 17;

/// `‖W - Ŵ‖²`, `‖W‖²`, `‖Ŵ‖²` and histograms, over parts of a matrix.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Distance {
    off: f64,
    norm: f64,
    result: f64,
    /// The place of the next weight in the whole matrix.
    at: usize,
    /// Of so many chunks one is counted; 0 as 1.
    every: usize,
    before: Bins,
    after: Bins,
    error: Bins,
}

impl Distance {
    /// Nothing yet, of a matrix of so many weights, from a place in it on.
    pub(super) fn of(weights: usize, at: usize) -> Self {
        Self { at, every: weights.div_ceil(MOST_COUNTED), ..Self::default() }
    }

    /// Adds a part, given row by row.
    pub(super) fn add(&mut self, original: &[f32], result: &[f32]) {
        for (a, b) in original.chunks(CHUNK).zip(result.chunks(CHUNK)) {
            self.off += exact(sums::squared_distance(a, b), || a.iter().zip(b).map(|(a, b)| square(*a, *b)).sum());
            self.norm += exact(sums::squares(a), || a.iter().map(|a| square(*a, 0.0)).sum());
            self.result += exact(sums::squares(b), || b.iter().map(|b| square(*b, 0.0)).sum());
        }
        self.count(original, result);
    }

    /// Counts the part's share of the chunks that are counted.
    fn count(&mut self, original: &[f32], result: &[f32]) {
        let (start, end) = (self.at, self.at + original.len().min(result.len()));
        let mut errors = [0f32; CHUNK];
        for chunk in (start / CHUNK..end.div_ceil(CHUNK)).filter(|chunk| chunk.is_multiple_of(self.every.max(1))) {
            let part = (chunk * CHUNK).max(start) - start..((chunk + 1) * CHUNK).min(end) - start;
            if let (Some(a), Some(b)) = (original.get(part.clone()), result.get(part)) {
                errors.iter_mut().zip(a.iter().zip(b)).for_each(|(error, (a, b))| *error = b - a);
                self.before.add(a);
                self.after.add(b);
                self.error.add(errors.get(..a.len()).unwrap_or_default());
            }
        }
        self.at = end;
    }

    /// Adds what was found of other parts.
    pub(super) fn join(&mut self, other: &Self) {
        self.off += other.off;
        self.norm += other.norm;
        self.result += other.result;
        self.before.join(&other.before);
        self.after.join(&other.after);
        self.error.join(&other.error);
    }

    /// `‖W − Ŵ‖ / ‖W‖`, Frobenius; `‖Ŵ‖` where the original is zero.
    pub(super) fn relative(&self) -> f64 {
        if self.norm > 0.0 { (self.off / self.norm).sqrt() } else { self.off.sqrt() }
    }

    /// `⟨W, Ŵ⟩ / ‖W‖ ‖Ŵ‖`; `None` where either is zero.
    pub(super) fn cosine(&self) -> Option<f64> {
        let lengths = (self.norm * self.result).sqrt();
        // 2 ⟨W, Ŵ⟩ = ‖W‖² + ‖Ŵ‖² − ‖W − Ŵ‖²
        let inner = (self.norm + self.result - self.off) / 2.0;
        (lengths > 0.0).then(|| (inner / lengths).clamp(-1.0, 1.0))
    }

    /// The weights before and after on one axis, and their differences on another.
    pub(super) fn histogram(&self, site: &str) -> SiteHistogram {
        let (weight_bin_width, [before, after]) = Bins::table([&self.before, &self.after]);
        let (error_bin_width, [error]) = Bins::table([&self.error]);
        let (site, counted) = (site.to_owned(), error.iter().sum());
        SiteHistogram { site, counted, weight_bin_width, before, after, error_bin_width, error }
    }
}

/// A sum in f32, or as it is in f64 where squares were too large or too small for that.
fn exact(fast: f32, slow: impl Fn() -> f64) -> f64 {
    if fast.is_normal() { f64::from(fast) } else { slow() }
}

/// `(a - b)²`.
fn square(a: f32, b: f32) -> f64 {
    (f64::from(a) - f64::from(b)).powi(2)
}

/// The [`Distance`] of whole matrices of so many columns. Where a layer norm follows (`centered`), of what it sees.
pub(super) fn between(mut original: Vec<f32>, mut result: Vec<f32>, columns: usize, centered: bool) -> Distance {
    if centered {
        center(&mut original, columns);
        center(&mut result, columns);
    }
    let mut distance = Distance::of(original.len(), 0);
    distance.add(&original, &result);
    distance
}

/// Takes the mean of each column of `[out, in]` away: what is left is what the layer norm after the map sees.
fn center(weights: &mut [f32], columns: usize) {
    let columns = columns.max(1);
    let mut means = vec![0f64; columns];
    for row in weights.chunks(columns) {
        means.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(*w));
    }
    let rows = (weights.len() / columns).max(1) as f64;
    for row in weights.chunks_mut(columns) {
        row.iter_mut().zip(&means).for_each(|(w, sum)| *w = (f64::from(*w) - sum / rows) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(count: u32) -> Vec<f32> {
        (0..count).map(|i| (i * 7919 % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn parts_sum_to_the_whole_and_a_shift_of_columns_is_not_seen_behind_a_norm() {
        let original = weights(6000);
        let result: Vec<f32> = original.iter().map(|w| w * 1.01).collect();
        let mut distance = Distance::of(6000, 0);
        distance.add(&original[..2000], &result[..2000]);
        let mut rest = Distance::of(6000, 2000);
        rest.add(&original[2000..], &result[2000..]);
        distance.join(&rest);
        assert!((distance.relative() - 0.01).abs() < 1e-6);
        let shifted: Vec<f32> = original.iter().enumerate().map(|(i, w)| w + (i % 5) as f32).collect();
        assert!(between(original.clone(), shifted.clone(), 5, true).relative() < 1e-6);
        assert!(between(original, shifted, 5, false).relative() > 1.0);
        assert_eq!(between(vec![0.0; 4], vec![3.0, 0.0, 0.0, 4.0], 2, false).relative(), 5.0);
    }

    #[test]
    fn squares_beyond_f32_are_told_all_the_same() {
        for size in [2e19f32, 1e-24] {
            let original: Vec<f32> = weights(3000).iter().map(|w| w * size).collect();
            let result: Vec<f32> = original.iter().map(|w| w * 1.01).collect();
            let distance = between(original, result, 10, false);
            assert!((distance.relative() - 0.01).abs() < 1e-6 && distance.cosine().is_some());
        }
    }

    #[test]
    fn the_cosine_is_that_of_the_definition() {
        let original = weights(3000);
        let cosine = |result: &[f32]| between(original.clone(), result.to_vec(), 10, false).cosine();
        let turned: Vec<f32> = original.iter().enumerate().map(|(i, w)| w + (i % 7) as f32 / 5.0).collect();
        let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let expected = inner(&original, &turned) / (inner(&original, &original) * inner(&turned, &turned)).sqrt();
        assert!((cosine(&turned).unwrap() - expected).abs() < 1e-6, "f32 sums of a thousand squares");
        let opposite: Vec<f32> = original.iter().map(|w| -w).collect();
        assert!((cosine(&opposite).unwrap() + 1.0).abs() < 1e-9 && cosine(&vec![0.0; 3000]).is_none());
    }

    #[test]
    fn histograms_do_not_depend_on_the_parts_and_count_a_bounded_number() {
        let total = 3 * MOST_COUNTED as u32 / 2;
        let original = weights(total);
        let result: Vec<f32> = original.iter().map(|w| (w * 8.0).round() / 8.0).collect();
        let whole = between(original.clone(), result.clone(), 10, false).histogram("a");
        let mut parts = Distance::default();
        for (i, (a, b)) in original.chunks(50_030).zip(result.chunks(50_030)).enumerate() {
            let mut part = Distance::of(total as usize, i * 50_030);
            part.add(a, b);
            parts.join(&part);
        }
        assert_eq!(parts.histogram("a"), whole);
        assert_eq!(whole.counted, 3 * MOST_COUNTED as u64 / 4, "every second chunk");
        assert!([&whole.before, &whole.after, &whole.error].iter().all(|c| c.iter().sum::<u64>() == whole.counted));
        assert_eq!(whole.wrong(), None);
        assert!(whole.error_bin_width < whole.weight_bin_width);
    }
}
