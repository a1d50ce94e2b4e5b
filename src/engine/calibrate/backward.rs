//! Gradients on their way back through a model: from the loss of drawn labels to the first block.
//!
//! The rows go forward once, and the states before every block are held, in memory up to a budget and beyond it in scratch files. Then
//! each block, from the last to the first, works out its forward pass again and hands the gradient of its output on to its
//! input: of everything that a backward pass needs only one block of some batches is ever there, and of the sums only one
//! block's.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use super::gradients::{Gates, GradientSites, Gradients, WantedGradients};
use super::held::Held;
use super::labels;
use super::stream::{BATCH_ROWS, BATCH_TOKENS, in_order};
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, batches};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::build::Model;
use crate::engine::model::forward::{Packed, Tap};

/// Numbers of answers that are worked on at a time, where rows need not be whole.
const ANSWERS: usize = 4 << 20;

/// Rows that have gone through a model and go back.
pub struct Backward {
    batches: Vec<Batch>,
    /// Blocks that are not gone back through yet.
    left: usize,
    folder: Option<PathBuf>,
}

/// Some rows, and where they are.
struct Batch {
    packed: Packed,
    /// The rows' places among all.
    places: Vec<usize>,
    /// What goes into each block that is left, and what comes out of the last of them.
    states: Vec<Held>,
    /// `∂L/∂` of what comes out of the last that is left; none before the labels are drawn.
    gradient: Option<Held>,
}

