//! Rounding in sequence with feedback: what a column loses when it is rounded, the columns behind it make up for.
//!
//! Of all changes to the weights that are not rounded yet, `δ = - e U_i,i:` with `e = (w_i - q_i) / U_ii` and `H⁻¹ = Uᵀ U` takes the
//! error `tr((W - Ŵ) H (W - Ŵ)ᵀ)` down the most, row by row, whatever the rule that rounds. So one sweep serves every kind of
//! codes.
//!
//! Source: Hassibi & Stork 1993 for the change; Frantar et al. 2022, arXiv 2210.17323, algorithm 1 for the order and the factor.

use rayon::prelude::*;

use crate::engine::kernels::feedback::sweep;
use crate::engine::kernels::product::{View, product};
use crate::engine::kernels::triangle::{times_upper, times_upper_transposed};
use crate::engine::linalg::inverse::upper_of_inverse;

/// Columns after which what is behind is brought up to date, by one matrix product.
const BLOCK: usize = 128;
/// Rows that go together: the factor is laid out anew for each such part.
const ROWS: usize = 96;
/// The most damping that is tried.
const MOST_DAMPING: f64 = 1.0;

/// How errors are passed on: the factor of the inverse of a metric, and the order of columns.
#[derive(Debug)]
pub struct Feedback {
    size: usize,
    /// `[size, size]`, in the order of rounding.
    upper: Vec<f32>,
    /// Which column is rounded first, second, ….
    order: Vec<usize>,
    /// The share of the mean of the diagonal that was added to it.
    pub damp_percent: f64,
}

impl Feedback {
    /// For the metric `H = X̂ᵀX̂`, `gram: [size, size]`, with `damp_percent · mean(diag H)` added to its diagonal; ten times as much
    /// where that has no factor, up to all of it. `None` where that has none either.
    ///
    /// With `act_order` columns go by falling diagonal, so that those with most to lose are rounded while most others can
    /// still make up for it. A column that is fed nothing has no neighbours in `H` and is rounded by itself.
    ///
    /// # Cost
    ///
    /// `2/3 size³` flops.
    pub fn new(gram: &[f64], size: usize, damp_percent: f64, act_order: bool) -> Option<Self> {
        let diagonal: Vec<f64> = (0..size).map(|i| gram[i * size + i]).collect();
        let mean = diagonal.iter().sum::<f64>() / size.max(1) as f64;
        let mut order: Vec<usize> = (0..size).collect();
        if act_order {
            order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
        }
        let mut metric: Vec<f64> = order.iter().flat_map(|i| order.iter().map(move |j| gram[i * size + j])).collect();
        let mut added = 0.0;
        let mut damp_percent = damp_percent;
        loop {
            let damping = damp_percent * if mean > 0.0 { mean } else { 1.0 };
            metric.iter_mut().step_by(size + 1).for_each(|x| *x += damping - added);
            added = damping;
            if let Ok(upper) = upper_of_inverse(&metric, size) {
                return Some(Self { size, upper, order, damp_percent });
            }
            if damp_percent >= MOST_DAMPING {
                return None;
            }
            damp_percent = (damp_percent * 10.0).clamp(1e-3, MOST_DAMPING);
        }
    }

    /// What the square of a column's rounding error counts in the end, when those behind it have made up for it as far as they
    /// can: `1 / U_ii²`, `[size]`, in the order of columns.
    pub fn importance(&self) -> Vec<f64> {
        let mut all = vec![0.0; self.size];
        for (place, column) in self.order.iter().enumerate() {
            all[*column] = f64::from(self.upper[place * self.size + place]).powi(-2);
        }
        all
    }

    /// `rows · (H + λI)⁻¹`, `[n, size]`, `λ` being what the diagonal was damped by. Costs `2 · n · size²` flops, in f32, over all threads.
    pub fn by_inverse(&self, rows: &[f32]) -> Vec<f32> {
        let ordered: Vec<f32> =
            rows.chunks(self.size.max(1)).flat_map(|row| self.order.iter().map(|column| row[*column])).collect();
        let through = times_upper_transposed(&ordered, &self.upper, self.size);
        let found = times_upper(&through, &self.upper, self.size);
        let mut placed = vec![0f32; rows.len()];
        for (to, from) in placed.chunks_mut(self.size.max(1)).zip(found.chunks(self.size.max(1))) {
            self.order.iter().zip(from).for_each(|(column, x)| to[*column] = *x);
        }
        placed
    }

