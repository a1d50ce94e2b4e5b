//! Products of activations with themselves.

use rayon::prelude::*;

use super::product::{View, product};
use crate::engine::error::{EngineError, Result};

/// Tokens whose product is summed in f32 before it is added in f64: few enough that no digit that matters is lost.
const CHUNK: usize = 1024;

/// `sum ← sum + AᵀB`, `[widths.0, widths.1]`, of row-major `a: [tokens, widths.0]` and `b: [tokens, widths.1]`, over all threads: each
/// number is summed up in the same order however many there are. Costs `2 · tokens · widths.0 · widths.1` flops, in f32; sums of
/// chunks in f64.
///
/// # Errors
///
/// Lengths that do not fit.
pub fn add_product(sum: &mut [f64], a: &[f32], b: &[f32], widths: (usize, usize)) -> Result<()> {
    panels(sum, (a, b), widths, |_| 0)
}

/// The same of `A` with itself, of which the upper half alone is worked out, up to the next panel: [`mirror`] gives the other. Costs
/// half as much where the matrix is wide, and nothing less below a hundred columns.
///
/// # Errors
///
/// Lengths that do not fit.
pub fn add_square(sum: &mut [f64], a: &[f32], width: usize) -> Result<()> {
    panels(sum, (a, a), (width, width), |first| first)
}

/// Takes the upper half of a square matrix over into its lower one.
pub fn mirror(matrix: &mut [f64], width: usize) {
    for i in 1..width {
        let (above, row) = matrix.split_at_mut(i * width);
        let column = above.iter().skip(i).step_by(width);
        row.iter_mut().zip(column).for_each(|(to, from)| *to = *from);
    }
}

/// The columns of `A` in panels, each against the columns of `B` from one on that depends on the panel's first.
fn panels(
    sum: &mut [f64],
    (a, b): (&[f32], &[f32]),
    (m, n): (usize, usize),
    start: impl Fn(usize) -> usize + Sync,
) -> Result<()> {
    let fits = m > 0 && n > 0 && a.len().is_multiple_of(m) && a.len() / m * n == b.len() && sum.len() == m * n;
    if !fits {
        let what = format!("no product of {} numbers of width {m} and {} of width {n}", a.len(), b.len());
        return Err(EngineError::Internal(what));
    }
    // Wide ones, for B is laid out anew for each; and some for every thread
    let panel = (m / 6).clamp(96, 256);
    sum.par_chunks_mut(panel * n).enumerate().with_max_len(1).for_each(|(place, sum)| {
        let (first, count) = (place * panel, sum.len() / n);
        let from = start(first);
        let left = n - from;
        let mut part = vec![0f32; count * left];
        for (a, b) in a.chunks(CHUNK * m).zip(b.chunks(CHUNK * n)) {
            let tokens = a.len() / m;
            let own = View::new(&a[first..], (tokens, count), m).transposed();
            product(&mut part, left, (own, View::new(&b[from..], (tokens, left), n)), 1.0, false);
            for (sum, part) in sum.chunks_mut(n).zip(part.chunks(left)) {
                sum[from..].iter_mut().zip(part).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
    });
    Ok(())
}