impl Backward {
    /// Sends all rows through all blocks. `name` keeps the files of several passes apart. Of a model that does not fit in memory one
    /// block at a time is there, here and on the way back.
    ///
    /// # Cost
    ///
    /// A forward pass, and `4 · tokens · hidden · (blocks + 2)` bytes of memory if that is no more than the budget, else of scratch.
    ///
    /// # Errors
    ///
    /// As the forward pass; a scratch folder that can't be written to.
    pub fn new(model: &Model, rows: &Encoded, name: &str, budget_bytes: u64, ctx: &RunContext<'_>) -> Result<Self> {
        let plan = batches(&rows.lengths(), BATCH_ROWS, BATCH_TOKENS);
        let blocks = model.wiring.as_ref().map_or(0, |wiring| wiring.blocks.len());
        let hidden = model.spec.as_ref().map_or(0, |spec| spec.hidden as u64);
        let tokens: u64 = rows.ids.iter().map(|row| row.len() as u64).sum();
        let bytes = (4 * hidden * tokens).saturating_mul(blocks as u64 + 2);
        let folder = (bytes > budget_bytes).then(|| ctx.scratch.join(format!("backward-{name}")));
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).map_err(EngineError::io(folder, "created"))?;
        }
        let row = |place: &usize| Some((rows.ids.get(*place)?.as_slice(), rows.type_ids.get(*place)?.as_slice()));
        let batch = |places: Vec<usize>| Batch {
            packed: Packed::new(places.iter().filter_map(row)),
            places,
            states: Vec::with_capacity(blocks + 1),
            gradient: None,
        };
        let mut this = Self { batches: plan.into_iter().map(batch).collect(), left: blocks, folder };
        let tables = model.at_tables()?;
        this.forward("0", ctx, |batch| tables.embed(&batch.packed))?;
        for block in 0..blocks {
            let here = model.at_block(block)?;
            let name = (block + 1).to_string();
            this.forward(&name, ctx, |batch| here.block(block, &batch.packed, &batch.last()?, None))?;
        }
        Ok(this)
    }

    /// One step of all batches, to states that are held as well.
    fn forward(
        &mut self,
        name: &str,
        ctx: &RunContext<'_>,
        one: impl Fn(&Batch) -> Result<Tensor> + Sync,
    ) -> Result<()> {
        let this = &*self;
        let mut held = Vec::with_capacity(this.batches.len());
        let step = |i: usize| this.hold(i, name, &one(this.batch(i)?)?);
        in_order(this.batches.len(), ctx, step, |states| {
            held.push(states);
            Ok(())
        })?;
        self.batches.iter_mut().zip(held).for_each(|(batch, held)| batch.states.push(held));
        Ok(())
    }

    fn batch(&self, i: usize) -> Result<&Batch> {
        self.batches.get(i).ok_or_else(|| EngineError::Internal(format!("there is no batch {i}")))
    }

    /// Blocks that are not gone back through yet: the next is the one of this number less 1.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Draws the labels of all rows (`seed`: the same ones for the same rows and answers) and goes back to what comes out of the last block. Sums
    /// of those of `sites` that stand behind the blocks; of a tied table as the head that it is, not as a table. All rows begin
    /// here, and what was gone back through before is not there any more.
    ///
    /// # Cost
    ///
    /// Two to three forward passes of the head and what stands before it; where the head is among the sites, the answers of
    /// one row on each thread, else a few megabytes of them.
    ///
    /// # Errors
    ///
    /// As the forward pass; a pass that has begun already.
    pub fn begin(
        &mut self,
        model: &Model,
        sites: &[usize],
        wanted: WantedGradients,
        seed: u64,
        ctx: &RunContext<'_>,
    ) -> Result<GradientSites> {
        if self.batches.iter().any(|batch| batch.gradient.is_some()) {
            return Err(EngineError::Internal("the labels are drawn already".into()));
        }
        let model = &model.at_end()?;
        self.step(ctx, |this, i, batch| {
            let x = Var::from_tensor(&batch.last()?)?;
            let probes = Probes::new(sites);
            let read = model.before_head(&batch.packed, &x, Some(&probes))?;
            let (gradient, head) = batch.answer(model, &read.detach(), (sites, wanted, seed))?;
            let store = (read * gradient)?.sum_all()?.backward()?;
            let mut sums = probes.sums(model, &store, &batch.packed.offsets, wanted)?;
            sums.extend(head);
            Ok((this.hold(i, "gradient", &found(&store, &x)?)?, sums))
        })
    }

    /// Goes back through the last block that is left, with the sums of those of its sites that are asked for.
    ///
    /// # Cost
    ///
    /// About three forward passes of the block, and what the sums cost; of memory, on each thread, all that the block works out
    /// for a batch.
    ///
    /// # Errors
    ///
    /// As the forward pass; no block that is left, and labels that are not drawn yet ([`Backward::begin`]).
    pub fn retreat(
        &mut self,
        model: &Model,
        sites: &[usize],
        wanted: WantedGradients,
        ctx: &RunContext<'_>,
    ) -> Result<GradientSites> {
        let at_the_start = || EngineError::Internal("there is no block to go back through".into());
        let block = self.left.checked_sub(1).ok_or_else(at_the_start)?;
        if self.batches.iter().any(|batch| batch.gradient.is_none()) {
            return Err(EngineError::Internal("the labels are not drawn yet".into()));
        }
        for batch in &mut self.batches {
            // What came out of it is worked out again
            batch.states.truncate(self.left);
        }
        let model = &model.at_block(block)?;
        let sums = self.step(ctx, |this, i, batch| {
            let gradient = batch.gradient.as_ref().map(Held::read).transpose()?.ok_or_else(at_the_start)?;
            let x = Var::from_tensor(&batch.last()?)?;
            let probes = Probes::new(sites);
            let y = model.block(block, &batch.packed, &x, Some(&probes))?;
            let store = (y * gradient)?.sum_all()?.backward()?;
            let sums = probes.sums(model, &store, &batch.packed.offsets, wanted)?;
            Ok((this.hold(i, "gradient", &found(&store, &x)?)?, sums))
        })?;
        self.left = block;
        Ok(sums)
    }

    /// One step back of all batches, as many at a time as there are threads; sums are added in order, so they do not depend on
    /// how many those are.
    fn step(
        &mut self,
        ctx: &RunContext<'_>,
        one: impl Fn(&Self, usize, &Batch) -> Result<(Held, GradientSites)> + Sync,
    ) -> Result<GradientSites> {
        let (mut held, mut all) = (Vec::with_capacity(self.batches.len()), GradientSites::new());
        let this = &*self;
        let step = |i: usize| one(this, i, this.batch(i)?);
        in_order(this.batches.len(), ctx, step, |(gradient, sums)| {
            held.push(gradient);
            for (site, sums) in sums {
                all.entry(site).or_default().add(&sums)?;
            }
            Ok(())
        })?;
        for (batch, gradient) in self.batches.iter_mut().zip(held) {
            batch.gradient = Some(gradient);
        }
        Ok(all)
    }

    fn hold(&self, batch: usize, what: &str, states: &Tensor) -> Result<Held> {
        match &self.folder {
            None => Ok(Held::Memory(states.clone())),
            Some(folder) => Held::write(folder.join(format!("{batch}-{what}")), states),
        }
    }
}

