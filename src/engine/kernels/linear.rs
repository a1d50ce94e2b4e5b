//! The linear map itself.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::product::{View, fresh, product};
use super::{floats, given};

/// `y = x Wᵀ (+ b)`.
///
/// `x: [tokens, in]`, `weight: [out, in]`, `bias: [out]`, `y: [tokens, out]`. Costs `2 · tokens · in · out` flops. Backwards
/// `∂L/∂x = ∂L/∂y W`, at the same cost.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Op),
        None => x.apply_op2(&weight, Op),
    }
}

struct Op;

impl Op {
    /// `G W`.
    fn back(weight: &Tensor, y_gradient: &Tensor) -> Result<Tensor> {
        y_gradient.contiguous()?.apply_op2_no_bwd(&weight.detach(), &Back)
    }
}

struct Back;

impl CustomOp2 for Back {
    fn name(&self) -> &'static str {
        "linear, backwards"
    }

    fn cpu_fwd(
        &self,
        g: &CpuStorage,
        g_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((tokens, width), (out, r#in)) = (g_layout.shape().dims2()?, w_layout.shape().dims2()?);
        if width != out {
            candle_core::bail!("linear: gradients are {width} wide, the map gives {out}");
        }
        let (g, w) = (floats(g, g_layout)?, floats(w, w_layout)?);
        let x = fresh(View::new(g, (tokens, out), out), View::new(w, (out, r#in), r#in));
        Ok((CpuStorage::F32(x), Shape::from((tokens, r#in))))
    }
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, out, r#in) = shape(x_layout, w_layout)?;
        let (x, w) = views(floats(x, x_layout)?, floats(w, w_layout)?, (tokens, out, r#in));
        Ok((CpuStorage::F32(fresh(x, w)), Shape::from((tokens, out))))
    }

    fn bwd(&self, _: &Tensor, w: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        given("linear", &[w])?;
        Ok((Some(Self::back(w, g)?), None))
    }
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        "linear with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, out, r#in) = shape(x_layout, w_layout)?;
        let bias = floats(b, b_layout)?;
        if bias.len() != out {
            candle_core::bail!("linear: {} biases for {out} outputs", bias.len());
        }
        // The product is added to the bias, so that y is written once
        let mut y = Vec::with_capacity(tokens * out);
        for _ in 0..tokens {
            y.extend_from_slice(bias);
        }
        product(&mut y, out, views(floats(x, x_layout)?, floats(w, w_layout)?, (tokens, out, r#in)), 1.0, true);
        Ok((CpuStorage::F32(y), Shape::from((tokens, out))))
    }

    fn bwd(
        &self,
        _: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        given("linear", &[w, b])?;
        Ok((Some(Self::back(w, g)?), None, None))
    }
}

fn shape(x: &Layout, w: &Layout) -> Result<(usize, usize, usize)> {
    let ((tokens, width), (out, r#in)) = (x.shape().dims2()?, w.shape().dims2()?);
    if width != r#in {
        candle_core::bail!("linear: x is [{tokens}, {width}], the weight [{out}, {in}]", in = r#in);
    }
    Ok((tokens, out, r#in))
}

/// `x` and `Wᵀ` over row-major `[tokens, in]` and `[out, in]`.
fn views<'a>(x: &'a [f32], w: &'a [f32], (tokens, out, r#in): (usize, usize, usize)) -> (View<'a>, View<'a>) {
    (View::new(x, (tokens, r#in), r#in), View::new(w, (out, r#in), r#in).transposed())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn agrees_with_candle_in_odd_shapes() -> Result<()> {
        let device = Device::Cpu;
        for (tokens, out, r#in) in [(1, 1, 1), (7, 5, 3), (33, 100, 48), (64, 20, 384)] {
            let x = Tensor::randn(0f32, 1.0, (tokens, r#in), &device)?;
            let w = Tensor::randn(0f32, 1.0, (out, r#in), &device)?;
            let b = Tensor::randn(0f32, 1.0, out, &device)?;
            let want = x.matmul(&w.t()?)?;
            let off = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
            // sums of up to 384 products of unit size in two orders
            assert!(off(&linear(&x, &w, None)?, &want)? < 2e-4);
            assert!(off(&linear(&x, &w, Some(&b))?, &want.broadcast_add(&b)?)? < 2e-4);
        }
        assert!(
            linear(
                &Tensor::zeros((2, 3), candle_core::DType::F32, &device)?,
                &Tensor::zeros((2, 4), candle_core::DType::F32, &device)?,
                None
            )
            .is_err()
        );
        Ok(())
    }
}
