//! What may look on while a batch passes through a model.

use candle_core::Tensor;

use crate::engine::error::Result;
use crate::engine::kernels::attention::{Attending, Offsets};

/// Looks at what sites are fed while a batch passes.
pub trait Tap: Sync {
    /// `x: [tokens, in]` goes into the site of that index.
    fn see(&self, site: usize, x: &Tensor);

    /// What goes on in place of what the site made of `x`, `y: [tokens, out]`. The head's answer does not come by here.
    ///
    /// # Errors
    ///
    /// The tap's own.
    fn pass(&self, _site: usize, _x: &Tensor, y: Tensor) -> Result<Tensor> {
        Ok(y)
    }

    /// Whether it has seen all that it wants: then nothing more of the block is worked out, and what comes out of it is no
    /// block's.
    fn has_seen_all(&self) -> bool {
        false
    }

    /// Queries and keys that are about to attend, turned and normed: see [`crate::engine::kernels::attention`].
    ///
    /// # Errors
    ///
    /// The tap's own.
    fn attend(&self, _q: &Tensor, _k: &Tensor, _how: Attending, _rows: Offsets<'_>) -> Result<()> {
        Ok(())
    }
}
