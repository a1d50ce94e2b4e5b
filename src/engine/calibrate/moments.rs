//! What a site was fed, summed up.

use std::borrow::Cow;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::gram::{add_product, add_square, mirror};
use crate::engine::kernels::look;
use crate::engine::kernels::sums::columns;

/// Which sums are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// `X̂ᵀX̂`, `[in, in]`: costs `tokens · in²` flops, and more where it is narrow, and `8 · in²` bytes.
    pub gram: bool,
    /// `X̂ᵀΔX`: `2 · tokens · in²` flops and as many bytes; or `X̂ᵀΔX Wᵀ` ([`Cross`]).
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
    /// The same with how far the original's inputs lie apart.
    pub cross: Option<Cross>,
    /// Tokens that `cross` is of: all, or some, for which [`Moments::complete`] lets it stand for all.
    crossed: u64,
}

/// What the compressed model's site is fed times how far what the original's is fed lies apart from it, `ΔX = X − X̂`, or what the
/// original makes of that. Nothing is subtracted that was summed up in f32, and what few tokens tell can stand for many: it is
/// small beside `X̂ᵀX̂`, and so is what it is wrong by.
#[derive(Debug, Clone, PartialEq)]
pub enum Cross {
    /// `X̂ᵀ diag(a) ΔX`, `[in, in]`: for any weights.
    Inputs(Vec<f64>),
    /// `X̂ᵀ diag(a) ΔX Wᵀ`, `[in, out]`, for the original's weights `W: [out, in]`: costs `4 · tokens · in · out` flops, the
    /// outputs themselves among them.
    Outputs(Vec<f64>),
}

impl Cross {
    fn sums(&mut self) -> &mut [f64] {
        let (Self::Inputs(sums) | Self::Outputs(sums)) = self;
        sums
    }
}

