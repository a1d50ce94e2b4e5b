//! The anchored target: what a compressed site should come near to, when what it is fed has changed already.
//!
//! `‖X Wᵀ - X̂ Ŵᵀ‖² = const + ‖X̂ (W* - Ŵ)ᵀ‖²` with `W*ᵀ = Wᵀ + (Ĉ + λI)⁻¹ D Wᵀ`, `Ĉ = X̂ᵀX̂`, `D = X̂ᵀ(X - X̂)`: exact at `λ = 0`. So every
//! method that approximates a matrix in the metric of its inputs takes `W*` for `W` and mends what was done before it as far as
//! it can. `λ` pulls `W*` to `W`, so that few tokens fall back to the plain problem by themselves.
//!
//! Source: AA-SVD 2026 for singular values, GPTAQ 2025 (arXiv 2504.02692) for GPTQ, K-prune 2024 (arXiv 2308.03449) for units.

use rayon::prelude::*;

use super::{Cross, Moments};
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::product::{View, product};
use crate::engine::kernels::triangle::times_upper;

/// Rows that go together: the metric is laid out anew for each such part.
const ROWS: usize = 96;

/// What candidates for a site's weights cost, by the outputs that they give: `‖X Wᵀ - X̂ Ŵᵀ‖²` but for a constant.
#[derive(Debug)]
pub struct Judge<'a> {
    original: &'a [f32],
    /// The upper half of `Ĉ`, `[in, in]`, what is off the diagonal doubled: `d Ĉ dᵀ` is the same by it, and half of it is zero.
    upper: Vec<f32>,
    /// `-2 W Dᵀ`, `[out, in]`; nothing where both are fed the same.
    pull: Option<Vec<f32>>,
    width: usize,
    is_centered: bool,
}

impl<'a> Judge<'a> {
    /// For `original: [out, in]` and moments with `X̂ᵀX̂`; without `D` both are taken to be fed the same. Where the outputs of a site
    /// are centered ([`crate::engine::model::SiteSpec::is_centered`]) only that part of a change counts that a norm sees.
    ///
    /// # Errors
    ///
    /// Moments without the product, or of another width.
    pub fn new(original: &'a [f32], moments: &Moments, is_centered: bool) -> Result<Self> {
        let width = moments.width();
        let missing = || EngineError::Internal("outputs are judged by the product of inputs with themselves".into());
        let gram = moments.gram.as_ref().ok_or_else(missing)?;
        if width == 0 || !original.len().is_multiple_of(width) || gram.len() != width * width {
            return Err(EngineError::Internal(format!("{} weights are no rows of {width}", original.len())));
        }
        let metric: Vec<f32> = gram.iter().map(|x| *x as f32).collect();
        let pull = match &moments.cross {
            None => None,
            Some(Cross::Inputs(cross)) => {
                let apart: Vec<f32> = cross.iter().map(|d| -2.0 * *d as f32).collect();
                Some(times(original, View::new(&apart, (width, width), width).transposed(), width))
            }
            Some(Cross::Outputs(cross)) if cross.len() == original.len() => {
                let out = original.len() / width;
                Some((0..original.len()).map(|at| -2.0 * cross[at % width * out + at / width] as f32).collect())
            }
            Some(Cross::Outputs(cross)) => return Err(other_outputs(cross, original)),
        };
        let upper = doubled(metric, width);
        Ok(Self { original, upper, pull, width, is_centered })
    }

    /// `W*` `[out, in]`, row by row: `W - P (Ĉ + λI)⁻¹ / 2`, `P` being this judge's pull; `by_inverse` multiplies rows by the inverse of the
    /// damped metric. `W` itself where both are fed the same.
    pub fn target(&self, by_inverse: impl FnOnce(&[f32]) -> Vec<f32>) -> Vec<f32> {
        let Some(pull) = &self.pull else { return self.original.to_vec() };
        self.original.iter().zip(by_inverse(pull)).map(|(w, moved)| w - 0.5 * moved).collect()
    }

