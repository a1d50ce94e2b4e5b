//! What comes back to a site, summed up.
//!
//! With `X [tokens, in]` what a site is fed and `G [tokens, out]` the gradient `∂L/∂Y` of its outputs `Y = X Wᵀ + b`, the gradient of a
//! row's loss is `∂L_r/∂W = G_rᵀ X_r`, `[out, in]`, over the row's own tokens: a sum over them, not a mean. `W` is the site's whole
//! map in whatever form it is held. Squares are those of each row's gradient, summed over rows: with labels drawn by the model
//! an unbiased estimate of the diagonal of the Fisher information of the rows (Kunstner et al. 2019, arXiv 1905.12558), which
//! squares of the gradients of batches would understate by as much as a batch has rows.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::gram::{add_square, mirror};
use crate::engine::kernels::product::{View, product};

/// Numbers of a row's gradient that are worked out at a time.
const BAND: usize = 1 << 20;

/// Gradients by index of the site.
pub type GradientSites = BTreeMap<usize, Gradients>;

/// Which sums are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedGradients {
    /// `Σ_r ∂L_r/∂W`: costs `2 · tokens · in · out` flops and `8 · in · out` bytes.
    pub total: bool,
    /// `Σ_r (∂L_r/∂W)²`: costs the same flops, once with `total`.
    pub squares: Squares,
    /// `GᵀG`, `[out, out]`: costs `2 · tokens · out²` flops and `8 · out²` bytes.
    pub gram: bool,
    /// Gates on what the site is fed: costs another forward and backward pass of the site.
    pub gates: bool,
}

/// How much of the squares of a weight's gradient is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Squares {
    /// Nothing.
    #[default]
    None,
    /// Their sums over each row and each column of the weight.
    Sums,
    /// Those and every one of them: `8 · in · out` bytes.
    Every,
}

/// Sums over what comes back to a site, in f64.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradients {
    /// Rows that were seen.
    pub rows: u64,
    /// Tokens that were seen.
    pub tokens: u64,
    /// `Σ_t g_t`, `[out]`: the gradient of the bias, of all rows together.
    pub sums: Vec<f64>,
    /// `Σ_t g_t²`, `[out]`.
    pub squares: Vec<f64>,
    /// `GᵀG`, `[out, out]`: with `XᵀX` of the same rows the two sides of K-FAC (Martens & Grosse 2015, arXiv 1503.05671).
    pub gram: Option<Vec<f64>>,
    /// `Σ_r ∂L_r/∂W = GᵀX`, `[out, in]`.
    pub total: Option<Vec<f64>>,
    /// `Σ_r (∂L_r/∂W)²`, in sums or whole.
    pub weight: Option<WeightSquares>,
    /// What gates on the site's inputs would be worth.
    pub gates: Option<Gates>,
}

/// `F_ij = Σ_r (∂L_r/∂W_ij)²`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WeightSquares {
    /// `Σ_j F_ij`, `[out]`.
    pub by_output: Vec<f64>,
    /// `Σ_i F_ij`, `[in]`: FWSVD weighs the inputs of `x W` by the root of it (Hsu et al. 2022, arXiv 2207.00112).
    pub by_input: Vec<f64>,
    /// `F`, `[out, in]`, if asked for.
    pub every: Option<Vec<f64>>,
}

/// Gates `m_k` that multiply what a site is fed, at 1: one for each head at the attention's output, else one for each input.
/// `∂L_r/∂m_k = Σ_t Σ_(j in k) x_tj ∂L/∂x_tj`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gates {
    /// `Σ_r |∂L_r/∂m_k|` (Michel et al. 2019, arXiv 1905.10650, equation 4).
    pub sizes: Vec<f64>,
    /// `Σ_r (∂L_r/∂m_k)²`: what it costs to close the gate is about half of it over the rows (Kwon et al. 2022, arXiv 2204.09656).
    pub squares: Vec<f64>,
}

