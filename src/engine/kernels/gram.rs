//! Products of activations with themselves.
#![allow(unsafe_code)] // the matrix product takes pointers and strides

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
    let mut product = vec![0f32; width * width];
    for (a, b) in a.chunks(CHUNK * width).zip(b.chunks(CHUNK * width)) {
        let tokens = a.len() / width;
        // SAFETY: row i, column j of the product lies at i·width + j; of Aᵀ at j·width + i and of B at i·width + j, for
        // tokens·width numbers each, which a and b have as chunks of equal length; the product is a buffer of its own.
        unsafe {
            gemm::gemm(
                width,
                width,
                tokens,
                product.as_mut_ptr(),
                1,
                width as isize,
                false,
                a.as_ptr(),
                width as isize,
                1,
                b.as_ptr(),
                1,
                width as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        sum.iter_mut().zip(&product).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    Ok(sum)
}
