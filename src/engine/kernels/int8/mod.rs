//! The linear map with inputs and weights of 8 bits: products and sums are whole numbers.
//!
//! `y[t, o] = s_x[t] s_w[o] Σ_j q_x[t, j] q_w[o, j] + b[o]`. Sums are exact, and what is done to them is the same in every
//! instruction set, so all give the same bits. Weights are laid out once for the set that this processor has: see [`Packed`].

mod dot;
#[cfg(target_arch = "x86_64")]
mod x86;

mod tokens;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::{floats, given, linear};
use dot::{Dot, Job, Portable, REGISTERS, run};
pub use tokens::rounded;

/// Wider rows may have sums that 32 bits do not hold: `in · 127 · 128 ≤ 2³¹ − 1`.
pub const MOST_COLUMNS: usize = i32::MAX as usize / (127 * 128);

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy)]
enum Path {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(x86::AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(x86::Avx512Vnni),
    #[cfg(test)]
    Emulated(tests::Emulated),
}

impl Path {
    /// All that there are, the fastest first.
    fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            x86::Avx512Vnni::new().map(Self::Avx512Vnni),
            x86::AvxVnni::new().map(Self::AvxVnni),
            x86::Avx2::new().map(Self::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [None];
        wide.into_iter().flatten().chain([Self::Portable(Portable)]).collect()
    }

    /// The fastest, looked for once.
    fn best() -> Self {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().first().copied().unwrap_or(Self::Portable(Portable)))
    }

    /// Rows of a register, and what is added to the codes of tokens.
    const fn of(self) -> (usize, u8) {
        match self {
            Self::Portable(_) => (Portable::LANES, Portable::SHIFT),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => (x86::Avx2::LANES, x86::Avx2::SHIFT),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => (x86::AvxVnni::LANES, x86::AvxVnni::SHIFT),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => (x86::Avx512Vnni::LANES, x86::Avx512Vnni::SHIFT),
            #[cfg(test)]
            Self::Emulated(_) => (tests::Emulated::LANES, tests::Emulated::SHIFT),
        }
    }

    fn run(self, job: &mut Job<'_>) {
        match self {
            Self::Portable(dot) => run::<_, 4>(dot, job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(dot) => dot.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(dot) => dot.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(dot) => dot.run(job),
            #[cfg(test)]
            Self::Emulated(dot) => run::<_, 3>(dot, job),
        }
    }
}

/// The instruction set that [`linear()`] works with here.
pub fn path() -> &'static str {
    match Path::best() {
        Path::Portable(_) => "portable",
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(_) => "AVX2",
        #[cfg(target_arch = "x86_64")]
        Path::AvxVnni(_) => "AVX-VNNI",
        #[cfg(target_arch = "x86_64")]
        Path::Avx512Vnni(_) => "AVX-512 VNNI",
        #[cfg(test)]
        Path::Emulated(_) => "emulated",
    }
}

/// Codes `[out, in]` with a scale for every row, laid out for the loops.
///
/// A block is two registers of rows. Of each four columns it holds the first row's four codes, then the second's, to the last
/// row of the block; then the next four columns; then the next block. Rows and columns are filled up with zeros.
#[derive(Debug, Clone)]
pub struct Packed {
    out: usize,
    r#in: usize,
    path: Path,
    codes: Vec<i8>,
    /// What the shift of the tokens' codes adds to every row's sum.
    shifts: Vec<i32>,
    scales: Vec<f32>,
}

impl Packed {
    /// Lays codes `[out, in]` and scales `[out]` out for this processor.
    ///
    /// # Errors
    ///
    /// Lengths that do not fit; no columns at all, or more than [`MOST_COLUMNS`].
    pub fn new(codes: &[i8], scales: &[f32], shape: (usize, usize)) -> Result<Self> {
        Self::on(Path::best(), codes, scales, shape)
    }

