//! Attention over packed rows.
#![allow(unsafe_code)] // the matrix products take pointers and strides

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{floats, math, norm};

mod backward;
mod mixed;
mod received;

pub use mixed::mixed;
pub use received::received;

/// Queries worked on at a time. Where tokens see a part of their row, a block's keys are those that any of its queries sees, so
/// that short blocks leave out most of the other products.
const SHORT_BLOCK: usize = 64;
const BLOCK: usize = 512;

/// What attends to what, and how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attending {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` of the queries'.
    pub kv_heads: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Whether a token sees itself and what came before alone.
    pub is_causal: bool,
    /// How many tokens back a token sees, itself among them; where attention is not causal, as many ahead.
    pub window: Option<usize>,
}

impl Attending {
    /// Which tokens of a row of `length` the one at a place sees.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn seen(self, at: usize, length: usize) -> Range<usize> {
        let oldest = self.window.map_or(0, |window| (at + 1).saturating_sub(window));
        let end = if self.is_causal { at + 1 } else { self.window.map_or(length, |window| at.saturating_add(window)) };
        oldest.min(length)..end.min(length)
    }
}

/// `softmax(Q_h K_gᵀ · scale) V_g` for every head `h`, `g` its keys' head, and every row of the batch, each row seeing itself
/// alone.
///
/// Vaswani et al. 2017, equation 1; keys shared by heads as in Ainslie et al. 2023, arXiv 2305.13245. `q: [tokens, heads ·
/// head_dim]`, `k, v: [tokens, kv_heads · head_dim]`, rows packed one after another; offsets have one entry more than there
/// are rows: row `i` is `offsets[i]..offsets[i + 1]`. A row may ask with fewer tokens than it is seen with, so queries have
/// offsets of their own. Costs `4 · Σ asking · seen · heads · head_dim` flops, half of it where attention is causal; scratch is
/// one block of queries by the tokens that they see. Backwards the weights are worked out again, so that none are held: two
/// and a half times the forward pass.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, how: Attending, rows: Offsets<'_>) -> Result<Tensor> {
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Op::new(how, rows))
}

/// Where rows begin among the tokens that ask and among those that are seen.
#[derive(Debug, Clone, Copy)]
pub struct Offsets<'a> {
    /// Of queries.
    pub asking: &'a [usize],
    /// Of keys and values.
    pub seen: &'a [usize],
    /// Whether the tokens that ask are the first of their row; else they are its last.
    pub asks_first: bool,
}

struct Op {
    how: Attending,
    asking: Vec<usize>,
    seen: Vec<usize>,
    asks_first: bool,
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
        let (asking, seen) = (q_layout.shape().dims2()?, k_layout.shape().dims2()?);
        let head_dim = self.head_dim(asking, seen)?;
        if v.len() != k.len() {
            candle_core::bail!("attention: {} keys' numbers and {} values'", k.len(), v.len());
        }
        let mut y = vec![0f32; q.len()];
        self.each((q, k), head_dim, 0..self.how.heads, |part, weights| {
            part.head.mix(&mut y[part.from..], weights, &v[part.to..]);
        });
        Ok((CpuStorage::F32(y), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        y_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (q, k, v) = backward::backward(self, (q, k, v), y_gradient)?;
        Ok((Some(q), Some(k), Some(v)))
    }
}

/// One head of a block of queries, and where its first query and its first key lie.
struct Part {
    head: Head,
    from: usize,
    to: usize,
}

impl Op {
    fn new(how: Attending, rows: Offsets<'_>) -> Self {
        Self { how, asking: rows.asking.to_vec(), seen: rows.seen.to_vec(), asks_first: rows.asks_first }
    }

    /// Hands on the weights `softmax(Q Kᵀ · scale)`, `[m, n]`, of every block of queries and each of these heads, one after
    /// another.
    fn each(&self, (q, k): (&[f32], &[f32]), head_dim: usize, some: Range<usize>, mut see: impl FnMut(&Part, &[f32])) {
        let Attending { heads, kv_heads, .. } = self.how;
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let mut scores = Vec::new();
        for (asking, seen) in self.asking.windows(2).zip(self.seen.windows(2)) {
            let (asked, length) = (asking[1] - asking[0], seen[1] - seen[0]);
            let first = if self.asks_first { 0 } else { length.saturating_sub(asked) };
            for block in blocks((first, asked), length, self.how) {
                let (m, n) = (block.queries.len(), block.keys.len());
                scores.resize(m * n, 0f32);
                for head in some.clone() {
                    let part = Part {
                        head: Head { m, n, head_dim, width, kv_width },
                        from: (asking[0] + block.queries.start) * width + head * head_dim,
                        to: (seen[0] + block.keys.start) * kv_width + head / (heads / kv_heads) * head_dim,
                    };
                    part.head.scores(&mut scores, &q[part.from..], &k[part.to..], self.how.scale);
                    wide!(softmax(&mut scores, n, |line| block.visible(line, self.how)));
                    see(&part, &scores);
                }
            }
        }
    }

