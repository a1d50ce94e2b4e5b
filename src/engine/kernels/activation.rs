//! The mlp's nonlinearities, elementwise, in place.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::Arch;

use super::{floats, math};
use crate::engine::model::spec::Activation;

/// `f(x)` for every element; any shape.
///
/// gelu is `x/2 (1 + erf(x/√2))` (Hendrycks & Gimpel 2016), gelu-tanh its approximation
/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, silu is `x / (1 + e^-x)`.
pub fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Op(activation))
}

struct Op(Activation);

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = floats(storage, layout)?.to_vec();
        let arch = Arch::new();
        match self.0 {
            Activation::Gelu => arch.dispatch(|| map(&mut y, gelu)),
            Activation::GeluTanh => arch.dispatch(|| map(&mut y, gelu_tanh)),
            Activation::Relu => arch.dispatch(|| map(&mut y, |x| x.max(0.0))),
            Activation::Silu => arch.dispatch(|| map(&mut y, |x| x / (1.0 + math::exp(-x)))),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
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
        check(Activation::Silu, x.silu()?)
    }
}
