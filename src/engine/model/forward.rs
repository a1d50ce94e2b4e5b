//! What a post-norm encoder computes, over maps in any form.

use candle_core::{Device, Tensor};

use super::arch::{BlockWiring, Wiring};
use super::build::{Model, Norm};
use super::linear::Linear;
use super::spec::{Head, ModelSpec, Pooling};
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels;
use crate::engine::kernels::attention::Offsets;

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
    /// Logits `[rows, labels]`, or pooled vectors `[rows, hidden]`.
    ///
    /// Every row sees itself alone, so a row's answer does not depend on the batch that it stands in.
    ///
    /// # Errors
    ///
    /// A family that we can't run; a row without tokens or longer than the position table; an id beyond its table.
    pub fn forward(&self, batch: &Packed) -> Result<Tensor> {
        let (Some(spec), Some(wiring)) = (&self.spec, &self.wiring) else {
            return Err(EngineError::Internal("this family of models can't be run".into()));
        };
        check(spec, batch)?;
        let run = Run { model: self, spec, offsets: &batch.offsets };
        let mut x = run.embed(wiring, batch)?;
        let last = wiring.blocks.len().saturating_sub(1);
        for (i, block) in wiring.blocks.iter().enumerate() {
            // Where the answer is read off the first token, the last block works out no other
            x = run.block(block, &x, i == last && spec.head.reads_first_token())?;
        }
        run.answer(wiring, &x)
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
    if let Some(id) = batch.type_ids.iter().find(|id| **id as usize >= spec.token_types) {
        return wrong(format!("token type {id} is beyond the table of {}", spec.token_types));
    }
    if batch.type_ids.len() != batch.ids.len() || batch.offsets.last() != Some(&batch.ids.len()) {
        return wrong("a batch whose parts differ in length".into());
    }
    Ok(())
}

struct Run<'a> {
    model: &'a Model,
    spec: &'a ModelSpec,
    offsets: &'a [usize],
}

impl Run<'_> {
    fn map(&self, site: usize) -> Result<&Linear> {
        self.model
            .maps
            .get(site)
            .map(AsRef::as_ref)
            .ok_or_else(|| EngineError::Internal(format!("there is no site {site}")))
    }

    fn norm(&self, index: usize, x: &Tensor) -> Result<Tensor> {
        let missing = || EngineError::Internal(format!("there is no norm {index}"));
        let Norm { gamma, beta, .. } = self.model.norms.get(index).ok_or_else(missing)?;
        Ok(kernels::norm::layer_norm(x, gamma, beta, self.spec.norm_eps)?)
    }

    /// `LN(token[id] + position[i] + type[t])`, `[tokens, hidden]`.
    fn embed(&self, wiring: &Wiring, batch: &Packed) -> Result<Tensor> {
        let ids = |ids: &[u32]| Tensor::from_slice(ids, ids.len(), &Device::Cpu);
        let positions: Vec<u32> = self.offsets.windows(2).flat_map(|w| 0..(w[1] - w[0]) as u32).collect();
        let mut x = self.map(wiring.token)?.rows(&ids(&batch.ids)?)?;
        x = (x + self.map(wiring.position)?.rows(&ids(&positions)?)?)?;
        if let Some(table) = wiring.token_type {
            x = (x + self.map(table)?.rows(&ids(&batch.type_ids)?)?)?;
        }
        self.norm(wiring.embedding_norm, &x)
    }

    /// `x ← LN(x + attention(x))`, `x ← LN(x + mlp(x))`; of the first token of every row alone, if so asked.
    fn block(&self, block: &BlockWiring, x: &Tensor, first: bool) -> Result<Tensor> {
        let asking = if first { self.first_tokens(x)? } else { x.clone() };
        let one_each: Vec<usize> = (0..self.offsets.len()).collect();
        let rows = Offsets { asking: if first { &one_each } else { self.offsets }, seen: self.offsets };
        let q = self.map(block.query)?.forward(&asking)?;
        let (k, v) = (self.map(block.key)?.forward(x)?, self.map(block.value)?.forward(x)?);
        let scale = 1.0 / (self.spec.head_dim as f32).sqrt();
        let mixed = kernels::attention::attention(&q, &k, &v, self.spec.heads, scale, rows)?;
        let x = self.norm(block.attention_norm, &(self.map(block.output)?.forward(&mixed)? + asking)?)?;
        let wide = kernels::activation::apply(self.spec.activation, &self.map(block.up)?.forward(&x)?)?;
        self.norm(block.mlp_norm, &(self.map(block.down)?.forward(&wide)? + &x)?)
    }

    fn answer(&self, wiring: &Wiring, x: &Tensor) -> Result<Tensor> {
        match &self.spec.head {
            Head::Classification { .. } => {
                // The last block left one token a row
                let mut y = x.clone();
                if let Some(pooler) = wiring.pooler {
                    y = self.map(pooler)?.forward(&y)?.tanh()?;
                }
                let head = wiring.head.ok_or_else(|| EngineError::Internal("a classifier without a head".into()))?;
                self.map(head)?.forward(&y)
            }
            Head::Embedding { pooling, normalize } => {
                let pooled = match pooling {
                    Pooling::Cls => x.clone(),
                    Pooling::Mean => self.means(x)?,
                };
                if !normalize {
                    return Ok(pooled);
                }
                let length = pooled.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
                Ok(pooled.broadcast_div(&length)?)
            }
        }
    }

    fn first_tokens(&self, x: &Tensor) -> Result<Tensor> {
        let first: Vec<u32> = self.offsets.iter().take(self.offsets.len() - 1).map(|o| *o as u32).collect();
        Ok(x.index_select(&Tensor::from_slice(&first, first.len(), &Device::Cpu)?, 0)?)
    }

    fn means(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.offsets.windows(2).map(|w| x.narrow(0, w[0], w[1] - w[0])?.mean(0));
        Ok(Tensor::stack(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }
}
