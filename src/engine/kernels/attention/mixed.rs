//! What a head's attention makes of any states.

use candle_core::{Device, Result, Tensor};

use super::super::product::{View, product};
use super::{Attending, Offsets, Op};

/// `P_h X`, `[asking tokens, in]`, for one head `h` and `x: [seen tokens, in]` of any width.
///
/// Shapes and offsets as [`super::attention`] takes them; costs `2 · Σ asking · seen · (head_dim + in)` flops.
///
/// # Errors
///
/// Shapes that do not fit.
pub fn mixed(q: &Tensor, k: &Tensor, x: &Tensor, head: usize, how: Attending, rows: Offsets<'_>) -> Result<Tensor> {
    let op = Op::new(how, rows);
    let ((tokens, width), (seen, r#in)) = (q.dims2()?, x.dims2()?);
    let head_dim = op.head_dim((tokens, width), k.dims2()?)?;
    if seen != k.dim(0)? || head >= how.heads {
        candle_core::bail!("attention: {seen} states and head {head} of {}", how.heads);
    }
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let (q, k, x) = (flat(q)?, flat(k)?, flat(x)?);
    let mut y = vec![0f32; tokens * r#in];
    op.each((&q, &k), head_dim, head..head + 1, |part, weights| {
        let (m, n) = (part.head.m, part.head.n);
        let (from, to) = (part.from / part.head.width * r#in, part.to / part.head.kv_width * r#in);
        let states = View::new(&x[to..], (n, r#in), r#in);
        product(&mut y[from..], r#in, (View::new(weights, (m, n), n), states), 1.0, false);
    });
    Tensor::from_vec(y, (tokens, r#in), &Device::Cpu)
}