impl Gradients {
    /// Of one batch: `x: [tokens, in]` is what the site is fed, `g: [tokens, out]` what comes back to its outputs, row `r` at
    /// `offsets[r]..offsets[r + 1]`. Gates are not among them: see [`Gates::of`].
    ///
    /// # Errors
    ///
    /// Shapes that differ.
    pub fn of(x: &Tensor, g: &Tensor, offsets: &[usize], wanted: WantedGradients) -> Result<Self> {
        let ((tokens, r#in), (back, out)) = (x.dims2()?, g.dims2()?);
        if tokens != back || offsets.last() != Some(&tokens) || offsets.windows(2).any(|w| w[1] < w[0]) || r#in == 0 {
            return Err(EngineError::Internal(format!("{tokens} tokens, {back} gradients and the rows do not fit")));
        }
        let flat = |x: &Tensor| Ok::<_, EngineError>(x.contiguous()?.flatten_all()?.to_vec1::<f32>()?);
        let (x, g) = (flat(x)?, flat(g)?);
        let mut all = Self {
            rows: offsets.len() as u64 - 1,
            tokens: tokens as u64,
            sums: vec![0.0; out],
            squares: vec![0.0; out],
            ..Self::default()
        };
        for line in g.chunks_exact(out.max(1)) {
            for ((sum, square), g) in all.sums.iter_mut().zip(&mut all.squares).zip(line) {
                *sum += f64::from(*g);
                *square += f64::from(*g) * f64::from(*g);
            }
        }
        if wanted.gram {
            let mut gram = vec![0.0; out * out];
            add_square(&mut gram, &g, out)?;
            mirror(&mut gram, out);
            all.gram = Some(gram);
        }
        all.total = wanted.total.then(|| vec![0.0; out * r#in]);
        all.weight = (wanted.squares != Squares::None).then(|| WeightSquares {
            by_output: vec![0.0; out],
            by_input: vec![0.0; r#in],
            every: (wanted.squares == Squares::Every).then(|| vec![0.0; out * r#in]),
        });
        if wanted.total || wanted.squares != Squares::None {
            all.weights(&x, &g, offsets, (out, r#in));
        }
        Ok(all)
    }

    /// Adds each row's `G_rᵀ X_r`, a band of outputs at a time, in f32.
    fn weights(&mut self, x: &[f32], g: &[f32], offsets: &[usize], (out, r#in): (usize, usize)) {
        let band = (BAND / r#in).clamp(1, out.max(1));
        let mut part = vec![0f32; band * r#in];
        for row in offsets.windows(2).filter(|row| row[0] < row[1]) {
            let tokens = row[1] - row[0];
            let x = View::new(&x[row[0] * r#in..], (tokens, r#in), r#in);
            for start in (0..out).step_by(band) {
                let some = band.min(out - start);
                let g = View::new(&g[row[0] * out + start..], (tokens, some), out).transposed();
                product(&mut part, r#in, (g, x), 1.0, false);
                for (i, line) in part.chunks_exact(r#in).take(some).enumerate() {
                    self.line(start + i, line);
                }
            }
        }
    }

    /// Adds the gradient of one output's weights, `[in]`, of one row.
    fn line(&mut self, output: usize, gradients: &[f32]) {
        let cells = output * gradients.len()..(output + 1) * gradients.len();
        if let Some(cells) = self.total.as_mut().and_then(|total| total.get_mut(cells.clone())) {
            cells.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += f64::from(*g));
        }
        let Some(weight) = &mut self.weight else { return };
        let square = |g: &f32| f64::from(*g) * f64::from(*g);
        let plus = |sums: &mut [f64]| sums.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += square(g));
        plus(&mut weight.by_input);
        if let Some(sum) = weight.by_output.get_mut(output) {
            *sum += gradients.iter().map(square).sum::<f64>();
        }
        if let Some(cells) = weight.every.as_mut().and_then(|every| every.get_mut(cells)) {
            plus(cells);
        }
    }

    /// Adds what came back in another batch.
    ///
    /// # Errors
    ///
    /// Sums of another site, or others than these.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        if self.rows == 0 {
            self.clone_from(other);
            return Ok(());
        }
        let (mut sums, others) = (self.parts_mut(), other.parts());
        if sums.len() != others.len() || sums.iter().zip(&others).any(|(a, b)| a.len() != b.len()) {
            return Err(EngineError::Internal("gradients of two sites can't be added".into()));
        }
        for (a, b) in sums.iter_mut().zip(others) {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        }
        self.rows += other.rows;
        self.tokens += other.tokens;
        Ok(())
    }

    fn parts_mut(&mut self) -> Vec<&mut Vec<f64>> {
        let weight = self.weight.iter_mut();
        let mut all = vec![&mut self.sums, &mut self.squares];
        all.extend(self.gram.iter_mut().chain(&mut self.total));
        all.extend(weight.flat_map(|w| [&mut w.by_output, &mut w.by_input].into_iter().chain(&mut w.every)));
        all.extend(self.gates.iter_mut().flat_map(|gates| [&mut gates.sizes, &mut gates.squares]));
        all
    }

    fn parts(&self) -> Vec<&Vec<f64>> {
        let mut all = vec![&self.sums, &self.squares];
        all.extend(self.gram.iter().chain(&self.total));
        all.extend(self.weight.iter().flat_map(|w| [&w.by_output, &w.by_input].into_iter().chain(&w.every)));
        all.extend(self.gates.iter().flat_map(|gates| [&gates.sizes, &gates.squares]));
        all
    }

    /// `E[g_i²]` over tokens, `[out]`.
    pub fn mean_squares(&self) -> Vec<f64> {
        let tokens = self.tokens.max(1) as f64;
        self.squares.iter().map(|sum| sum / tokens).collect()
    }
}

impl Gates {
    /// Of one batch: `x` and its gradient `z`, both `[tokens, in]`; each gate stands for `width` inputs.
    ///
    /// # Errors
    ///
    /// Shapes that differ, and a width that does not divide the inputs.
    pub fn of(x: &Tensor, z: &Tensor, offsets: &[usize], width: usize) -> Result<Self> {
        let (tokens, r#in) = x.dims2()?;
        if z.dims2()? != (tokens, r#in) || width == 0 || r#in % width != 0 || offsets.last() != Some(&tokens) {
            return Err(EngineError::Internal(
                format!("gates of {width} do not fit {tokens} tokens of {in}", in = r#in),
            ));
        }
        let along = (x.detach() * z.detach())?.flatten_all()?.to_vec1::<f32>()?;
        let mut all = Self { sizes: vec![0.0; r#in / width], squares: vec![0.0; r#in / width] };
        for row in offsets.windows(2) {
            let mut gradients = vec![0f64; r#in / width];
            for token in along[row[0] * r#in..row[1] * r#in].chunks_exact(r#in) {
                for (sum, head) in gradients.iter_mut().zip(token.chunks_exact(width)) {
                    *sum += head.iter().map(|x| f64::from(*x)).sum::<f64>();
                }
            }
            for ((size, square), g) in all.sizes.iter_mut().zip(&mut all.squares).zip(gradients) {
                *size += g.abs();
                *square += g * g;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
