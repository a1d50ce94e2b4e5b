//! What a model computes, over maps in any form: encoders and decoders, by their wiring and switches.

use candle_core::{Device, Tensor};

use super::arch::{Transform, Wiring};
use super::build::{Model, Norm};
use super::linear::Linear;
use super::spec::{Head, ModelSpec, Pooling, Reads};
pub use super::tap::Tap;
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels;
use crate::engine::kernels::rope::Angles;
pub use block::{Between, Part};

mod block;

/// Rows of tokens, packed one after another without padding.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// Token types of all rows.
    pub type_ids: Vec<u32>,
    /// Row `i` is `offsets[i]..offsets[i + 1]`; one entry more than there are rows.
    pub offsets: Vec<usize>,
}

impl Packed {
    /// Packs rows of ids with their types.
    pub fn new<'a>(rows: impl IntoIterator<Item = (&'a [u32], &'a [u32])>) -> Self {
        let mut packed = Self { ids: Vec::new(), type_ids: Vec::new(), offsets: vec![0] };
        for (ids, types) in rows {
            packed.ids.extend_from_slice(ids);
            packed.type_ids.extend_from_slice(types);
            packed.offsets.push(packed.ids.len());
        }
        packed
    }
}

impl Model {
    /// What the model answers: logits `[rows, labels]`, `[tokens, labels]` or `[tokens, vocab]`, or vectors `[rows, hidden]`.
    ///
    /// Every row sees itself alone, so a row's answer does not depend on the batch that it stands in.
    ///
    /// # Errors
    ///
    /// A family that we can't run; a row without tokens or longer than the model's positions; an id beyond its table.
    pub fn forward(&self, batch: &Packed) -> Result<Tensor> {
        self.answer(&self.states(batch)?)
    }

    /// What the head reads, `[tokens or rows, hidden]`: the last hidden states, normed, pooled or transformed as the head
    /// wants them. An answer may be thousands of times as wide.
    ///
    /// # Errors
    ///
    /// As [`Model::forward`].
    pub fn states(&self, batch: &Packed) -> Result<Tensor> {
        let (run, wiring) = self.run(batch, None)?;
        let mut x = run.embed(wiring, batch)?;
        let last = wiring.blocks.len().saturating_sub(1);
        for (i, block) in wiring.blocks.iter().enumerate() {
            // Where the answer is read off one token a row, the last block works out no other
            x = run.block(block, &x, if i == last { run.spec.reads() } else { Reads::Every })?;
        }
        run.finish(wiring, &x)
    }

    /// What goes into the first block, `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// As [`Model::forward`].
    pub fn embed(&self, batch: &Packed) -> Result<Tensor> {
        let (run, wiring) = self.run(batch, None)?;
        run.embed(wiring, batch)
    }

    /// What the head reads, of what [`Model::pass`] gave for the last block.
    ///
    /// # Errors
    ///
    /// As [`Model::forward`].
    pub fn end(&self, batch: &Packed, x: &Tensor) -> Result<Tensor> {
        let (run, wiring) = self.run(batch, None)?;
        run.finish(wiring, x)
    }

    /// The answer to states `x: [tokens, hidden]` that came out of the last block for all tokens.
    ///
    /// # Errors
    ///
    /// As [`Model::forward`].
    pub fn finish(&self, batch: &Packed, x: &Tensor, tap: Option<&dyn Tap>) -> Result<Tensor> {
        let states = self.before_head(batch, x, tap)?;
        let (_, wiring) = self.runs()?;
        if let (Some(tap), Some(head)) = (tap, wiring.head) {
            tap.see(head, &states);
        }
        self.answer(&states)
    }

    /// What the head reads of states `x: [tokens, hidden]` that came out of the last block: see [`Model::states`].
    ///
    /// # Errors
    ///
    /// As [`Model::forward`].
    pub fn before_head(&self, batch: &Packed, x: &Tensor, tap: Option<&dyn Tap>) -> Result<Tensor> {
        let (run, wiring) = self.run(batch, tap)?;
        run.finish(wiring, &run.read(x, run.spec.reads())?)
    }

    fn run<'a>(&'a self, batch: &'a Packed, tap: Option<&'a dyn Tap>) -> Result<(Run<'a>, &'a Wiring)> {
        let (spec, wiring) = self.runs()?;
        check(spec, batch)?;
        Ok((Run::new(self, spec, batch, tap), wiring))
    }

    /// The head's answer to states of [`Model::states`].
    ///
    /// # Errors
    ///
    /// A family that we can't run.
    pub fn answer(&self, states: &Tensor) -> Result<Tensor> {
        let (_, wiring) = self.runs()?;
        let Some(head) = wiring.head else { return Ok(states.clone()) };
        let y = self.map(head)?.forward(states)?;
        Ok(match &self.head_bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    fn runs(&self) -> Result<(&ModelSpec, &Wiring)> {
        let cannot = || EngineError::Internal("this family of models can't be run".into());
        self.spec.as_ref().zip(self.wiring.as_ref()).ok_or_else(cannot)
    }

    fn map(&self, site: usize) -> Result<&Linear> {
        let missing = || EngineError::Internal(format!("there is no site {site}"));
        self.maps.get(site).map(AsRef::as_ref).ok_or_else(missing)
    }
}

fn check(spec: &ModelSpec, batch: &Packed) -> Result<()> {
    let wrong = |what: String| Err(EngineError::Internal(what));
    if let Some(row) = batch.offsets.windows(2).find(|w| w[1] <= w[0] || w[1] - w[0] > spec.positions) {
        return wrong(format!("a row of {} tokens: 1 to {} can be run", row[1].saturating_sub(row[0]), spec.positions));
    }
    if let Some(id) = batch.ids.iter().find(|id| **id as usize >= spec.vocab) {
        return wrong(format!("token id {id} is beyond the vocabulary of {}", spec.vocab));
    }
    // A model without the table does not look at them
    let types = spec.token_types;
    if let Some(id) = batch.type_ids.iter().find(|id| types > 0 && **id as usize >= types) {
        return wrong(format!("token type {id} is beyond the table of {types}"));
    }
    if batch.type_ids.len() != batch.ids.len() || batch.offsets.last() != Some(&batch.ids.len()) {
        return wrong("a batch whose parts differ in length".into());
    }
    Ok(())
}

/// One pass over a batch.
struct Run<'a> {
    model: &'a Model,
    spec: &'a ModelSpec,
    offsets: &'a [usize],
    /// Each token's place in its row.
    positions: Vec<u32>,
    angles: Option<Angles>,
    tap: Option<&'a dyn Tap>,
}

