//! Rotary positions: pairs of a head's numbers are turned by angles that grow with the position.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::floats;
use crate::engine::model::rope::Rope;

/// Cosines and sines of every position up to some, for one width of heads.
#[derive(Debug, Clone)]
pub struct Angles {
    /// `[positions, head_dim / 2]`.
    cos: Arc<[f32]>,
    /// `[positions, head_dim / 2]`.
    sin: Arc<[f32]>,
    half: usize,
}

impl Angles {
    /// Of positions `0..positions`. Angles are worked out in f64.
    pub fn new(rope: &Rope, head_dim: usize, positions: usize) -> Self {
        let frequencies = rope.frequencies(head_dim);
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |w| p as f64 * w));
        let sharper = rope.attention_factor();
        Self {
            cos: angles().map(|a| (a.cos() * sharper) as f32).collect(),
            sin: angles().map(|a| (a.sin() * sharper) as f32).collect(),
            half: head_dim / 2,
        }
    }

    /// Those that turn the other way.
    fn reversed(&self) -> Self {
        Self { sin: self.sin.iter().map(|sin| -sin).collect(), ..self.clone() }
    }
}

/// `(x_i, x_{i+d/2}) ← (x_i cos - x_{i+d/2} sin, x_{i+d/2} cos + x_i sin)` in every head of `d` numbers.
///
/// Su et al. 2021, arXiv 2104.09864, equation 34, with the pairs half a head apart, as stock checkpoints have them.
/// `x: [tokens, heads · d]`, `positions: [tokens]`, each below those of `angles`. Backwards gradients are turned the other way.
pub fn rotate(x: &Tensor, positions: &[u32], angles: &Angles) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Op { positions: positions.to_vec(), angles: angles.clone() })
}

struct Op {
    positions: Vec<u32>,
    angles: Angles,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = floats(x, layout)?.to_vec();
        let (tokens, width) = layout.shape().dims2()?;
        let half = self.angles.half;
        if half == 0 || width % (2 * half) != 0 || tokens != self.positions.len() {
            candle_core::bail!(
                "rope: {} positions and heads of {} do not fit [{tokens}, {width}]",
                self.positions.len(),
                2 * half
            );
        }
        for (token, position) in y.chunks_exact_mut(width).zip(&self.positions) {
            let start = *position as usize * half;
            let (Some(cos), Some(sin)) =
                (self.angles.cos.get(start..start + half), self.angles.sin.get(start..start + half))
            else {
                candle_core::bail!("rope: position {position} is beyond the table");
            };
            wide!(turn(token, cos, sin));
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(rotate(&g.detach(), &self.positions, &self.angles.reversed())?))
    }
}

#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
fn turn(token: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in token.chunks_exact_mut(2 * half) {
        let (low, high) = head.split_at_mut(half);
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::engine::model::rope::RopeScaling;

    fn angles(head_dim: usize) -> Angles {
        Angles::new(&Rope { theta: 10_000.0, scaling: RopeScaling::None }, head_dim, 40)
    }

    #[test]
    fn position_0_changes_nothing_and_lengths_stay() -> Result<()> {
        let x = Tensor::randn(0f32, 1.0, (2, 24), &Device::Cpu)?;
        let y = rotate(&x, &[0, 17], &angles(8))?;
        assert_eq!(x.narrow(0, 0, 1)?.to_vec2::<f32>()?, y.narrow(0, 0, 1)?.to_vec2::<f32>()?);
        let length = |t: &Tensor| t.sqr()?.sum_all()?.to_scalar::<f32>();
        assert!((length(&x)? - length(&y)?).abs() < 1e-4);
        Ok(())
    }

    #[test]
    fn scores_depend_on_the_distance_alone() -> Result<()> {
        let (q, k) = (Tensor::randn(0f32, 1.0, (1, 8), &Device::Cpu)?, Tensor::randn(0f32, 1.0, (1, 8), &Device::Cpu)?);
        let score = |i: u32, j: u32| {
            let (q, k) = (rotate(&q, &[i], &angles(8))?, rotate(&k, &[j], &angles(8))?);
            (q * k)?.sum_all()?.to_scalar::<f32>()
        };
        let near = score(5, 2)?;
        for (i, j) in [(3, 0), (20, 17), (39, 36)] {
            assert!((score(i, j)? - near).abs() < 1e-4, "{i} - {j}"); // angles in f32
        }
        assert!((score(9, 2)? - near).abs() > 1e-3, "another distance");
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let x = Tensor::zeros((2, 12), candle_core::DType::F32, &Device::Cpu)?;
        assert!(rotate(&x, &[0, 1], &angles(8)).is_err(), "heads of 8 in 12");
        assert!(rotate(&x, &[0], &angles(4)).is_err(), "one position for two tokens");
        assert!(rotate(&x, &[0, 40], &angles(4)).is_err(), "a position beyond the table");
        Ok(())
    }
}