    /// `tr(E Ĉ Eᵀ) - 2 tr(E D Wᵀ)` with `E = Ŵ - W`. Costs `out · in²` flops, and more where it is narrow.
    pub fn cost(&self, candidate: &[f32]) -> f64 {
        let mut change: Vec<f32> = candidate.iter().zip(self.original).map(|(a, b)| a - b).collect();
        if self.is_centered {
            center(&mut change, self.width);
        }
        let mut slope = times_upper(&change, &self.upper, self.width);
        if let Some(pull) = &self.pull {
            slope.iter_mut().zip(pull).for_each(|(a, b)| *a += b);
        }
        let line = |(d, v): (&[f32], &[f32])| d.iter().zip(v).map(|(d, v)| f64::from(*d) * f64::from(*v)).sum::<f64>();
        change.chunks(self.width).zip(slope.chunks(self.width)).map(line).sum()
    }
}

fn other_outputs(cross: &[f64], weights: &[f32]) -> EngineError {
    EngineError::Internal(format!("{} products of outputs are not of {} weights", cross.len(), weights.len()))
}

/// Takes each column's mean away.
fn center(rows: &mut [f32], width: usize) {
    let mut means = vec![0f64; width];
    let count = (rows.len() / width).max(1) as f64;
    rows.chunks(width).for_each(|row| means.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / count));
    rows.chunks_mut(width).for_each(|row| row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= *mean as f32));
}

/// The upper half of a symmetric matrix, what is off the diagonal doubled.
fn doubled(mut matrix: Vec<f32>, width: usize) -> Vec<f32> {
    for (i, row) in matrix.chunks_mut(width).enumerate() {
        let (below, above) = row.split_at_mut(i);
        below.fill(0.0);
        above.iter_mut().skip(1).for_each(|x| *x *= 2.0);
    }
    matrix
}

