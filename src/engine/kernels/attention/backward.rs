//! What attention hands back: gradients of queries, keys and values.

use candle_core::{Device, Result, Tensor};

use super::super::product::{View, product};
use super::{Op, Part};

/// With `P` the weights of a head and `G = ∂L/∂Y`: `∂L/∂V = Pᵀ G`, `D = P ∘ (G Vᵀ - rowsum(P ∘ G Vᵀ))`, `∂L/∂Q = D K · scale`,
/// `∂L/∂K = Dᵀ Q · scale`. Heads that share keys add up. What a token does not see has weight 0, and so no gradient.
pub(super) fn backward(
    op: &Op,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    y_gradient: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let (asking, seen) = (q.dims2()?, k.dims2()?);
    let head_dim = op.head_dim(asking, seen)?;
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let (q, k, v, g) = (flat(q)?, flat(k)?, flat(v)?, flat(y_gradient)?);
    let (mut dq, mut dk, mut dv) = (vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; v.len()]);
    let mut d = Vec::new();
    op.each((&q, &k), head_dim, 0..op.how.heads, |Part { head, from, to }, weights| {
        let (m, n) = (head.m, head.n);
        d.resize(m * n, 0f32);
        let asking = |x| View::new(x, (m, head_dim), head.width);
        let seen = |x| View::new(x, (n, head_dim), head.kv_width);
        let square = |x| View::new(x, (m, n), n);
        let scale = op.how.scale;
        product(&mut dv[*to..], head.kv_width, (square(weights).transposed(), asking(&g[*from..])), 1.0, true);
        product(&mut d, n, (asking(&g[*from..]), seen(&v[*to..]).transposed()), 1.0, false);
        for (d, p) in d.chunks_exact_mut(n).zip(weights.chunks_exact(n)) {
            let mean: f32 = d.iter().zip(p).map(|(d, p)| d * p).sum();
            d.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - mean));
        }
        product(&mut dq[*from..], head.width, (square(&d), seen(&k[*to..])), scale, true);
        product(&mut dk[*to..], head.kv_width, (square(&d).transposed(), asking(&q[*from..])), scale, true);
    });
    let tensor = |x, shape| Tensor::from_vec(x, shape, &Device::Cpu);
    Ok((tensor(dq, asking)?, tensor(dk, seen)?, tensor(dv, seen)?))
}
