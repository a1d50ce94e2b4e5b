//! What a site was fed, summed up.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::gram::add_product;

/// Which sums are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// `X̂ᵀX̂`, `[in, in]`: costs `2 · tokens · in²` flops and `8 · in²` bytes.
    pub gram: bool,
    /// `X̂ᵀX`, as much again.
    pub cross: bool,
    /// What each token counts.
    #[serde(default)]
    pub weights: TokenWeights,
}

/// What each token `t` counts in a site's sums of squares and products: they are `Σ_t a_t x_t x_tᵀ`. Weights have mean 1 over the
/// tokens of a row, so means over tokens stay means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenWeights {
    /// `a_t = 1`.
    #[default]
    Even,
    /// `a_t = (1 / heads) Σ_h Σ_i P_h[i, t]`: the attention that the token is given in the site's block by all tokens of its row,
    /// itself among them, in the mean over heads; where two models go side by side, the original's. Sites behind the blocks
    /// count evenly. Costs half an attention more. In a causal model tokens that stand early can be given more.
    ///
    /// Source: "attention concentration" of RSQ, Sung et al. 2025, arXiv 2503.01820, which scales `x_t` by it and brings it to a
    /// fixed range first; here it weighs `x_t x_tᵀ` as it is.
    Attention,
    /// Half of a row is the token that the head reads, and all its tokens share the other half: `a = (n + 1) / 2` for the one of `n`
    /// tokens, `½` for the others. For sites of a last block whose outputs are read of one token alone; the others keep the
    /// sums from being of fewer tokens than inputs. Even where the head reads every token.
    Read,
}

/// Sums over the inputs of a site, in f64.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// Tokens that were seen.
    pub tokens: u64,
    /// `Σ x_j`, `[in]`.
    pub sums: Vec<f64>,
    /// `Σ a x_j²`, `[in]`; `a = 1` but for [`Wanted::weights`].
    pub squares: Vec<f64>,
    /// `max |x_j|`, `[in]`.
    pub largest: Vec<f32>,
    /// `X̂ᵀ diag(a) X̂`, `[in, in]`.
    pub gram: Option<Vec<f64>>,
    /// `X̂ᵀ diag(a) X`, `[in, in]`: row by what the compressed model's site is fed, column by what the original's is.
    pub cross: Option<Vec<f64>>,
}

impl Moments {
    /// Of one batch: `fed: [tokens, in]` is what the site is fed; `original` what the original's site is fed where both are
    /// wanted, of the same shape.
    ///
    /// # Errors
    ///
    /// Shapes that differ.
    pub fn of(fed: &Tensor, original: Option<&Tensor>, wanted: Wanted) -> Result<Self> {
        Self::weighted(fed, original, None, wanted)
    }

    /// The same with what each token counts, `[tokens]`. Sums and largest values stay those of the tokens themselves.
    ///
    /// # Errors
    ///
    /// Shapes that differ, and a weight below 0.
    pub fn weighted(fed: &Tensor, original: Option<&Tensor>, weights: Option<&[f32]>, wanted: Wanted) -> Result<Self> {
        let (tokens, width) = fed.dims2()?;
        let mut x = fed.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        if weights.is_some_and(|all| all.len() != tokens || all.iter().any(|a| a.is_nan() || *a < 0.0)) {
            return Err(EngineError::Internal("every token needs a weight of 0 or more".into()));
        }
        let scale = |x: &mut [f32]| {
            let lines = x.chunks_exact_mut(width.max(1)).zip(weights.into_iter().flatten());
            lines.for_each(|(line, a)| line.iter_mut().for_each(|x| *x *= a.sqrt()));
        };
        let mut all = Self {
            tokens: tokens as u64,
            sums: vec![0.0; width],
            squares: vec![0.0; width],
            largest: vec![0.0; width],
            ..Self::default()
        };
        for line in x.chunks_exact(width.max(1)) {
            for ((sum, largest), x) in all.sums.iter_mut().zip(&mut all.largest).zip(line) {
                *sum += f64::from(*x);
                *largest = largest.max(x.abs());
            }
        }
        scale(&mut x);
        for line in x.chunks_exact(width.max(1)) {
            all.squares.iter_mut().zip(line).for_each(|(square, x)| *square += f64::from(*x) * f64::from(*x));
        }
        if wanted.gram {
            all.gram = Some(add_product(vec![0.0; width * width], &x, &x, width)?);
        }
        if let Some(original) = original.filter(|_| wanted.cross) {
            if original.dims2()? != (tokens, width) {
                return Err(EngineError::Internal("original and compressed model are fed other shapes".into()));
            }
            let mut other = original.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
            scale(&mut other);
            all.cross = Some(add_product(vec![0.0; width * width], &x, &other, width)?);
        }
        Ok(all)
    }