    /// The width of a head, for queries and keys of these shapes.
    fn head_dim(&self, (asking, width): (usize, usize), (seen, kv_width): (usize, usize)) -> Result<usize> {
        let Attending { heads, kv_heads, .. } = self.how;
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 || width % heads != 0 || !self.rows_fit(asking, seen) {
            candle_core::bail!(
                "attention: {heads} heads over {kv_heads} and the rows' offsets do not fit [{asking}, {width}]"
            );
        }
        let head_dim = width / heads;
        if kv_width != kv_heads * head_dim {
            candle_core::bail!("attention: keys are {kv_width} wide and queries {width}");
        }
        let mut rows = self.asking.windows(2).zip(self.seen.windows(2));
        let is_part = self.how.is_causal || self.how.window.is_some();
        if is_part && rows.any(|(asking, seen)| asking[1] - asking[0] > seen[1] - seen[0]) {
            candle_core::bail!("attention: more tokens ask than there are in a row");
        }
        Ok(head_dim)
    }

    fn rows_fit(&self, asking: usize, seen: usize) -> bool {
        let fit = |offsets: &[usize], tokens: usize| {
            offsets.windows(2).all(|w| w[0] <= w[1]) && offsets.last() == Some(&tokens) && offsets.first() == Some(&0)
        };
        fit(&self.asking, asking) && fit(&self.seen, seen) && self.asking.len() == self.seen.len()
    }
}

/// Some queries of a row, and the keys that any of them sees.
struct Block {
    queries: Range<usize>,
    keys: Range<usize>,
    /// The place in the row of the block's first query.
    at: usize,
    /// Tokens of the row.
    length: usize,
}

impl Block {
    /// Where in the block's keys those begin and end that its query of this number sees.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn visible(&self, line: usize, how: Attending) -> (usize, usize) {
        let seen = how.seen(self.at + line, self.length);
        (seen.start.saturating_sub(self.keys.start), seen.end.saturating_sub(self.keys.start).min(self.keys.len()))
    }
}

/// The `m` tokens of a row's `n` that stand from `first` on ask, in blocks.
fn blocks((first, m): (usize, usize), n: usize, how: Attending) -> impl Iterator<Item = Block> {
    let size = if how.is_causal || how.window.is_some() { SHORT_BLOCK } else { BLOCK };
    let block = move |start: usize| {
        let queries = start..(start + size).min(m);
        let at = first + queries.start;
        let keys = how.seen(at, n).start..how.seen(at + queries.len() - 1, n).end;
        Block { queries, keys, at, length: n }
    };
    (0..if n == 0 { 0 } else { m }).step_by(size).map(block)
}

/// One head of some queries: lines of `head_dim` numbers, `width` apart in queries and `kv_width` in keys and values; `m` of
/// them ask, `n` are seen. None of them is 0.
struct Head {
    m: usize,
    n: usize,
    head_dim: usize,
    width: usize,
    kv_width: usize,
}

impl Head {
    /// Numbers from the first to the last of this head's in so many lines, both included.
    fn reach(&self, lines: usize, width: usize) -> usize {
        (lines - 1) * width + self.head_dim
    }

    fn assert_inside(&self, scores: &[f32], queries: &[f32], keys: &[f32]) {
        assert!(scores.len() == self.m * self.n);
        assert!(queries.len() >= self.reach(self.m, self.width) && keys.len() >= self.reach(self.n, self.kv_width));
    }

    /// `S = Q Kᵀ · scale`, `[m, n]`.
    fn scores(&self, s: &mut [f32], q: &[f32], k: &[f32], scale: f32) {
        self.assert_inside(s, q, k);
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
                self.width as isize,
                k.as_ptr(),
                self.kv_width as isize,
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

    /// `Y = P V`, `[m, head_dim]` at the queries' stride.
    fn mix(&self, y: &mut [f32], p: &[f32], v: &[f32]) {
        self.assert_inside(p, y, v);
        // SAFETY: as above; y is a buffer of its own.
        unsafe {
            gemm::gemm(
                self.m,
                self.head_dim,
                self.n,
                y.as_mut_ptr(),
                1,
                self.width as isize,
                false,
                p.as_ptr(),
                1,
                self.n as isize,
                v.as_ptr(),
                1,
                self.kv_width as isize,
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

/// `softmax` of what is visible of every line of `length` numbers, shifted by its largest so that nothing overflows; 0 for
/// the rest.
#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
fn softmax(scores: &mut [f32], length: usize, visible: impl Fn(usize) -> (usize, usize)) {
    for (i, line) in scores.chunks_exact_mut(length.max(1)).enumerate() {
        let (start, end) = visible(i);
        line[..start].fill(0.0);
        line[end..].fill(0.0);
        let line = &mut line[start..end];
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
mod tests;
