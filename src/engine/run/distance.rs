//! How far a site's weights are from the original's.

use crate::engine::kernels::sums;

/// Numbers summed in f32 before they are added in f64.
const CHUNK: usize = 1024;

/// `‖W - Ŵ‖²` and `‖W‖²`, summed over parts of a matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Distance {
    off: f64,
    norm: f64,
}

impl Distance {
    /// Adds a part, given row by row.
    pub(super) fn add(&mut self, original: &[f32], result: &[f32]) {
        for (a, b) in original.chunks(CHUNK).zip(result.chunks(CHUNK)) {
            self.off += f64::from(sums::squared_distance(a, b));
            self.norm += f64::from(sums::squares(a));
        }
    }

    /// Adds what was found of other parts.
    pub(super) fn join(&mut self, other: Self) {
        self.off += other.off;
        self.norm += other.norm;
    }

    /// `‖W − Ŵ‖ / ‖W‖`, Frobenius; `‖Ŵ‖` where the original is zero.
    pub(super) fn relative(self) -> f64 {
        if self.norm > 0.0 { (self.off / self.norm).sqrt() } else { self.off.sqrt() }
    }
}

/// [`Distance::relative`] of whole matrices of so many columns. Where a layer norm follows (`centered`), of what it sees.
pub(super) fn relative(mut original: Vec<f32>, mut result: Vec<f32>, columns: usize, centered: bool) -> f64 {
    if centered {
        center(&mut original, columns);
        center(&mut result, columns);
    }
    let mut distance = Distance::default();
    distance.add(&original, &result);
    distance.relative()
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

    #[test]
    fn parts_sum_to_the_whole_and_a_shift_of_columns_is_not_seen_behind_a_norm() {
        let original: Vec<f32> = (0..6000u32).map(|i| (i * 7919 % 101) as f32 / 50.0 - 1.0).collect();
        let result: Vec<f32> = original.iter().map(|w| w * 1.01).collect();
        let mut distance = Distance::default();
        distance.add(&original[..2000], &result[..2000]);
        let mut rest = Distance::default();
        rest.add(&original[2000..], &result[2000..]);
        distance.join(rest);
        assert!((distance.relative() - 0.01).abs() < 1e-6);
        let shifted: Vec<f32> = original.iter().enumerate().map(|(i, w)| w + (i % 5) as f32).collect();
        assert!(relative(original.clone(), shifted.clone(), 5, true) < 1e-6);
        assert!(relative(original, shifted, 5, false) > 1.0);
        assert_eq!(relative(vec![0.0; 4], vec![3.0, 0.0, 0.0, 4.0], 2, false), 5.0);
    }
}