impl Drop for Backward {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // The scratch folder is swept with its job; this only gives the room back early
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Batch {
    fn last(&self) -> Result<Tensor> {
        self.states.last().ok_or_else(|| EngineError::Internal("no states are left".into()))?.read()
    }

    /// From what the head reads to the loss: the gradient of it, and the head's sums if it is among the sites.
    fn answer(
        &self,
        model: &Model,
        read: &Tensor,
        (sites, wanted, seed): (&[usize], WantedGradients, u64),
    ) -> Result<(Tensor, Option<(usize, Gradients)>)> {
        let cannot = || EngineError::Internal("this family of models can't be run".into());
        let (spec, wiring) = model.spec.as_ref().zip(model.wiring.as_ref()).ok_or_else(cannot)?;
        let head = wiring.head.filter(|head| sites.contains(head));
        let (width, one_each) = (spec.width().max(1), (0..=self.places.len()).collect::<Vec<_>>());
        let offsets = if spec.answers_by_token() { &self.packed.offsets } else { &one_each };
        let (mut gradients, mut sums) = (Vec::new(), Gradients::default());
        for (row, place) in offsets.windows(2).zip(&self.places) {
            let mut rng = labels::of_row(seed, *place);
            let most = if head.is_some() { row[1] - row[0] } else { (ANSWERS / width).max(1) };
            for start in (row[0]..row[1]).step_by(most.max(1)) {
                let tokens = most.min(row[1] - start);
                let x = Var::from_tensor(&read.narrow(0, start, tokens)?.contiguous()?)?;
                let answer = model.answer(&x)?;
                let score = labels::drawn(&spec.head, &answer.flatten_all()?.to_vec1::<f32>()?, width, &mut rng);
                let score = Tensor::from_vec(score, answer.shape(), answer.device())?;
                let store = (answer * &score)?.sum_all()?.backward()?;
                let gradient = found(&store, &x)?;
                if head.is_some() {
                    let mut row = Gradients::of(&x, &score, &[0, tokens], wanted)?;
                    row.gates = wanted.gates.then(|| Gates::of(&x, &gradient, &[0, tokens], 1)).transpose()?;
                    sums.add(&row)?;
                }
                gradients.push(gradient);
            }
        }
        Ok((Tensor::cat(&gradients, 0)?, head.map(|head| (head, sums))))
    }
}

fn found(store: &GradStore, x: &Var) -> Result<Tensor> {
    let gradient = store.get(x).ok_or_else(|| EngineError::Internal("the gradient was lost on its way".into()))?;
    Ok(gradient.detach().contiguous()?)
}

/// Adds a variable of zeros to what some sites give: its gradient is that of their outputs.
struct Probes<'a> {
    sites: &'a [usize],
    seen: Mutex<BTreeMap<usize, (Tensor, Var)>>,
}

impl<'a> Probes<'a> {
    const fn new(sites: &'a [usize]) -> Self {
        Self { sites, seen: Mutex::new(BTreeMap::new()) }
    }

    /// Sums of what came back to the sites. Rows whose last or first token alone was read have one token each.
    fn sums(
        self,
        model: &Model,
        store: &GradStore,
        offsets: &[usize],
        wanted: WantedGradients,
    ) -> Result<GradientSites> {
        let seen = self.seen.into_inner().map_err(|_| broken())?;
        let one_each: Vec<usize> = (0..offsets.len()).collect();
        let sums = |(site, (x, probe)): (usize, (Tensor, Var))| {
            let offsets = if offsets.last() == Some(&x.dim(0)?) { offsets } else { &one_each };
            let g = found(store, &probe)?;
            let mut sums = Gradients::of(&x, &g, offsets, wanted)?;
            if wanted.gates {
                let z = input_gradient(model, site, &x, &g)?;
                sums.gates = Some(Gates::of(&x, &z, offsets, gate_width(model, site))?);
            }
            Ok((site, sums))
        };
        seen.into_iter().map(sums).collect()
    }
}

impl Tap for Probes<'_> {
    fn see(&self, _: usize, _: &Tensor) {}

    fn pass(&self, site: usize, x: &Tensor, y: Tensor) -> Result<Tensor> {
        if !self.sites.contains(&site) {
            return Ok(y);
        }
        let probe = Var::zeros(y.shape(), DType::F32, y.device())?;
        let y = (y + probe.as_tensor())?;
        self.seen.lock().map_err(|_| broken())?.insert(site, (x.detach(), probe));
        Ok(y)
    }
}

fn broken() -> EngineError {
    EngineError::Internal("a tap broke down".into())
}

/// `∂L/∂X` of a site alone.
fn input_gradient(model: &Model, site: usize, x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let map = model.maps.get(site).ok_or_else(|| EngineError::Internal(format!("there is no site {site}")))?;
    let x = Var::from_tensor(x)?;
    let store = (map.forward(&x)? * g)?.sum_all()?.backward()?;
    found(&store, &x)
}

/// Inputs that one gate stands for: a head's at the attention's output.
fn gate_width(model: &Model, site: usize) -> usize {
    let blocks = model.wiring.iter().flat_map(|wiring| &wiring.blocks);
    let head_dim = model.spec.as_ref().map_or(1, |spec| spec.head_dim);
    if blocks.into_iter().any(|block| block.attention.output == site) { head_dim } else { 1 }
}

#[cfg(test)]
mod tests;