impl<'a> Run<'a> {
    fn new(model: &'a Model, spec: &'a ModelSpec, batch: &'a Packed, tap: Option<&'a dyn Tap>) -> Self {
        let lengths = batch.offsets.windows(2).map(|w| w[1] - w[0]);
        let positions = lengths.clone().flat_map(|length| 0..length as u32).collect();
        let longest = lengths.max().unwrap_or(0);
        let angles = spec.rope.as_ref().map(|rope| Angles::new(rope, spec.head_dim, longest));
        Self { model, spec, offsets: &batch.offsets, positions, angles, tap }
    }

    fn map(&self, site: usize) -> Result<&Linear> {
        self.model.map(site)
    }

    /// A site's outputs for `x: [tokens, in]`.
    fn apply(&self, site: usize, x: &Tensor) -> Result<Tensor> {
        let Some(tap) = self.tap else { return self.map(site)?.forward(x) };
        tap.see(site, x);
        if tap.has_seen_all() {
            return Ok(x.clone());
        }
        tap.pass(site, x, self.map(site)?.forward(x)?)
    }

    fn is_over(&self) -> bool {
        self.tap.is_some_and(Tap::has_seen_all)
    }

    fn norm(&self, index: usize, x: &Tensor) -> Result<Tensor> {
        let missing = || EngineError::Internal(format!("there is no norm {index}"));
        let Norm { gamma, beta, .. } = self.model.norms.get(index).ok_or_else(missing)?;
        Ok(match beta {
            Some(beta) => kernels::norm::layer_norm(x, gamma, beta, self.spec.norm_eps)?,
            None => kernels::norm::rms_norm(x, gamma, self.spec.norm_eps)?,
        })
    }

    /// `norm(token[id] + position[i] + type[t])`, `[tokens, hidden]`, of what the family has.
    fn embed(&self, wiring: &Wiring, batch: &Packed) -> Result<Tensor> {
        let ids = |ids: &[u32]| Tensor::from_slice(ids, ids.len(), &Device::Cpu);
        let mut x = self.map(wiring.token)?.rows(&ids(&batch.ids)?)?;
        if let Some(table) = wiring.position {
            let offset = self.spec.position_offset as u32;
            let places: Vec<u32> = self.positions.iter().map(|p| p + offset).collect();
            x = (x + self.map(table)?.rows(&ids(&places)?)?)?;
        }
        if let Some(table) = wiring.token_type {
            x = (x + self.map(table)?.rows(&ids(&batch.type_ids)?)?)?;
        }
        wiring.embedding_norm.map_or(Ok(x.clone()), |norm| self.norm(norm, &x))
    }

    /// The places in `x` of the tokens that are read; `None`: all.
    fn places(&self, reads: Reads) -> Option<Vec<u32>> {
        let rows = self.offsets.windows(2);
        match reads {
            Reads::First => Some(rows.map(|w| w[0] as u32).collect()),
            Reads::Last => Some(rows.map(|w| w[1].saturating_sub(1) as u32).collect()),
            Reads::Every => None,
        }
    }

    fn read(&self, x: &Tensor, reads: Reads) -> Result<Tensor> {
        let Some(places) = self.places(reads) else { return Ok(x.clone()) };
        Ok(x.index_select(&Tensor::from_slice(&places, places.len(), &Device::Cpu)?, 0)?)
    }

    fn read_positions(&self, reads: Reads) -> Vec<u32> {
        let at = |place: &u32| self.positions.get(*place as usize).copied().unwrap_or(0);
        self.places(reads).map_or_else(|| self.positions.clone(), |places| places.iter().map(at).collect())
    }

    /// From the last block's states to what the head reads.
    fn finish(&self, wiring: &Wiring, x: &Tensor) -> Result<Tensor> {
        let x = wiring.final_norm.map_or(Ok(x.clone()), |norm| self.norm(norm, x))?;
        if let Some(Transform { site, activation, norm }) = &wiring.transform {
            let y = kernels::activation::apply(*activation, &self.apply(*site, &x)?)?;
            return norm.map_or(Ok(y.clone()), |norm| self.norm(norm, &y));
        }
        let Head::Embedding { pooling, normalize } = &self.spec.head else { return Ok(x) };
        // The last block left one token a row, unless all are pooled
        let pooled = if *pooling == Pooling::Mean { self.means(&x)? } else { x };
        if !normalize {
            return Ok(pooled);
        }
        let length = pooled.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
        Ok(pooled.broadcast_div(&length)?)
    }

    fn means(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.offsets.windows(2).map(|w| x.narrow(0, w[0], w[1] - w[0])?.mean(0));
        Ok(Tensor::stack(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }
}
