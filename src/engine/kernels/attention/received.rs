//! How much attention tokens are given.

use candle_core::{Result, Tensor};

use super::{Attending, Offsets, Op};

/// `a_j = (1 / heads) Σ_h Σ_i P_h[i, j]`, for each token `j` that is seen: what all tokens of its row give it, in the mean over
/// heads. The sum over a row is the number of tokens that ask in it, so the mean is 1 where all ask.
///
/// Shapes and offsets as [`super::attention`] takes them; costs half of it. Sums of columns in f32.
///
/// # Errors
///
/// Shapes that do not fit.
pub fn received(q: &Tensor, k: &Tensor, how: Attending, rows: Offsets<'_>) -> Result<Vec<f32>> {
    let op = Op::new(how, rows);
    let seen = k.dims2()?;
    let head_dim = op.head_dim(q.dims2()?, seen)?;
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let (q, k) = (flat(q)?, flat(k)?);
    let mut all = vec![0f32; seen.0];
    op.each((&q, &k), head_dim, 0..how.heads, |part, weights| {
        let first = part.to / part.head.kv_width;
        for line in weights.chunks_exact(part.head.n) {
            all.iter_mut().skip(first).zip(line).for_each(|(sum, p)| *sum += p);
        }
    });
    for sum in &mut all {
        *sum /= how.heads as f32;
    }
    Ok(all)
}