    /// Adds what was seen in another batch.
    ///
    /// # Errors
    ///
    /// Sums of another site.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        if self.tokens == 0 {
            self.clone_from(other);
            return Ok(());
        }
        if self.sums.len() != other.sums.len() || self.gram.is_some() != other.gram.is_some() {
            return Err(EngineError::Internal("sums of two sites can't be added".into()));
        }
        let plus = |a: &mut [f64], b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        self.tokens += other.tokens;
        plus(&mut self.sums, &other.sums);
        plus(&mut self.squares, &other.squares);
        self.largest.iter_mut().zip(&other.largest).for_each(|(a, b)| *a = a.max(*b));
        for (a, b) in [(&mut self.gram, &other.gram), (&mut self.cross, &other.cross)] {
            if let (Some(a), Some(b)) = (a, b) {
                plus(a, b);
            }
        }
        Ok(())
    }

    /// Numbers that a token has.
    pub fn width(&self) -> usize {
        self.sums.len()
    }

    /// `E[x_j²]`, `[in]`.
    pub fn mean_squares(&self) -> Vec<f64> {
        let tokens = self.tokens.max(1) as f64;
        self.squares.iter().map(|sum| sum / tokens).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const BOTH: Wanted = Wanted { gram: true, cross: true, weights: TokenWeights::Even };

    fn draw(tokens: usize, width: usize) -> Tensor {
        Tensor::randn(0.3f32, 1.0, (tokens, width), &Device::Cpu).unwrap()
    }

    /// `AᵀB` in f64, number by number.
    fn product(a: &Tensor, b: &Tensor) -> Vec<f64> {
        let (a, b) = (a.to_vec2::<f32>().unwrap(), b.to_vec2::<f32>().unwrap());
        let width = a[0].len();
        let cell = |i: usize, j: usize| a.iter().zip(&b).map(|(a, b)| f64::from(a[i]) * f64::from(b[j])).sum();
        (0..width).flat_map(|i| (0..width).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).collect()
    }

    #[test]
    fn sums_are_those_of_the_definition_however_rows_are_batched() {
        let (fed, original) = (draw(700, 5), draw(700, 5));
        let whole = Moments::of(&fed, Some(&original), BOTH).unwrap();
        let mut parts = Moments::default();
        for (start, length) in [(0, 1), (1, 530), (531, 169)] {
            let part = |x: &Tensor| x.narrow(0, start, length).unwrap();
            parts.add(&Moments::of(&part(&fed), Some(&part(&original)), BOTH).unwrap()).unwrap();
        }
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-2); // f32 products of 512 tokens
        for all in [&whole, &parts] {
            assert_eq!(all.tokens, 700);
            assert!(near(all.gram.as_ref().unwrap(), &product(&fed, &fed)));
            assert!(near(all.cross.as_ref().unwrap(), &product(&fed, &original)));
            let diagonal: Vec<f64> = (0..5).map(|j| all.gram.as_ref().unwrap()[j * 6]).collect();
            assert!(near(&all.squares, &diagonal));
        }
        assert_eq!(whole.largest, parts.largest);
        assert!(near(&whole.sums, &parts.sums));
    }

    #[test]
    fn a_token_that_counts_twice_is_as_two_and_one_that_counts_nothing_as_none() {
        let (fed, original) = (draw(4, 3), draw(4, 3));
        let weighted = Moments::weighted(&fed, Some(&original), Some(&[2.0, 1.0, 0.0, 1.0]), BOTH).unwrap();
        let places = Tensor::new(&[0u32, 0, 1, 3], &Device::Cpu).unwrap();
        let repeat = |x: &Tensor| x.index_select(&places, 0).unwrap();
        let repeated = Moments::of(&repeat(&fed), Some(&repeat(&original)), BOTH).unwrap();
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5); // f32 roots of weights
        assert!(near(&weighted.squares, &repeated.squares));
        assert!(near(weighted.gram.as_ref().unwrap(), repeated.gram.as_ref().unwrap()));
        assert!(near(weighted.cross.as_ref().unwrap(), repeated.cross.as_ref().unwrap()));
        assert_eq!(weighted.sums, Moments::of(&fed, None, BOTH).unwrap().sums);
        assert!(Moments::weighted(&fed, None, Some(&[1.0; 3]), BOTH).is_err());
        assert!(Moments::weighted(&fed, None, Some(&[1.0, 1.0, f32::NAN, 1.0]), BOTH).is_err());
    }

    #[test]
    fn what_does_not_belong_together_is_an_error() {
        assert!(Moments::of(&draw(3, 4), Some(&draw(2, 4)), BOTH).is_err());
        let mut all = Moments::of(&draw(3, 4), None, Wanted::default()).unwrap();
        assert!(all.add(&Moments::of(&draw(3, 5), None, Wanted::default()).unwrap()).is_err());
    }
}
