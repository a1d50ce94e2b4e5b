//! What values are made of: the inputs of a block as each head's attention mixes them.

use std::sync::Mutex;

use candle_core::Tensor;

use super::{Moments, Stream, in_order};
use crate::engine::calibrate::Wanted;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::attention::{Attending, Offsets, mixed};
use crate::engine::model::arch::Projections;
use crate::engine::model::build::Model;
use crate::engine::model::forward::Tap;

impl Stream {
    /// Moments of `P_h X`, `[tokens, in]`, one for each head of queries: `X` is what the values' site of the next block is fed, `P_h`
    /// the head's attention. So with [`Wanted::gram`] `(P_h X)ᵀ (P_h X)`, in whose metric the head's product of value and output
    /// has to be approximated: the head gives `P_h X W_Vᵀ W_Oᵀ`. Attention weighs already: [`Wanted::weights`] is not looked at.
    ///
    /// # Cost
    ///
    /// The block's forward pass, and for each head `2 · Σ length² · in` flops and what its moments cost.
    ///
    /// # Errors
    ///
    /// As the forward pass; no block that is next.
    pub fn look_values(&self, model: &Model, wanted: Wanted, ctx: &RunContext<'_>) -> Result<Vec<Moments>> {
        let missing = || EngineError::Internal("there is no next block".into());
        let block = model.wiring.as_ref().and_then(|wiring| wiring.blocks.get(self.next)).ok_or_else(missing)?;
        let site = match block.attention.projections {
            Projections::Split { value, .. } => value,
            Projections::Fused(site) => site,
        };
        let one = |i: usize| -> Result<Vec<Moments>> {
            let tap = Mixed { site, wanted, fed: Mutex::default(), found: Mutex::default() };
            model.block(self.next, self.batch(i)?, &self.states(i)?, Some(&tap))?;
            tap.found.into_inner().map_err(|_| broken())
        };
        let mut all: Vec<Moments> = Vec::new();
        in_order(self.batches.len(), ctx, one, |heads| {
            all.resize_with(heads.len(), Moments::default);
            all.iter_mut().zip(&heads).try_for_each(|(all, head)| all.add(head))
        })?;
        Ok(all)
    }
}

/// Takes the moments of every head while a batch passes.
struct Mixed {
    site: usize,
    wanted: Wanted,
    fed: Mutex<Option<Tensor>>,
    found: Mutex<Vec<Moments>>,
}

impl Tap for Mixed {
    fn see(&self, site: usize, x: &Tensor) {
        if site == self.site
            && let Ok(mut fed) = self.fed.lock()
        {
            *fed = Some(x.clone());
        }
    }

    fn attend(&self, q: &Tensor, k: &Tensor, how: Attending, rows: Offsets<'_>) -> Result<()> {
        let fed = self.fed.lock().map_err(|_| broken())?.take().ok_or_else(broken)?;
        let of_head = |head| Moments::of(&mixed(q, k, &fed, head, how, rows)?, None, self.wanted);
        *self.found.lock().map_err(|_| broken())? = (0..how.heads).map(of_head).collect::<Result<_>>()?;
        Ok(())
    }
}

fn broken() -> EngineError {
    EngineError::Internal("a tap broke down".into())
}