/// How far the original lies apart, of the same tokens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Apart<'a> {
    /// `ΔX = X − X̂`, by what its site is fed.
    Inputs(&'a Tensor),
    /// `ΔX Wᵀ`, by what it makes of it.
    Outputs(&'a Tensor),
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
        let mut all = Self::default();
        let apart = original.filter(|_| wanted.cross).map(|x| apart(fed, x)).transpose()?;
        all.take(fed, apart.as_ref().map(Apart::Inputs), weights, wanted)?;
        all.complete();
        Ok(all)
    }

    /// Adds a batch as [`Moments::weighted`] sums it up, in place and over all threads. Of `gram` the lower half waits for
    /// [`Moments::complete`].
    ///
    /// # Errors
    ///
    /// As there; a batch of another site.
    pub(super) fn take(
        &mut self,
        fed: &Tensor,
        apart: Option<Apart<'_>>,
        weights: Option<&[f32]>,
        wanted: Wanted,
    ) -> Result<()> {
        let (tokens, width) = fed.dims2()?;
        let apart = apart.filter(|_| wanted.cross);
        let is_other = |apart: Apart<'_>| match apart {
            Apart::Inputs(x) => x.dims() != [tokens, width],
            Apart::Outputs(y) => y.dim(0).ok() != Some(tokens),
        };
        if self.tokens > 0 && self.width() != width || apart.is_some_and(is_other) {
            return Err(other_shapes());
        }
        if weights.is_some_and(|all| all.len() != tokens || all.iter().any(|a| a.is_nan() || *a < 0.0)) {
            return Err(EngineError::Internal("every token needs a weight of 0 or more".into()));
        }
        self.tokens += tokens as u64;
        self.sums.resize(width, 0.0);
        self.squares.resize(width, 0.0);
        self.largest.resize(width, 0.0);
        look(fed, |x| {
            self.columns(x, weights);
            let x = scaled(x, weights);
            if wanted.gram {
                add_square(self.gram.get_or_insert_with(|| vec![0.0; width * width]), &x, width)?;
            }
            apart.map_or(Ok(()), |apart| self.take_cross(&x, apart, weights))
        })?
    }

    /// `x` is scaled already.
    fn take_cross(&mut self, x: &[f32], apart: Apart<'_>, weights: Option<&[f32]>) -> Result<()> {
        let (Apart::Inputs(other) | Apart::Outputs(other)) = apart;
        let ((tokens, wide), width) = (other.dims2()?, self.width());
        let nothing = || vec![0.0; width * wide];
        let cross = self.cross.get_or_insert_with(|| match apart {
            Apart::Inputs(_) => Cross::Inputs(nothing()),
            Apart::Outputs(_) => Cross::Outputs(nothing()),
        });
        self.crossed += tokens as u64;
        look(other, |other| add_product(cross.sums(), x, &scaled(other, weights), (width, wide)))?
    }

    /// Sums, squares and largest values of each column; some columns at a time, each from the first token to the last.
    fn columns(&mut self, x: &[f32], weights: Option<&[f32]>) {
        /// What a few cache lines of a row hold.
        const COLUMNS: usize = 64;
        let width = self.sums.len().max(1);
        let parts = self.sums.par_chunks_mut(COLUMNS).zip(self.squares.par_chunks_mut(COLUMNS));
        let parts = parts.zip(self.largest.par_chunks_mut(COLUMNS)).enumerate();
        parts.for_each(|(part, ((sums, squares), largest))| {
            let from = x.get(part * COLUMNS..).unwrap_or_default();
            columns((sums, squares, largest), (from, width), weights);
        });
    }

    /// Fills in what [`Moments::take`] left; and where the original went along on some of the tokens alone, cross products are
    /// scaled up to all.
    pub fn complete(&mut self) {
        let width = self.width();
        self.gram.iter_mut().for_each(|gram| mirror(gram, width));
        if self.crossed > 0 && self.crossed < self.tokens {
            let scale = self.tokens as f64 / self.crossed as f64;
            self.cross.iter_mut().flat_map(Cross::sums).for_each(|sum| *sum *= scale);
            self.crossed = self.tokens;
        }
    }

    /// Adds what was seen in another batch, with the original or without.
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
        if let (Some(a), Some(b)) = (&mut self.gram, &other.gram) {
            plus(a, b);
        }
        self.crossed += other.crossed;
        match (&mut self.cross, &other.cross) {
            (Some(Cross::Inputs(a)), Some(Cross::Inputs(b))) | (Some(Cross::Outputs(a)), Some(Cross::Outputs(b))) => {
                plus(a, b);
            }
            (_, None) => {}
            (None, Some(cross)) => self.cross = Some(cross.clone()),
            _ => return Err(EngineError::Internal("sums of two kinds of products can't be added".into())),
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

/// `ΔX = X − X̂`, of what both models' sites are fed.
pub(super) fn apart(fed: &Tensor, original: &Tensor) -> Result<Tensor> {
    if fed.dims() == original.dims() { Ok((original - fed)?) } else { Err(other_shapes()) }
}

fn other_shapes() -> EngineError {
    EngineError::Internal("original and compressed model are fed other shapes".into())
}

/// Each token by the root of what it counts.
fn scaled<'a>(x: &'a [f32], weights: Option<&[f32]>) -> Cow<'a, [f32]> {
    let Some(weights) = weights else { return Cow::Borrowed(x) };
    let lines = x.chunks_exact((x.len() / weights.len().max(1)).max(1)).zip(weights);
    Cow::Owned(lines.flat_map(|(line, a)| line.iter().map(|x| x * a.sqrt())).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const BOTH: Wanted = Wanted { gram: true, cross: true, weights: TokenWeights::Even };

    fn draw(tokens: usize, width: usize) -> Tensor {
        Tensor::randn(0.3f32, 1.0, (tokens, width), &Device::Cpu).unwrap()
    }

    fn inputs(moments: &Moments) -> &[f64] {
        let Some(Cross::Inputs(cross)) = &moments.cross else { panic!("{:?}", moments.cross) };
        cross
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
            assert!(near(inputs(all), &product(&fed, &(&original - &fed).unwrap())));
            let diagonal: Vec<f64> = (0..5).map(|j| all.gram.as_ref().unwrap()[j * 6]).collect();
            assert!(near(&all.squares, &diagonal));
        }
        assert_eq!(whole.largest, parts.largest);
        assert!(near(&whole.sums, &parts.sums));
    }

    #[test]
    fn what_some_tokens_tell_of_the_original_stands_for_all() {
        let (fed, original) = (draw(40, 3), draw(40, 3));
        let some = Moments::of(&fed, Some(&original), BOTH).unwrap();
        let mut all = some.clone();
        all.add(&Moments::of(&draw(120, 3), None, BOTH).unwrap()).unwrap();
        all.complete();
        let want: Vec<f64> = inputs(&some).iter().map(|sum| 4.0 * sum).collect();
        assert_eq!((all.tokens, inputs(&all)), (160, want.as_slice()));
        let once = all.clone();
        all.complete();
        assert_eq!(all, once);
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
        assert!(near(inputs(&weighted), inputs(&repeated)));
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
