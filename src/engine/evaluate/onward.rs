//! Rows on their way through a model, from where models that differ further on alone go on.
//!
//! A model of which one map is changed answers as the original up to the block of that map. So many such models are measured
//! for half the price: the states that go into the next block are the original's, and only what comes after is run.

use candle_core::Tensor;
use rayon::prelude::*;

use super::pass::{self, Passed};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::build::Model;
use crate::engine::model::forward::Packed;

/// All rows before a model's tables, before one of its blocks, or behind the last.
#[derive(Debug)]
pub struct Entrance {
    /// The rows' places, and the rows: the batches of a whole pass, so that answers have the same bits.
    batches: Vec<(Vec<usize>, Packed)>,
    /// What goes into the next block, batch by batch; `None` before the tables.
    states: Option<Vec<Tensor>>,
    /// The block that is next.
    next: usize,
}

/// How rows come through a model.
#[derive(Clone, Copy)]
pub(super) enum Way<'a, 'c> {
    /// From the tables on; progress is told.
    Whole(&'a RunContext<'c>),
    /// From where they stand.
    Onward(&'a Entrance),
}

impl Way<'_, '_> {
    /// Hands every batch on as it has gone through: see [`pass::each`].
    pub(super) fn each<T: Send>(
        self,
        model: &Model,
        rows: &Encoded,
        see: impl Fn(&Passed<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<(Vec<usize>, T)>> {
        match self {
            Self::Whole(ctx) => pass::each(model, rows, ctx, see),
            Self::Onward(entrance) => entrance.each(model, see),
        }
    }
}

impl Entrance {
    /// Before the tables.
    pub fn new(rows: &Encoded) -> Self {
        let packed = |places: Vec<usize>| {
            let batch = pass::pack(rows, &places);
            (places, batch)
        };
        Self { batches: pass::plan(rows).into_iter().map(packed).collect(), states: None, next: 0 }
    }

    /// Goes on: through the tables first, then through a block each time. `4 · tokens · hidden` bytes are held.
    ///
    /// # Cost
    ///
    /// A block's forward pass over all rows.
    ///
    /// # Errors
    ///
    /// As the forward pass; a block that is not there.
    pub fn advance(&mut self, model: &Model) -> Result<()> {
        let step = |i: usize| -> Result<Tensor> {
            let (_, batch) = self.batch(i)?;
            match self.state(i) {
                Some(x) => model.pass(self.next, batch, x),
                None => model.embed(batch),
            }
        };
        let states = (0..self.batches.len()).into_par_iter().map(step).collect::<Result<Vec<_>>>()?;
        self.next += usize::from(self.states.is_some());
        self.states = Some(states);
        Ok(())
    }

    /// Runs the rest of a model on all rows. What comes before must be what the rows came through.
    fn each<T: Send>(
        &self,
        model: &Model,
        see: impl Fn(&Passed<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<(Vec<usize>, T)>> {
        let blocks = model.wiring.as_ref().map_or(0, |wiring| wiring.blocks.len());
        let run = |i: usize| -> Result<(Vec<usize>, T)> {
            let (places, batch) = self.batch(i)?;
            let mut x = self.state(i).map_or_else(|| model.embed(batch), |x| Ok(x.clone()))?;
            for block in self.next..blocks {
                x = model.pass(block, batch, &x)?;
            }
            let seen = see(&Passed { model, places, batch, states: model.end(batch, &x)? })?;
            Ok((places.clone(), seen))
        };
        (0..self.batches.len()).into_par_iter().with_max_len(1).map(run).collect()
    }

    fn batch(&self, i: usize) -> Result<&(Vec<usize>, Packed)> {
        self.batches.get(i).ok_or_else(|| EngineError::Internal(format!("there is no batch {i}")))
    }

    fn state(&self, i: usize) -> Option<&Tensor> {
        self.states.as_ref()?.get(i)
    }
}
