//! Products of activations with themselves.

use super::product::{View, product};
use crate::engine::error::{EngineError, Result};

/// Tokens whose product is summed in f32 before it is added in f64: few enough that no digit that matters is lost.
const CHUNK: usize = 512;

/// `sum + AᵀB`, `[width, width]`, of row-major `a, b: [tokens, width]`. Costs `2 · tokens · width²` flops, in f32, and one f32
/// matrix of scratch; sums of chunks in f64.
///
/// # Errors
///
/// Lengths that do not fit.
pub fn add_product(mut sum: Vec<f64>, a: &[f32], b: &[f32], width: usize) -> Result<Vec<f64>> {
    if width == 0 || a.len() != b.len() || !a.len().is_multiple_of(width) || sum.len() != width * width {
        return Err(EngineError::Internal(format!(
            "no product of {} and {} numbers of width {width}",
            a.len(),
            b.len()
        )));
    }
    let mut part = vec![0f32; width * width];
    for (a, b) in a.chunks(CHUNK * width).zip(b.chunks(CHUNK * width)) {
        let lines = |x| View::new(x, (a.len() / width, width), width);
        product(&mut part, width, (lines(a).transposed(), lines(b)), 1.0, false);
        sum.iter_mut().zip(&part).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    Ok(sum)
}