/// `rows · matrix`, `[out, in]` times `[in, in]`, over all threads.
fn times(rows: &[f32], matrix: View<'_>, width: usize) -> Vec<f32> {
    let mut y = vec![0f32; rows.len()];
    y.par_chunks_mut(ROWS * width).zip(rows.par_chunks(ROWS * width)).for_each(|(y, rows)| {
        product(y, width, (View::new(rows, (rows.len() / width, width), width), matrix), 1.0, false);
    });
    y
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::Wanted;
    use super::super::moments::Apart;
    use super::*;
    use crate::engine::linalg::solve::Cholesky;

    fn draw(shape: (usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    /// `W*` by a factor in f64.
    fn target(weights: &[f32], moments: &Moments, damping: f64) -> Vec<f32> {
        let (width, mut metric) = (moments.width(), moments.gram.clone().unwrap());
        let mean = metric.iter().step_by(width + 1).sum::<f64>() / width as f64;
        metric.iter_mut().step_by(width + 1).for_each(|x| *x += damping * mean);
        let by_inverse = |rows: &[f32]| {
            let columns: Vec<f64> = (0..rows.len())
                .map(|at| f64::from(rows[at % (rows.len() / width) * width + at / (rows.len() / width)]))
                .collect();
            Cholesky::new(&metric, width).unwrap().solve_rows(&columns).unwrap()
        };
        Judge::new(weights, moments, false).unwrap().target(by_inverse)
    }

    fn distance(x: &Tensor, w: &Tensor, other: &Tensor, other_w: &Tensor) -> f64 {
        let off = (x.matmul(&w.t().unwrap()).unwrap() - other.matmul(&other_w.t().unwrap()).unwrap()).unwrap();
        f64::from(off.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
    }

    #[test]
    fn the_identity_holds_and_the_target_is_the_best() {
        let (x, w) = (draw((200, 6)), draw((4, 6)));
        let changed = (&x + (draw((200, 6)) * 0.3).unwrap()).unwrap();
        let moments = Moments::of(&changed, Some(&x), Wanted { gram: true, cross: true, ..Wanted::default() }).unwrap();
        let flat = w.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let best = Tensor::from_vec(target(&flat, &moments, 0.0), (4, 6), &Device::Cpu).unwrap();
        let least = distance(&x, &w, &changed, &best);
        for _ in 0..5 {
            let tried = (&best + (draw((4, 6)) * 0.1).unwrap()).unwrap();
            let (left, right) =
                (distance(&x, &w, &changed, &tried), least + distance(&changed, &best, &changed, &tried));
            assert!((left - right).abs() < 1e-3 * left, "{left} is not {right}"); // f32 sums of 800 squares
            assert!(left > least);
        }
        assert!(distance(&x, &w, &changed, &w) > least);
    }

    #[test]
    fn a_judge_tells_how_much_more_one_candidate_costs_than_another() {
        let (x, w) = (draw((200, 6)), draw((40, 6)));
        let changed = (&x + (draw((200, 6)) * 0.3).unwrap()).unwrap();
        let moments = Moments::of(&changed, Some(&x), Wanted { gram: true, cross: true, ..Wanted::default() }).unwrap();
        let flat = |w: &Tensor| w.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let original = flat(&w);
        let judge = Judge::new(&original, &moments, false).unwrap();
        assert!(judge.cost(&original).abs() < 1e-9);
        let one = (&w + (draw((40, 6)) * 0.1).unwrap()).unwrap();
        let more = distance(&x, &w, &changed, &one) - distance(&x, &w, &changed, &w);
        let found = judge.cost(&flat(&one));
        assert!((found - more).abs() < 1e-3 * more.abs().max(1.0), "{found} is not {more}"); // f32 sums of 8,000 squares
        // What all rows have in common is not seen behind a norm
        let shifted = w.broadcast_add(&draw((1, 6))).unwrap();
        let same = Moments::of(&x, Some(&x), Wanted { gram: true, cross: true, ..Wanted::default() }).unwrap();
        let seen = Judge::new(&original, &same, true).unwrap().cost(&flat(&shifted));
        assert!(seen < 1e-3, "{seen}");
        assert!(Judge::new(&original, &same, false).unwrap().cost(&flat(&shifted)) > 1.0);
    }

    #[test]
    fn products_of_outputs_say_of_one_sites_weights_what_those_of_inputs_say() {
        let (x, w, weights) = (draw((200, 6)), draw((4, 6)), [0.5, 2.0].repeat(100));
        let changed = (&x + (draw((200, 6)) * 0.3).unwrap()).unwrap();
        let wanted = Wanted { gram: true, cross: true, ..Wanted::default() };
        let apart = (&x - &changed).unwrap();
        let y = apart.matmul(&w.t().unwrap()).unwrap();
        let [inputs, outputs] = [Apart::Inputs(&apart), Apart::Outputs(&y)].map(|apart| {
            let mut all = Moments::default();
            all.take(&changed, Some(apart), Some(&weights), wanted).unwrap();
            all.complete();
            all
        });
        let flat = |w: &Tensor| w.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let w = flat(&w);
        let (a, b) = (target(&w, &inputs, 0.01), target(&w, &outputs, 0.01));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} is not {b:?}"); // f32 sums of 200 products
        let tried = flat(&draw((4, 6)));
        let cost = |moments| Judge::new(&w, moments, false).unwrap().cost(&tried);
        assert!((cost(&inputs) - cost(&outputs)).abs() < 1e-4 * cost(&inputs).abs());
        assert!(Judge::new(&w[..6], &outputs, false).is_err());
    }

    #[test]
    fn where_nothing_changed_and_under_endless_damping_it_is_the_weight_itself() {
        let (x, w) = (draw((50, 5)), draw((3, 5)));
        let flat = w.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let both = Wanted { gram: true, cross: true, ..Wanted::default() };
        let same = Moments::of(&x, Some(&x), both).unwrap();
        let other = Moments::of(&draw((50, 5)), Some(&x), both).unwrap();
        for found in [target(&flat, &same, 0.01), target(&flat, &other, 1e9)] {
            assert!(found.iter().zip(&flat).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
