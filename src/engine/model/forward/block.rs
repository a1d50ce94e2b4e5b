//! A block, whole or in parts: between two of them stands what the sites of the next are fed.

use candle_core::Tensor;

use super::{Packed, Run, Tap};
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels;
use crate::engine::kernels::attention::{Attending, Offsets};
use crate::engine::model::arch::{AttentionWiring, BlockWiring, Projections};
use crate::engine::model::build::Model;
use crate::engine::model::spec::{NormPlace, Reads};

/// The parts of a block in the order of computation: the sites that are fed the same, and what follows up to the next of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Queries, keys and values; then attention.
    Projections,
    /// The attention's last map; then residual and norm.
    Output,
    /// The mlp's first maps; then activation.
    Wide,
    /// Its last map; then residual and norm.
    Down,
}

impl Part {
    /// All of them, as [`BlockWiring::groups`] gives their sites.
    pub const ALL: [Self; 4] = [Self::Projections, Self::Output, Self::Wide, Self::Down];
}

/// What stands between two parts of a block.
#[derive(Debug, Clone)]
pub struct Between {
    /// What the next part's sites are fed, `[tokens, in]`.
    pub fed: Tensor,
    /// What is added to what comes of it, `[tokens, hidden]`.
    pub residual: Tensor,
}

impl Model {
    /// What comes out of a block that is given `x: [tokens, hidden]`: of all tokens, also in the last one.
    ///
    /// # Errors
    ///
    /// As [`Model::forward`]; a block that is not there.
    pub fn block(&self, index: usize, batch: &Packed, x: &Tensor, tap: Option<&dyn Tap>) -> Result<Tensor> {
        let (run, wiring) = self.run(batch, tap)?;
        run.block(wiring.blocks.get(index).ok_or_else(|| no_block(index))?, x, Reads::Every)
    }

    /// What goes into the first part of a block that is given `x: [tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// As [`Model::block`].
    pub fn enter(&self, index: usize, batch: &Packed, x: &Tensor) -> Result<Between> {
        let (run, wiring) = self.run(batch, None)?;
        run.enter(wiring.blocks.get(index).ok_or_else(|| no_block(index))?, x, Reads::Every)
    }

    /// What goes into the part behind `part`, of all tokens; behind the last one both are what comes out of the block.
    ///
    /// # Errors
    ///
    /// As [`Model::block`].
    pub fn part(&self, index: usize, part: Part, batch: &Packed, at: Between) -> Result<Between> {
        let (run, wiring) = self.run(batch, None)?;
        run.part(wiring.blocks.get(index).ok_or_else(|| no_block(index))?, part, at, Reads::Every)
    }

    /// As [`Model::block`] on the way to an answer: where that is read off one token a row, the last block works out no other.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn pass(&self, index: usize, batch: &Packed, x: &Tensor) -> Result<Tensor> {
        let (run, wiring) = self.run(batch, None)?;
        let reads = if index + 1 == wiring.blocks.len() { run.spec.reads() } else { Reads::Every };
        run.block(wiring.blocks.get(index).ok_or_else(|| no_block(index))?, x, reads)
    }
}

fn no_block(index: usize) -> EngineError {
    EngineError::Internal(format!("there is no block {index}"))
}

