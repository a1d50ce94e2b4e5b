//! The mlp's nonlinearities, elementwise, in place.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{floats, math};
use crate::engine::model::spec::Activation;

/// `f(x)` for every element; any shape.
///
/// gelu is `x/2 (1 + erf(x/√2))` (Hendrycks & Gimpel 2016), gelu-tanh its approximation
/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, silu is `x / (1 + e^-x)`. Backwards `∂L/∂x = ∂L/∂y f'(x)`.
pub fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Op(activation))
}

struct Op(Activation);

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = floats(storage, layout)?.to_vec();
        match self.0 {
            Activation::Gelu => wide!(map(&mut y, gelu)),
            Activation::GeluTanh => wide!(map(&mut y, gelu_tanh)),
            Activation::Relu => wide!(map(&mut y, |x| x.max(0.0))),
            Activation::Silu => wide!(map(&mut y, silu)),
            Activation::Tanh => wide!(map(&mut y, tanh)),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(slope(self.0, &x.detach(), &g.detach())?))
    }
}

/// `f(gate) · up` for every element: a gated mlp (Shazeer 2020, arXiv 2002.05202). Both of one shape.
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.contiguous()?.apply_op2(&up.contiguous()?, Op(activation))
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (mut y, up) = (floats(gate, layout)?.to_vec(), floats(up, up_layout)?);
        if y.len() != up.len() {
            candle_core::bail!("gated activation: {} gates for {} numbers", y.len(), up.len());
        }
        match self.0 {
            Activation::Gelu => wide!(gate_by(&mut y, up, gelu)),
            Activation::GeluTanh => wide!(gate_by(&mut y, up, gelu_tanh)),
            Activation::Relu => wide!(gate_by(&mut y, up, |x| x.max(0.0))),
            Activation::Silu => wide!(gate_by(&mut y, up, silu)),
            Activation::Tanh => wide!(gate_by(&mut y, up, tanh)),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gate, up, g) = (gate.detach(), up.detach(), g.detach());
        Ok((Some(slope(self.0, &gate, &(&g * up)?)?), Some(gated(self.0, &gate, &g)?)))
    }
}

/// `g · f'(x)` for every element; both of one shape.
fn slope(activation: Activation, x: &Tensor, g: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2_no_bwd(&g.contiguous()?, &Slope(activation))
}

struct Slope(Activation);

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "activation, backwards"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (mut y, g) = (floats(x, layout)?.to_vec(), floats(g, g_layout)?);
        if y.len() != g.len() {
            candle_core::bail!("activation: {} gradients for {} numbers", g.len(), y.len());
        }
        match self.0 {
            Activation::Gelu => wide!(gate_by(&mut y, g, gelu_slope)),
            Activation::GeluTanh => wide!(gate_by(&mut y, g, gelu_tanh_slope)),
            Activation::Relu => wide!(gate_by(&mut y, g, |x| f32::from(x > 0.0))),
            Activation::Silu => wide!(gate_by(&mut y, g, silu_slope)),
            Activation::Tanh => wide!(gate_by(&mut y, g, |x| 1.0 - tanh(x) * tanh(x))),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn gate_by(gates: &mut [f32], up: &[f32], f: impl Fn(f32) -> f32) {
    for (gate, up) in gates.iter_mut().zip(up) {
        *gate = f(*gate) * up;
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + math::exp(-x))
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn tanh(x: f32) -> f32 {
    // from both sides of 0, where 1 - 2/(1 + e^2x) would lose all digits of a small x
    let a = x.abs();
    let small = a * (1.0 - a * a * (1.0 / 3.0 - a * a * (2.0 / 15.0 - a * a * (17.0 / 315.0))));
    let large = 1.0 - 2.0 / (1.0 + math::exp(2.0 * a));
    (if a < 0.1 { small } else { large }).copysign(x)
}

#[inline(always)]
#[allow(clippy::inline_always)] // so that the loop is compiled for the instruction set that dispatch chose
fn map(values: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in values {
        *value = f(*value);
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + math::erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn gelu_tanh(x: f32) -> f32 {
    // (1 + tanh z)/2 = 1 / (1 + e^-2z)
    let z = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    x / (1.0 + math::exp(-2.0 * z))
}

/// `Φ(x) + x φ(x)`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn gelu_slope(x: f32) -> f32 {
    const ONE_OVER_ROOT_TAU: f32 = 0.398_942_3;
    0.5 * (1.0 + math::erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * ONE_OVER_ROOT_TAU * math::exp(-0.5 * x * x)
}

/// With `s = σ(2z)`: `s + x s (1 - s) 2z'`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let z = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    let s = 1.0 / (1.0 + math::exp(-2.0 * z));
    s + x * s * (1.0 - s) * 2.0 * 0.797_884_6 * (1.0 + 0.134_145 * x * x)
}

/// With `s = σ(x)`: `s + x s (1 - s)`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn silu_slope(x: f32) -> f32 {
    let s = 1.0 / (1.0 + math::exp(-x));
    s + x * s * (1.0 - s)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn agrees_with_candle() -> Result<()> {
        let x = Tensor::arange(-6f32, 6.0, &Device::Cpu)?.affine(0.93, 0.01)?;
        let check = |ours: Activation, theirs: Tensor| -> Result<()> {
            let worst = (apply(ours, &x)? - theirs)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(worst < 2e-6, "{ours:?} is off by {worst:e}"); // f32 rounding of two formulas
            Ok(())
        };
        check(Activation::Gelu, x.gelu_erf()?)?;
        check(Activation::GeluTanh, x.gelu()?)?;
        check(Activation::Relu, x.relu()?)?;
        check(Activation::Tanh, x.tanh()?)?;
        check(Activation::Silu, x.silu()?)
    }

    #[test]
    fn a_gate_is_the_activation_times_the_other() -> Result<()> {
        let draw = || Tensor::randn(0f32, 2.0, (3, 5), &Device::Cpu);
        let (gate, up) = (draw()?, draw()?);
        for f in [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu, Activation::Tanh] {
            let want = (apply(f, &gate)? * &up)?;
            assert_eq!(gated(f, &gate, &up)?.to_vec2::<f32>()?, want.to_vec2::<f32>()?, "{f:?}");
        }
        assert!(gated(Activation::Relu, &gate, &gate.narrow(0, 0, 2)?).is_err());
        Ok(())
    }
}
