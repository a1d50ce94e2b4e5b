//! All rows through a model, in batches of like length.
//!
//! A model in memory answers batch by batch, on all threads at once. Of one that stays in its file ([`Model::is_stored`]) a
//! block at a time is read, and all batches go through it before the next one is: every number of the file is read once, and
//! what is held is one block and the states between two. Both give the same bits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use rayon::prelude::*;

use crate::engine::calibrate::Held;
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, batches};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::build::Model;
use crate::engine::model::forward::Packed;

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 64;
/// Tokens of a batch, at most; a longer row is a batch of its own.
const BATCH_TOKENS: usize = 4096;
/// States between two blocks are held in memory up to this, and in scratch files beyond it.
const STATES_BYTES: u64 = 512 << 20;

/// A batch whose rows have gone through.
pub(super) struct Passed<'a> {
    /// The model, with its head in memory.
    pub(super) model: &'a Model,
    /// The rows' places.
    pub(super) places: &'a [usize],
    /// The rows.
    pub(super) batch: &'a Packed,
    /// What the head reads of them ([`Model::states`]).
    pub(super) states: Tensor,
}

/// Runs all rows and hands every batch on as it has gone through. Batches depend on the lengths of the rows alone. Gives the
/// rows' places with what was made of them.
///
/// # Cost
///
/// One forward pass without the head; memory for one batch's activations a thread.
///
/// # Errors
///
/// As the forward pass and what is made of it; a scratch folder that can't be written to.
pub(super) fn each<T: Send>(
    model: &Model,
    rows: &Encoded,
    ctx: &RunContext<'_>,
    see: impl Fn(&Passed<'_>) -> Result<T> + Sync,
) -> Result<Vec<(Vec<usize>, T)>> {
    let plan = plan(rows);
    let done = AtomicUsize::new(0);
    let tell = |places: &Vec<usize>| {
        let done = done.fetch_add(places.len(), Ordering::Relaxed) + places.len();
        ctx.progress(done, rows.ids.len(), "rows")
    };
    // One batch a task: they are few and long, and the longest ones come last
    if !model.is_stored() {
        let model = &model.realized()?;
        let run = |places: Vec<usize>| {
            let batch = pack(rows, &places);
            let seen = see(&Passed { model, places: &places, batch: &batch, states: model.states(&batch)? })?;
            tell(&places)?;
            Ok((places, seen))
        };
        return plan.into_par_iter().rev().with_max_len(1).map(run).collect();
    }
    let packed = |places: Vec<usize>| {
        let batch = pack(rows, &places);
        (places, batch)
    };
    let plan: Vec<(Vec<usize>, Packed)> = plan.into_iter().rev().map(packed).collect();
    let between = Between::new(model, &plan, ctx)?;
    let held = by_block(model, &plan, &between, ctx)?;
    let model = &model.at_end()?;
    let end = |((places, batch), held): ((Vec<usize>, Packed), Held)| {
        let states = model.end(&batch, &held.read()?)?;
        let seen = see(&Passed { model, places: &places, batch: &batch, states })?;
        tell(&places)?;
        Ok((places, seen))
    };
    plan.into_par_iter().zip(held).with_max_len(1).map(end).collect()
}

/// The places of the rows of every batch: they depend on the lengths of the rows alone.
pub(super) fn plan(rows: &Encoded) -> Vec<Vec<usize>> {
    batches(&rows.lengths(), BATCH_ROWS, BATCH_TOKENS)
}

/// The rows of a batch, packed.
pub(super) fn pack(rows: &Encoded, places: &[usize]) -> Packed {
    let row = |place: &usize| Some((rows.ids.get(*place)?.as_slice(), rows.type_ids.get(*place)?.as_slice()));
    Packed::new(places.iter().filter_map(row))
}

/// The states that come out of the last block, batch by batch.
fn by_block(
    model: &Model,
    plan: &[(Vec<usize>, Packed)],
    between: &Between,
    ctx: &RunContext<'_>,
) -> Result<Vec<Held>> {
    let tables = model.at_tables()?;
    let embed = |(i, (_, batch)): (usize, &(Vec<usize>, Packed))| between.hold(i, tables.embed(batch)?);
    let mut held: Vec<Held> = plan.par_iter().enumerate().map(embed).collect::<Result<_>>()?;
    let blocks = model.wiring.as_ref().map_or(0, |wiring| wiring.blocks.len());
    for index in 0..blocks {
        let here = model.at_block(index)?;
        let pass = |(i, held): (usize, Held)| {
            let missing = || EngineError::Internal(format!("there is no batch {i}"));
            let (_, batch) = plan.get(i).ok_or_else(missing)?;
            between.hold(i, here.pass(index, batch, &held.read()?)?)
        };
        held = held.into_par_iter().enumerate().with_max_len(1).map(pass).collect::<Result<_>>()?;
        ctx.progress(index + 1, blocks, "blocks")?;
    }
    Ok(held)
}

/// Where states between two blocks are held.
struct Between(Option<PathBuf>);

impl Between {
    fn new(model: &Model, plan: &[(Vec<usize>, Packed)], ctx: &RunContext<'_>) -> Result<Self> {
        let hidden = model.spec.as_ref().map_or(0, |spec| spec.hidden as u64);
        let tokens = plan.iter().map(|(_, batch)| batch.ids.len() as u64).sum::<u64>();
        if tokens.saturating_mul(4 * hidden) <= STATES_BYTES {
            return Ok(Self(None));
        }
        let folder = ctx.scratch.join("states-measured");
        fs::create_dir_all(&folder).map_err(EngineError::io(&folder, "created"))?;
        Ok(Self(Some(folder)))
    }

    fn hold(&self, i: usize, states: Tensor) -> Result<Held> {
        match self.0.as_deref().map(|folder: &Path| folder.join(i.to_string())) {
            Some(path) => Held::write(path, &states),
            None => Ok(Held::Memory(states)),
        }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        // The scratch folder is swept with its job; this only gives the room back early
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
