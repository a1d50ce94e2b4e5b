//! Attention over packed rows.
#![allow(unsafe_code)] // the matrix products take pointers and strides

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::Arch;

use super::{floats, math, norm};

/// `softmax(Q_h K_hᵀ · scale) V_h` for every head `h` and every row of the batch, each row seeing itself alone.
///
/// Vaswani et al. 2017, equation 1. `q, k, v: [tokens, heads · head_dim]`, rows packed one after another; offsets have
/// one entry more than there are rows: row `i` is `offsets[i]..offsets[i + 1]`. A row may ask with fewer tokens than it
/// is seen with, so queries have offsets of their own. Costs `4 · Σ asking · seen · heads · head_dim` flops; scratch is
/// one `asking · seen` matrix.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, scale: f32, rows: Offsets<'_>) -> Result<Tensor> {
    let op = Op { heads, scale, asking: rows.asking.to_vec(), seen: rows.seen.to_vec() };
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &op)
}

/// Where rows begin among the tokens that ask and among those that are seen.
#[derive(Debug, Clone, Copy)]
pub struct Offsets<'a> {
    /// Of queries.
    pub asking: &'a [usize],
    /// Of keys and values.
    pub seen: &'a [usize],
}

struct Op {
    heads: usize,
    scale: f32,
    asking: Vec<usize>,
    seen: Vec<usize>,
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (floats(q, q_layout)?, floats(k, k_layout)?, floats(v, v_layout)?);
        let ((asking, width), (seen, k_width)) = (q_layout.shape().dims2()?, k_layout.shape().dims2()?);
        let fit = |offsets: &[usize], tokens: usize| {
            offsets.windows(2).all(|w| w[0] <= w[1]) && offsets.last() == Some(&tokens) && offsets.first() == Some(&0)
        };
        let rows_fit = fit(&self.asking, asking) && fit(&self.seen, seen) && self.asking.len() == self.seen.len();
        if self.heads == 0 || width % self.heads != 0 || !rows_fit {
            candle_core::bail!("attention: {} heads and the rows' offsets do not fit [{asking}, {width}]", self.heads);
        }
        if k_width != width || v.len() != k.len() {
            candle_core::bail!("attention: q, k and v differ in width or k and v in length");
        }
        let mut y = vec![0f32; q.len()];
        let mut scores = Vec::new();
        let head_dim = width / self.heads;
        for (asking, seen) in self.asking.windows(2).zip(self.seen.windows(2)) {
            let (m, n) = (asking[1] - asking[0], seen[1] - seen[0]);
            if m == 0 || n == 0 {
                continue;
            }
            scores.resize(m * n, 0f32);
            for head in 0..self.heads {
                let (from, to) = (asking[0] * width + head * head_dim, seen[0] * width + head * head_dim);
                let slices = Head { m, n, head_dim, width };
                slices.scores(&mut scores, &q[from..], &k[to..], self.scale);
                Arch::new().dispatch(|| softmax(&mut scores, n));
                slices.mix(&mut y[from..], &scores, &v[to..]);
            }
        }
        Ok((CpuStorage::F32(y), q_layout.shape().clone()))
    }
}

/// One head of one row: lines of `head_dim` numbers, `width` apart; `m` of them ask, `n` are seen. None of them is 0.
struct Head {
    m: usize,
    n: usize,
    head_dim: usize,
    width: usize,
}

impl Head {
    /// Numbers from the first to the last of this head's in so many lines, both included.
    fn reach(&self, lines: usize) -> usize {
        (lines - 1) * self.width + self.head_dim
    }