impl Run<'_> {
    /// All parts of a block in turn, of one token of every row alone, if so asked.
    pub(super) fn block(&self, block: &BlockWiring, x: &Tensor, reads: Reads) -> Result<Tensor> {
        let mut at = self.enter(block, x, reads)?;
        for part in Part::ALL {
            at = self.part(block, part, at, reads)?;
            if self.is_over() {
                break;
            }
        }
        Ok(at.fed)
    }

    fn enter(&self, block: &BlockWiring, x: &Tensor, reads: Reads) -> Result<Between> {
        let fed = match self.spec.norm_place {
            NormPlace::Post => x.clone(),
            NormPlace::Pre => self.norm(block.attention_norm, x)?,
        };
        Ok(Between { fed, residual: self.read(x, reads)? })
    }

    /// Half of a block is `x ← norm(x + f(x))` or `x ← x + f(norm(x))`, for attention and then for the mlp; a part is half of `f`.
    fn part(&self, block: &BlockWiring, part: Part, at: Between, reads: Reads) -> Result<Between> {
        let Between { fed, residual } = at;
        let inner = |fed, residual| Ok(Between { fed, residual });
        match part {
            Part::Projections => inner(self.mixed(&block.attention, &fed, reads)?, residual),
            Part::Wide => inner(self.widened(block, &fed)?, residual),
            Part::Output | Part::Down => {
                let y = self.apply(if part == Part::Output { block.attention.output } else { block.down }, &fed)?;
                if self.is_over() {
                    return inner(y, residual);
                }
                let x = (y + residual)?;
                match (self.spec.norm_place, part) {
                    (NormPlace::Post, _) => {
                        let norm = if part == Part::Output { block.attention_norm } else { block.mlp_norm };
                        let x = self.norm(norm, &x)?;
                        inner(x.clone(), x)
                    }
                    (NormPlace::Pre, Part::Output) => inner(self.norm(block.mlp_norm, &x)?, x),
                    (NormPlace::Pre, _) => inner(x.clone(), x),
                }
            }
        }
    }

    /// What goes into the mlp's last map.
    fn widened(&self, block: &BlockWiring, x: &Tensor) -> Result<Tensor> {
        let up = self.apply(block.up, x)?;
        let gate = block.gate.map(|gate| self.apply(gate, x)).transpose()?;
        if self.is_over() {
            return Ok(up);
        }
        Ok(match gate {
            Some(gate) => kernels::activation::gated(self.spec.activation, &gate, &up)?,
            None => kernels::activation::apply(self.spec.activation, &up)?,
        })
    }

    /// What attention makes of the tokens, before its last map.
    fn mixed(&self, attention: &AttentionWiring, x: &Tensor, reads: Reads) -> Result<Tensor> {
        let (q, k, v) = self.project(attention, x, reads)?;
        if self.is_over() {
            return Ok(q);
        }
        let positions = self.read_positions(reads);
        let (q, k) = match attention.head_norms {
            Some((query, key)) => (self.norm(query, &q)?, self.norm(key, &k)?),
            None => (q, k),
        };
        let (q, k) = match &self.angles {
            Some(angles) => {
                let turned = kernels::rope::rotate(&q, &positions, angles)?;
                (turned, kernels::rope::rotate(&k, &self.positions, angles)?)
            }
            None => (q, k),
        };
        let one_each: Vec<usize> = (0..self.offsets.len()).collect();
        let asking = if reads == Reads::Every { self.offsets } else { &one_each };
        let how = Attending {
            heads: self.spec.heads,
            kv_heads: self.spec.kv_heads,
            scale: attention.scale,
            is_causal: self.spec.is_causal,
            window: attention.window,
        };
        let rows = Offsets { asking, seen: self.offsets, asks_first: reads == Reads::First };
        if let Some(tap) = self.tap {
            tap.attend(&q, &k, how, rows)?;
        }
        Ok(kernels::attention::attention(&q, &k, &v, how, rows)?)
    }

    /// Queries of the tokens that are read, keys and values of all.
    fn project(&self, attention: &AttentionWiring, x: &Tensor, reads: Reads) -> Result<(Tensor, Tensor, Tensor)> {
        match attention.projections {
            Projections::Split { query, key, value } => {
                let q = self.apply(query, &self.read(x, reads)?)?;
                Ok((q, self.apply(key, x)?, self.apply(value, x)?))
            }
            Projections::Fused(site) => {
                let all = self.apply(site, x)?;
                if self.is_over() {
                    return Ok((all.clone(), all.clone(), all));
                }
                let (queries, keys) = (self.spec.heads * self.spec.head_dim, self.spec.kv_heads * self.spec.head_dim);
                let part = |start, width| Ok::<_, EngineError>(all.narrow(1, start, width)?.contiguous()?);
                let q = self.read(&part(0, queries)?, reads)?;
                Ok((q, part(queries, keys)?, part(queries + keys, keys)?))
            }
        }
    }
}
