//! The anchored target: what a compressed site should come near to, when what it is fed has changed already.
//!
//! `‖X Wᵀ - X̂ Ŵᵀ‖² = const + ‖X̂ (W* - Ŵ)ᵀ‖²` with `W*ᵀ = (Ĉ + λI)⁻¹ (M + λI) Wᵀ`, `Ĉ = X̂ᵀX̂`, `M = X̂ᵀX`: exact at `λ = 0`. So every
//! method that approximates a matrix in the metric of its inputs takes `W*` for `W` and mends what was done before it as far as
//! it can. `λ` pulls `W*` to `W`, so that few tokens fall back to the plain problem by themselves.
//!
//! Source: AA-SVD 2026 for singular values, GPTAQ 2025 (arXiv 2504.02692) for GPTQ, K-prune 2024 (arXiv 2308.03449) for units.

use super::Moments;
use crate::engine::error::{EngineError, Result};
use crate::engine::linalg::solve::Cholesky;

/// `λ` as a share of the mean of `Ĉ`'s diagonal.
pub const DAMPING: f64 = 0.01;

/// `W*` `[out, in]`, row by row, for `weights: [out, in]` and moments with both products.
///
/// # Errors
///
/// Moments without both products or of another width; a metric that no damping makes positive.
///
/// # Cost
///
/// `in³/3 + 2 · out · in²` flops in f64.
pub fn target(weights: &[f32], moments: &Moments, damping: f64) -> Result<Vec<f32>> {
    let width = moments.width();
    let (Some(gram), Some(cross)) = (&moments.gram, &moments.cross) else {
        return Err(EngineError::Internal("the anchored target needs both products".into()));
    };
    if width == 0 || !weights.len().is_multiple_of(width) {
        return Err(EngineError::Internal(format!("{} weights are no rows of {width}", weights.len())));
    }
    let mean = (0..width).map(|j| gram[j * width + j]).sum::<f64>() / width as f64;
    let lambda = damping * mean.max(f64::MIN_POSITIVE);
    let damped = |matrix: &[f64]| -> Vec<f64> {
        let mut matrix = matrix.to_vec();
        matrix.iter_mut().step_by(width + 1).for_each(|x| *x += lambda);
        matrix
    };
    let factor = Cholesky::new(&damped(gram), width)?;
    // Column o of the right side is (M + λI) w_o
    factor.solve_rows_through(&damped(cross), weights)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::Wanted;
    use super::*;

    fn draw(shape: (usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
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
        let best = Tensor::from_vec(target(&flat, &moments, 0.0).unwrap(), (4, 6), &Device::Cpu).unwrap();
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
    fn where_nothing_changed_and_under_endless_damping_it_is_the_weight_itself() {
        let (x, w) = (draw((50, 5)), draw((3, 5)));
        let flat = w.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let both = Wanted { gram: true, cross: true, ..Wanted::default() };
        let same = Moments::of(&x, Some(&x), both).unwrap();
        let other = Moments::of(&draw((50, 5)), Some(&x), both).unwrap();
        for found in [target(&flat, &same, 0.01).unwrap(), target(&flat, &other, 1e9).unwrap()] {
            assert!(found.iter().zip(&flat).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