    /// `S = Q Kᵀ · scale`, `[m, n]`.
    fn scores(&self, s: &mut [f32], q: &[f32], k: &[f32], scale: f32) {
        assert!(s.len() == self.m * self.n && q.len() >= self.reach(self.m) && k.len() >= self.reach(self.n));
        let stride = self.width as isize;
        // SAFETY: by the assertion, the last element read (reach) and written (m · n) lies inside each slice.
        unsafe {
            gemm::gemm(
                self.m,
                self.n,
                self.head_dim,
                s.as_mut_ptr(),
                1,
                self.n as isize,
                false,
                q.as_ptr(),
                1,
                stride,
                k.as_ptr(),
                stride,
                1,
                0.0,
                scale,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    /// `Y = P V`, `[m, head_dim]` at the same stride.
    fn mix(&self, y: &mut [f32], p: &[f32], v: &[f32]) {
        assert!(p.len() == self.m * self.n && y.len() >= self.reach(self.m) && v.len() >= self.reach(self.n));
        let stride = self.width as isize;
        // SAFETY: as above; y is a buffer of its own.
        unsafe {
            gemm::gemm(
                self.m,
                self.head_dim,
                self.n,
                y.as_mut_ptr(),
                1,
                stride,
                false,
                p.as_ptr(),
                1,
                self.n as isize,
                v.as_ptr(),
                1,
                stride,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// `softmax` of every line of `length` numbers, shifted by the line's largest so that nothing overflows.
#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
fn softmax(scores: &mut [f32], length: usize) {
    for line in scores.chunks_exact_mut(length.max(1)) {
        let largest = line.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in line.iter_mut() {
            *x = math::exp(*x - largest);
        }
        let scale = 1.0 / norm::lanes(line, |x| x);
        for x in line.iter_mut() {
            *x *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType, Device};

    use super::*;

    fn both(offsets: &[usize]) -> Offsets<'_> {
        Offsets { asking: offsets, seen: offsets }
    }

    #[test]
    fn a_row_may_ask_with_its_first_token_alone() -> Result<()> {
        let draw = || Tensor::randn(0f32, 1.0, (7, 6), &Device::Cpu);
        let (q, k, v) = (draw()?, draw()?, draw()?);
        let whole = attention(&q, &k, &v, 3, 0.5, both(&[0, 4, 7]))?;
        let first = Tensor::new(&[0u32, 4], &Device::Cpu)?;
        let rows = Offsets { asking: &[0, 1, 2], seen: &[0, 4, 7] };
        let few = attention(&q.index_select(&first, 0)?, &k, &v, 3, 0.5, rows)?;
        let off = (few - whole.index_select(&first, 0)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off < 1e-6, "{off:e}"); // the same sums in blocks of another shape
        Ok(())
    }

    #[test]
    fn packed_rows_see_themselves_alone() -> Result<()> {
        let (heads, head_dim, lengths) = (3usize, 4usize, [1usize, 5, 2]);
        let width = heads * head_dim;
        let draw = || Tensor::randn(0f32, 1.0, (8, width), &Device::Cpu);
        let (q, k, v) = (draw()?, draw()?, draw()?);
        let got = attention(&q, &k, &v, heads, 0.5, both(&[0, 1, 6, 8]))?;
        let mut start = 0;
        for length in lengths {
            let split = |x: &Tensor| {
                x.narrow(0, start, length)?.reshape((length, heads, head_dim))?.transpose(0, 1)?.contiguous()
            };
            let scores = (split(&q)?.matmul(&split(&k)?.transpose(1, 2)?)? * 0.5)?;
            let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
            let want = p.matmul(&split(&v)?)?.transpose(0, 1)?.reshape((length, width))?;
            let off = (want - got.narrow(0, start, length)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < 1e-5, "row of {length}: {off:e}");
            start += length;
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let x = Tensor::zeros((4, 6), DType::F32, &Device::Cpu)?;
        assert!(attention(&x, &x, &x, 4, 1.0, both(&[0, 4])).is_err(), "4 heads in 6");
        assert!(attention(&x, &x, &x, 3, 1.0, both(&[0, 5])).is_err(), "a row past the end");
        assert!(attention(&x, &x, &x, 3, 1.0, both(&[0, 3, 2, 4])).is_err(), "a row that runs backwards");
        Ok(())
    }
}