    /// `weights: [out, size]` rounded by `rule(row, column, weight)`, which gives the value that is kept.
    ///
    /// # Cost
    ///
    /// `out · size²` flops, in f32, over all threads.
    pub fn round(&self, weights: &[f32], rule: impl Fn(usize, usize, f32) -> f32 + Sync) -> Vec<f32> {
        let mut rounded = vec![0f32; weights.len()];
        let size = self.size.max(1);
        let parts = rounded.par_chunks_mut(ROWS * size).zip(weights.par_chunks(ROWS * size)).enumerate();
        parts.for_each(|(part, (rounded, weights))| {
            let mut ordered: Vec<f32> =
                weights.chunks_exact(size).flat_map(|row| self.order.iter().map(|column| row[*column])).collect();
            self.part(&mut ordered, |row, place, weight| rule(part * ROWS + row, self.order[place], weight));
            for (to, from) in rounded.chunks_exact_mut(size).zip(ordered.chunks_exact(size)) {
                self.order.iter().zip(from).for_each(|(column, x)| to[*column] = *x);
            }
        });
        rounded
    }

    /// Some rows, whose columns stand in the order of rounding.
    fn part(&self, rows: &mut [f32], mut rule: impl FnMut(usize, usize, f32) -> f32) {
        let size = self.size;
        let count = rows.len() / size;
        let mut errors = vec![0f32; count * BLOCK];
        for from in (0..size).step_by(BLOCK) {
            let to = (from + BLOCK).min(size);
            let errors = &mut errors[..count * (to - from)];
            sweep((rows, size), (from, to), (&self.upper, size), errors, &mut rule);
            if to < size {
                let errors = View::new(errors, (count, to - from), to - from);
                let lines = View::new(&self.upper[from * size + to..], (to - from, size - to), size);
                product(&mut rows[to..], size, (errors, lines), -1.0, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nearest(_: usize, _: usize, w: f32) -> f32 {
        w.round_ties_even()
    }

    /// A metric of so many draws, `XᵀX`.
    fn metric(size: usize, draws: &[f64]) -> Vec<f64> {
        let lines = draws.chunks_exact(size);
        (0..size * size).map(|at| lines.clone().map(|x| x[at / size] * x[at % size]).sum()).collect()
    }

    /// `tr(D H Dᵀ)`.
    fn loss(weights: &[f32], rounded: &[f32], metric: &[f64], size: usize) -> f64 {
        let off: Vec<f64> = weights.iter().zip(rounded).map(|(a, b)| f64::from(a - b)).collect();
        let line = |d: &[f64]| -> f64 { (0..size * size).map(|at| d[at / size] * metric[at] * d[at % size]).sum() };
        off.chunks_exact(size).map(line).sum()
    }

    /// Frantar et al. 2022, section 3.1, word for word: after each column the inverse of what is left is taken anew, by
    /// elimination, and no factor is used.
    fn slowly(weights: &[f32], metric: &[f64], size: usize) -> Vec<f32> {
        let mut w: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
        for i in 0..size {
            let left = size - i;
            let sub: Vec<f64> = (0..left * left).map(|at| metric[(i + at / left) * size + i + at % left]).collect();
            let inverse = invert(sub, left);
            for row in w.chunks_exact_mut(size) {
                let error = (row[i] - row[i].round_ties_even()) / inverse[0];
                row[i] = row[i].round_ties_even();
                (1..left).for_each(|j| row[i + j] -= error * inverse[j]);
            }
        }
        w.iter().map(|w| *w as f32).collect()
    }

    fn invert(mut a: Vec<f64>, n: usize) -> Vec<f64> {
        let mut b: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
        for p in 0..n {
            let pivot = a[p * n + p];
            (0..n).for_each(|j| {
                a[p * n + j] /= pivot;
                b[p * n + j] /= pivot;
            });
            for i in (0..n).filter(|i| *i != p) {
                let times = a[i * n + p];
                (0..n).for_each(|j| {
                    a[i * n + j] -= times * a[p * n + j];
                    b[i * n + j] -= times * b[p * n + j];
                });
            }
        }
        b
    }

    proptest! {
        #[test]
        fn it_is_the_paper_s_step_by_step(
            size in 1usize..8, weights in prop::collection::vec(-4f32..4.0, 3 * 8), draws in prop::collection::vec(-1f64..1.0, 20 * 8),
        ) {
            let (weights, metric) = (&weights[..3 * size], metric(size, &draws[..20 * size]));
            let found = Feedback::new(&metric, size, 0.0, false).unwrap().round(weights, nearest);
            let want = slowly(weights, &metric, size);
            // Where a weight comes to lie between two codes, f32 and f64 may take different ones, and then differ further on
            let differ = found.iter().zip(&want).filter(|(a, b)| a != b).count();
            prop_assert!(differ == 0 || (loss(weights, &found, &metric, size) / loss(weights, &want, &metric, size) - 1.0).abs() < 0.5);
        }

        /// `A x = y` has one solution.
        #[test]
        fn rows_by_the_inverse_are_rows_again_by_the_metric(
            rows in prop::collection::vec(-4f32..4.0, 3 * 8), draws in prop::collection::vec(-1f64..1.0, 20 * 8), act_order: bool,
        ) {
            let metric = metric(8, &draws);
            let feedback = Feedback::new(&metric, 8, 0.1, act_order).unwrap();
            let mean = (0..8).map(|i| metric[i * 9]).sum::<f64>() / 8.0;
            for (row, found) in rows.chunks(8).zip(feedback.by_inverse(&rows).chunks(8)) {
                for j in 0..8 {
                    let damping = feedback.damp_percent * mean * f64::from(found[j]);
                    let again = damping + (0..8).map(|i| f64::from(found[i]) * metric[i * 8 + j]).sum::<f64>();
                    prop_assert!((again - f64::from(row[j])).abs() < 1e-3, "{again} is not {}", row[j]); // a factor in f32
                }
            }
        }

        /// Without neighbours there is nothing to pass errors on to.
        #[test]
        fn a_diagonal_metric_rounds_to_nearest(
            weights in prop::collection::vec(-4f32..4.0, 300), diagonal in prop::collection::vec(0f64..3.0, 150), act_order: bool,
        ) {
            let metric: Vec<f64> = (0..150 * 150).map(|at| if at / 150 == at % 150 { diagonal[at / 150] } else { 0.0 }).collect();
            let found = Feedback::new(&metric, 150, 0.01, act_order).unwrap().round(&weights, nearest);
            prop_assert_eq!(found, weights.iter().map(|w| w.round_ties_even()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn on_the_mean_it_loses_less_than_rounding_each_by_itself_in_any_order() {
        let draws: Vec<f64> =
            (0..400 * 200).map(|i| (f64::from(i * 7919 % 10_007) / 10_007.0 - 0.5) + f64::from(i % 200 / 50)).collect();
        let metric = metric(200, &draws);
        let weights: Vec<f32> = (0..40 * 200).map(|i| (i * 104_729 % 9973) as f32 / 1000.0 - 5.0).collect();
        let plain: Vec<f32> = weights.iter().map(|w| w.round_ties_even()).collect();
        let before = loss(&weights, &plain, &metric, 200);
        for act_order in [false, true] {
            let rounded = Feedback::new(&metric, 200, 0.01, act_order).unwrap().round(&weights, nearest);
            let after = loss(&weights, &rounded, &metric, 200);
            assert!(after < 0.5 * before, "{after} against {before}");
        }
    }

    #[test]
    fn a_metric_without_a_factor_is_damped_more_and_nothing_at_all_is_no_metric() {
        // Rank one: no factor without damping
        let flat = vec![1.0; 16];
        assert!(Feedback::new(&flat, 4, 0.0, false).is_none_or(|f| f.damp_percent <= 1.0));
        assert!(Feedback::new(&flat, 4, 0.01, false).unwrap().damp_percent <= 0.01);
        let negative = [1.0, 5.0, 5.0, 1.0];
        assert!(Feedback::new(&negative, 2, 0.01, false).is_none());
        assert!(
            Feedback::new(&[1.0, 1.5, 1.5, 1.0], 2, 0.1, false).is_some_and(|f| (f.damp_percent - 1.0).abs() < 1e-12)
        );
        assert!(Feedback::new(&[0.0; 4], 2, 0.01, true).is_some());
    }
}
