//! Normalization of hidden states.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{floats, given};

/// `y = (x - mean(x)) / sqrt(var(x) + ε) · γ + β` over the last dimension (Ba et al. 2016, arXiv 1607.06450).
///
/// `x: [tokens, width]`, `gamma, beta: [width]`. The variance is the biased one, in f32 around the mean. Backwards, with
/// `x̂ = (x - mean(x)) / σ` and `h = ∂L/∂y · γ`, `∂L/∂x = (h - mean(h) - x̂ mean(h x̂)) / σ`.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, Op { epsilon: epsilon as f32 })
}

struct Op {
    epsilon: f32,
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = floats(x, x_layout)?.to_vec();
        let (gamma, beta) = (floats(gamma, gamma_layout)?, floats(beta, beta_layout)?);
        if gamma.is_empty() || gamma.len() != beta.len() || y.len() % gamma.len() != 0 {
            candle_core::bail!("layer_norm: width {} does not fit {} elements", gamma.len(), y.len());
        }
        wide!(normalize(&mut y, gamma, beta, self.epsilon));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        given("layer_norm", &[gamma, beta])?;
        Ok((Some(back(x, gamma, g, Back { epsilon: self.epsilon, is_centered: true })?), None, None))
    }
}

/// `y = x / sqrt(mean(x²) + ε) · γ` over lines of `γ`'s width (Zhang & Sennrich 2019, arXiv 1910.07467).
///
/// `x: [tokens, k · width]`, `gamma: [width]`: with `k` above 1 every head of a token is a line of its own. Backwards as the
/// layer norm, without the means of `x` and `h`.
pub fn rms_norm(x: &Tensor, gamma: &Tensor, epsilon: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&gamma.contiguous()?, Op { epsilon: epsilon as f32 })
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = floats(x, x_layout)?.to_vec();
        let gamma = floats(gamma, gamma_layout)?;
        if gamma.is_empty() || y.len() % gamma.len() != 0 {
            candle_core::bail!("rms_norm: width {} does not fit {} elements", gamma.len(), y.len());
        }
        wide!(rescale(&mut y, gamma, self.epsilon));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, gamma: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        given("rms_norm", &[gamma])?;
        Ok((Some(back(x, gamma, g, Back { epsilon: self.epsilon, is_centered: false })?), None))
    }
}

/// The backward pass of both norms.
#[derive(Clone, Copy)]
struct Back {
    epsilon: f32,
    /// Whether the mean was taken away.
    is_centered: bool,
}

fn back(x: &Tensor, gamma: &Tensor, y_gradient: &Tensor, op: Back) -> Result<Tensor> {
    x.detach().apply_op3_no_bwd(&gamma.detach(), &y_gradient.detach().contiguous()?, &op)
}

impl CustomOp3 for Back {
    fn name(&self) -> &'static str {
        "norm, backwards"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gamma, mut y) = (floats(x, x_layout)?, floats(gamma, gamma_layout)?, floats(g, g_layout)?.to_vec());
        if gamma.is_empty() || y.len() != x.len() || y.len() % gamma.len() != 0 {
            candle_core::bail!("norm: {} gradients do not fit {} elements", y.len(), x.len());
        }
        wide!(self.lines(&mut y, x, gamma));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }
}

impl Back {
    /// From `∂L/∂y` to `∂L/∂x`, in place.
    #[inline(always)]
    #[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
    fn lines(&self, gradients: &mut [f32], x: &[f32], gamma: &[f32]) {
        let width = gamma.len();
        let mut hat = vec![0f32; width];
        for (g, x) in gradients.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let mean = if self.is_centered { lanes(x, |x| x) / width as f32 } else { 0.0 };
            let scale = 1.0 / (lanes(x, |x| (x - mean) * (x - mean)) / width as f32 + self.epsilon).sqrt();
            for (((g, gamma), hat), x) in g.iter_mut().zip(gamma).zip(&mut hat).zip(x) {
                *g *= gamma;
                *hat = (x - mean) * scale;
            }
            let shift = if self.is_centered { lanes(g, |g| g) / width as f32 } else { 0.0 };
            let along = g.iter().zip(&hat).map(|(g, hat)| g * hat).sum::<f32>() / width as f32;
            for (g, hat) in g.iter_mut().zip(&hat) {
                *g = (*g - shift - hat * along) * scale;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
fn rescale(y: &mut [f32], gamma: &[f32], epsilon: f32) {
    let width = gamma.len();
    for row in y.chunks_exact_mut(width) {
        let scale = 1.0 / (lanes(row, |x| x * x) / width as f32 + epsilon).sqrt();
        for (x, g) in row.iter_mut().zip(gamma) {
            *x = *x * scale * g;
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
fn normalize(y: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
    let width = gamma.len();
    for row in y.chunks_exact_mut(width) {
        let mean = lanes(row, |x| x) / width as f32;
        let variance = lanes(row, |x| (x - mean) * (x - mean)) / width as f32;
        let scale = 1.0 / (variance + epsilon).sqrt();
        for ((x, g), b) in row.iter_mut().zip(gamma).zip(beta) {
            *x = (*x - mean) * scale * g + b;
        }
    }
}

/// `Σ f(x)` in sixteen partial sums, in a fixed order: vectorizes, and rounds less than one running sum.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn lanes(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; 16];
    let chunks = row.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|x| f(*x)).sum();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f(*x);
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn agrees_with_the_definition_in_f64() -> Result<()> {
        let device = Device::Cpu;
        for width in [3usize, 16, 37, 384] {
            let x = Tensor::randn(0.7f32, 2.0, (5, width), &device)?;
            let gamma = Tensor::randn(1f32, 0.3, width, &device)?;
            let beta = Tensor::randn(0f32, 0.3, width, &device)?;
            let y = layer_norm(&x, &gamma, &beta, 1e-12)?.to_vec2::<f32>()?;
            let (gamma, beta) = (gamma.to_vec1::<f32>()?, beta.to_vec1::<f32>()?);
            for (row, got) in x.to_vec2::<f32>()?.iter().zip(&y) {
                let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
                let var = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / width as f64;
                for (j, got) in got.iter().enumerate() {
                    let want =
                        (f64::from(row[j]) - mean) / (var + 1e-12).sqrt() * f64::from(gamma[j]) + f64::from(beta[j]);
                    assert!((f64::from(*got) - want).abs() < 1e-5, "width {width}: {got} is not {want}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rms_agrees_with_the_definition_in_f64_for_tokens_and_for_heads() -> Result<()> {
        for (width, lines) in [(3usize, 1usize), (16, 2), (37, 3)] {
            let x = Tensor::randn(0.7f32, 2.0, (5, width * lines), &Device::Cpu)?;
            let gamma = Tensor::randn(1f32, 0.3, width, &Device::Cpu)?;
            let got = rms_norm(&x, &gamma, 1e-6)?.flatten_all()?.to_vec1::<f32>()?;
            let (x, gamma) = (x.flatten_all()?.to_vec1::<f32>()?, gamma.to_vec1::<f32>()?);
            for (line, got) in x.chunks(width).zip(got.chunks(width)) {
                let mean = line.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / width as f64;
                for ((x, g), got) in line.iter().zip(&gamma).zip(got) {
                    let want = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*g);
                    assert!((f64::from(*got) - want).abs() < 1e-5, "width {width}: {got} is not {want}");
                }
            }
        }
        Ok(())
    }
}
