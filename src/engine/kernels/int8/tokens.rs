//! From tokens to codes of 8 bits.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::super::floats;
use super::super::rounding::{self, Steps};

/// The largest code: as far below 0 as above.
const LARGEST: f32 = 127.0;

/// What a token is divided by: its own scale, or the given one; NaN where it holds what is no number.
fn scale(token: &[f32], given: Option<f32>) -> f32 {
    let own = scale_of(token);
    if own.is_finite() { given.unwrap_or(own) } else { f32::NAN }
}

fn steps(scale: f32) -> Steps {
    Steps { scale, zero: 0.0, low: -LARGEST, high: LARGEST }
}

/// The scale of a token: its largest distance from 0 over 127. 1 where it is all zero; NaN where one of its numbers is.
fn scale_of(token: &[f32]) -> f32 {
    // Without their sign numbers are in the order of their bits, with NaN above all
    let distance = |x: &f32| x.to_bits() & 0x7fff_ffff;
    let largest = f32::from_bits(wide!({
        let mut found = [0u32; 16];
        let (chunks, rest) = token.as_chunks::<16>();
        for chunk in chunks {
            found.iter_mut().zip(chunk).for_each(|(found, x)| *found = distance(x).max(*found));
        }
        found.iter_mut().zip(rest).for_each(|(found, x)| *found = distance(x).max(*found));
        found.into_iter().fold(0, u32::max)
    }));
    if largest == 0.0 { 1.0 } else { largest / LARGEST }
}

/// Codes of tokens `[tokens, in]` in runs of four, `shift` on each, with the scale of every token.
pub(super) fn codes(x: &[f32], r#in: usize, scale: Option<f32>, shift: u8) -> (Vec<[u8; 4]>, Vec<f32>) {
    let tokens = x.chunks_exact(r#in.max(1));
    let runs = r#in.div_ceil(4);
    let mut all = vec![[0u8; 4]; tokens.len() * runs];
    let mut line = vec![0i8; r#in];
    let mut scales = Vec::with_capacity(tokens.len());
    for (token, codes) in tokens.zip(all.chunks_exact_mut(runs.max(1))) {
        let scale = self::scale(token, scale);
        rounding::codes(token, steps(scale), &mut line);
        let codes = codes.as_flattened_mut().iter_mut().zip(&line);
        codes.for_each(|(code, signed)| *code = signed.cast_unsigned().wrapping_add(shift));
        scales.push(scale);
    }
    (all, scales)
}

/// `s_x round(x / s_x)`, within ±127 `s_x`: what `x: [tokens, in]` is after 8 bits. `scale` as in [`super::linear()`], and
/// backwards as there: `∂L/∂x = ∂L/∂y`.
///
/// # Errors
///
/// What is no matrix.
pub fn rounded(x: &Tensor, scale: Option<f32>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rounded { scale })
}

struct Rounded {
    scale: Option<f32>,
}

impl CustomOp1 for Rounded {
    fn name(&self) -> &'static str {
        "int8 rounding"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, r#in) = layout.shape().dims2()?;
        let mut y = floats(x, layout)?.to_vec();
        let mut codes = vec![0i8; r#in];
        for token in y.chunks_exact_mut(r#in.max(1)) {
            let scale = scale(token, self.scale);
            rounding::codes(token, steps(scale), &mut codes);
            token.iter_mut().zip(&codes).for_each(|(y, code)| *y = f32::from(*code) * scale);
        }
        Ok((CpuStorage::F32(y), Shape::from((tokens, r#in))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(g.clone()))
    }
}
