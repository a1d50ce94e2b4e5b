//! The linear map itself.
#![allow(unsafe_code)] // the matrix product takes pointers and strides

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::floats;

/// `y = x Wᵀ (+ b)`.
///
/// `x: [tokens, in]`, `weight: [out, in]`, `bias: [out]`, `y: [tokens, out]`. Costs `2 · tokens · in · out` flops.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3_no_bwd(&weight, &bias.contiguous()?, &Op),
        None => x.apply_op2_no_bwd(&weight, &Op),
    }
}

struct Op;

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
        let mut y = vec![0f32; tokens * out];
        product(&mut y, floats(x, x_layout)?, floats(w, w_layout)?, (tokens, out, r#in), false);
        Ok((CpuStorage::F32(y), Shape::from((tokens, out))))
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
        product(&mut y, floats(x, x_layout)?, floats(w, w_layout)?, (tokens, out, r#in), true);
        Ok((CpuStorage::F32(y), Shape::from((tokens, out))))
    }
}

fn shape(x: &Layout, w: &Layout) -> Result<(usize, usize, usize)> {
    let ((tokens, width), (out, r#in)) = (x.shape().dims2()?, w.shape().dims2()?);
    if width != r#in {
        candle_core::bail!("linear: x is [{tokens}, {width}], the weight [{out}, {in}]", in = r#in);
    }
    Ok((tokens, out, r#in))
}

/// `y (+)= x Wᵀ` over row-major slices of exactly `[tokens, out]`, `[tokens, in]`, `[out, in]`.
fn product(y: &mut [f32], x: &[f32], w: &[f32], (tokens, out, r#in): (usize, usize, usize), add: bool) {
    assert_eq!((y.len(), x.len(), w.len()), (tokens * out, tokens * r#in, out * r#in));
    // SAFETY: the assertion above holds every pointer's reach inside its slice: row i, column j of y lies at
    // i·out + j, of x at i·in + j, of Wᵀ at j·in + i; y does not overlap the others, for it is borrowed mutably.
    unsafe {
        gemm::gemm(
            tokens,
            out,
            r#in,
            y.as_mut_ptr(),
            1,
            out as isize,
            add,
            x.as_ptr(),
            1,
            r#in as isize,
            w.as_ptr(),
            r#in as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
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