    fn on(path: Path, codes: &[i8], scales: &[f32], (out, r#in): (usize, usize)) -> Result<Self> {
        if out.checked_mul(r#in) != Some(codes.len()) || scales.len() != out || !(1..=MOST_COLUMNS).contains(&r#in) {
            candle_core::bail!(
                "int8: {} codes and {} scales for [{out}, {in}], of 1 to {MOST_COLUMNS} columns",
                codes.len(),
                scales.len(),
                in = r#in
            );
        }
        let (lanes, shift) = path.of();
        let (rows, runs) = (REGISTERS * lanes, r#in.div_ceil(4));
        let padded = out.next_multiple_of(rows);
        let mut packed = Self {
            out,
            r#in,
            path,
            codes: vec![0; padded * runs * 4],
            shifts: vec![0; padded],
            scales: [scales, &vec![0.0; padded - out]].concat(),
        };
        let blocks = packed.codes.chunks_exact_mut(runs * rows * 4).zip(codes.chunks(rows * r#in));
        for (block, codes) in blocks {
            for (row, codes) in codes.chunks(r#in).enumerate() {
                for (run, codes) in block.chunks_exact_mut(rows * 4).zip(codes.chunks(4)) {
                    run[4 * row..4 * row + codes.len()].copy_from_slice(codes);
                }
            }
        }
        for (sum, codes) in packed.shifts.iter_mut().zip(codes.chunks(r#in)) {
            // May pass 2³¹, as the shifted sum does from which it is taken: both wrap, and what is left fits
            *sum = i32::from(shift).wrapping_mul(codes.iter().map(|code| i32::from(*code)).sum::<i32>());
        }
        Ok(packed)
    }

    /// Rows and columns.
    pub const fn shape(&self) -> (usize, usize) {
        (self.out, self.r#in)
    }

    /// The scales, `[out]`.
    pub fn scales(&self) -> &[f32] {
        &self.scales[..self.out]
    }

    /// The codes, `[out, in]`, row by row.
    pub fn codes(&self) -> Vec<i8> {
        let (rows, runs) = (REGISTERS * self.path.of().0, self.r#in.div_ceil(4));
        let mut codes = Vec::with_capacity(self.out * self.r#in);
        for row in 0..self.out {
            let block = &self.codes[row / rows * runs * rows * 4..][..runs * rows * 4];
            let runs = block.chunks_exact(rows * 4).flat_map(|run| &run[4 * (row % rows)..][..4]);
            codes.extend(runs.take(self.r#in));
        }
        codes
    }

    /// The weights, `[out, in]`.
    fn dense(&self) -> Result<Tensor> {
        let codes = self.codes();
        let rows = codes.chunks(self.r#in).zip(&self.scales);
        let weights: Vec<f32> =
            rows.flat_map(|(codes, scale)| codes.iter().map(move |code| f32::from(*code) * scale)).collect();
        Tensor::from_vec(weights, (self.out, self.r#in), &Device::Cpu)
    }

    /// `[tokens, out]` for `x: [tokens, in]`.
    fn product(&self, x: &[f32], bias: Option<&[f32]>, scale: Option<f32>) -> Vec<f32> {
        let (tokens, token_scales) = tokens::codes(x, self.r#in, scale, self.path.of().1);
        let mut padded = vec![0f32; self.scales.len()];
        padded.iter_mut().zip(bias.into_iter().flatten()).for_each(|(padded, bias)| *padded = *bias);
        let mut y = vec![0f32; token_scales.len() * self.out];
        self.path.run(&mut Job {
            runs: self.r#in.div_ceil(4),
            tokens: &tokens,
            token_scales: &token_scales,
            codes: &self.codes,
            out: self.out,
            shifts: &self.shifts,
            scales: &self.scales,
            bias: &padded,
            y: &mut y,
        });
        y
    }
}

/// `y = s_x s_w (q_x q_wᵀ) + b`, where `q_x = round(x / s_x)`, ties to even, within ±127.
///
/// `x: [tokens, in]`, `weights: [out, in]`, `bias: [out]`, `y: [tokens, out]`. `scale` is every token's; `None`: each has its
/// own, its largest distance from 0 over 127. Costs `tokens · in · out` products of bytes, which are two to four times as
/// fast as those of f32. A token with a number that is none has such outputs alone. Backwards `∂L/∂x = ∂L/∂y W`, as if
/// nothing had been rounded (straight through, Bengio et al. 2013, arXiv 1308.3432).
///
/// # Errors
///
/// Shapes that do not fit; a variable in place of the bias.
pub fn linear(x: &Tensor, weights: &Arc<Packed>, bias: Option<&Tensor>, scale: Option<f32>) -> Result<Tensor> {
    given("int8 linear", bias.as_slice())?;
    let bias = bias.map(Tensor::to_vec1::<f32>).transpose()?;
    if let Some(bias) = bias.as_ref().filter(|bias| bias.len() != weights.out) {
        candle_core::bail!("int8: {} biases for {} outputs", bias.len(), weights.out);
    }
    x.contiguous()?.apply_op1(Op { weights: Arc::clone(weights), bias, scale })
}

struct Op {
    weights: Arc<Packed>,
    bias: Option<Vec<f32>>,
    scale: Option<f32>,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "int8 linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let (out, r#in) = self.weights.shape();
        if width != r#in {
            candle_core::bail!("int8: x is [{tokens}, {width}], the weight [{out}, {in}]", in = r#in);
        }
        let y = self.weights.product(floats(x, layout)?, self.bias.as_deref(), self.scale);
        Ok((CpuStorage::F32(y), Shape::from((tokens, out))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        linear::linear(g, &self.weights.dense()?.t()?.contiguous()?, None).map(Some)
    }
}

#[cfg(test)]
mod tests;
