//! The inner loops, in f32, fused where memory traffic would dominate. The instruction set is chosen at run time.
//!
//! Every kernel works on one thread: the caller runs many batches at once, which scales better than splitting
//! matrices of this size, and makes results independent of the number of threads. Tokens are packed: `[tokens, width]`
//! holds the rows of a batch one after another without padding, and `offsets` says where each begins.
//!
//! Kernels that states pass through have a backward pass as well, which costs nothing where no input is a variable: there is one
//! forward pass, not one for answers and another for gradients. Weights, scales and shifts have no gradient here; a variable
//! in their place is an error, never a gradient that stops in silence.

/// What an expression comes to, compiled once for each instruction set, run with the widest that this processor has.
macro_rules! wide {
    ($loops:expr) => {
        pulp::Arch::new().dispatch($crate::engine::kernels::Loops(
            #[inline(always)]
            || $loops,
        ))
    };
}

pub mod activation;
pub mod attention;
pub mod feedback;
pub mod gram;
pub mod half;
pub mod int8;
pub mod linear;
pub mod logits;
pub mod math;
pub mod norm;
pub mod product;
pub mod rope;
pub mod rounding;
pub mod sums;
pub mod triangle;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};

/// Refuses the gradient of what a kernel takes as given.
fn given(name: &str, tensors: &[&Tensor]) -> Result<()> {
    if tensors.iter().any(|tensor| tensor.track_op()) {
        candle_core::bail!("{name}: only states have a gradient");
    }
    Ok(())
}

/// Loops for [`wide!`]. Whatever is not inlined into the function that has the instruction set is compiled for any processor
/// and runs a third as fast; that happens to closures that are called as `FnOnce`, for such a call goes through a function
/// that has no `inline` of its own.
struct Loops<F>(F);

impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Loops<F> {
    type Output = R;

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// The f32 numbers behind a contiguous tensor.
fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("a kernel needs contiguous tensors".into()))?;
    all.get(start..end).ok_or_else(|| candle_core::Error::Msg("a layout reaches past its storage".into()))
}

/// Looks at the f32 numbers of a tensor, row by row, without a copy of those that lie so in this machine's memory.
pub fn look<R>(x: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    if let (Storage::Cpu(numbers), true) = (&*storage, layout.is_contiguous()) {
        return Ok(look(floats(numbers, layout)?));
    }
    drop(storage);
    Ok(look(&x.flatten_all()?.to_vec1::<f32>()?))
}

#[cfg(test)]
mod tests;
