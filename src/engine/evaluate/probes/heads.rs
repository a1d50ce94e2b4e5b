//! How much each head adds to what its layer puts out.
//!
//! A head's outputs go through its own columns of the output projection, and the layer's output is the sum over heads. The
//! length of a head's term, averaged over tokens, is its importance: what attention weights alone do not show (Kobayashi et
//! al. 2020, arXiv 2004.10102, section 3: the norms of the transformed vectors). The entropy of the heads' shares tells whether
//! they share the work or one does it all; `exp` of it is a number of heads (Hill 1973).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use rayon::prelude::*;

use super::Balance;
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, batches};
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::linear::linear;
use crate::engine::model::build::Model;
use crate::engine::model::forward::{Packed, Tap};
use crate::engine::model::linear::{Input, Linear};

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 64;
/// Tokens of a batch, at most; a longer row is a batch of its own.
const BATCH_TOKENS: usize = 4096;
/// A head that adds less than this share of what the model's strongest adds is counted as gone.
const GONE: f64 = 1e-6;

/// What the heads of a model add, row by row.
pub(super) struct Contributions {
    layers: usize,
    heads: usize,
    rows: Vec<Added>,
}

/// What heads add in one row.
struct Added {
    tokens: f64,
    /// For every layer and head, the sum over tokens of the length of what it adds.
    sums: Vec<f64>,
}

/// Runs a model, and looks at what goes into every layer's output projection.
///
/// # Cost
///
/// One forward pass, and the output projections once more. A model that stays in its file is read once for every batch.
///
/// # Errors
///
/// As the forward pass.
pub(super) fn contributions(model: &Model, rows: &Encoded, ctx: &RunContext<'_>) -> Result<Contributions> {
    let model = model.realized()?;
    let cannot = || EngineError::Internal("this family of models can't be run".into());
    let (spec, wiring) = model.spec.as_ref().zip(model.wiring.as_ref()).ok_or_else(cannot)?;
    let sites: Vec<usize> = wiring.blocks.iter().map(|block| block.attention.output).collect();
    let tables = if model.is_stored() { model.at_tables()? } else { model.clone() };
    let done = AtomicUsize::new(0);
    let plan = batches(&rows.lengths(), BATCH_ROWS, BATCH_TOKENS);
    let run = |places: &Vec<usize>| -> Result<Vec<(usize, Added)>> {
        let row = |place: &usize| Some((rows.ids.get(*place)?.as_slice(), rows.type_ids.get(*place)?.as_slice()));
        let batch = Packed::new(places.iter().filter_map(row));
        let lengths = batch.offsets.windows(2).map(|w| (w[1].saturating_sub(w[0])) as f64);
        let mut found: Vec<Added> = lengths.map(|tokens| Added { tokens, sums: Vec::new() }).collect();
        let mut x = tables.embed(&batch)?;
        for (layer, site) in sites.iter().enumerate() {
            let here = if model.is_stored() { &model.at_block(layer)? } else { &model };
            let tap = Fed { site: *site, seen: Mutex::default() };
            x = here.block(layer, &batch, &x, Some(&tap))?;
            let mixed = tap.seen.into_inner().ok().flatten();
            let mixed = mixed.ok_or_else(|| EngineError::Internal("a layer without an output".into()))?;
            // Cut anew for every batch: far less work than the pass, and one layer's alone in memory
            add(&columns(here, *site, spec.heads)?, &mixed, &batch.offsets, &mut found)?;
        }
        let done = done.fetch_add(places.len(), Ordering::Relaxed) + places.len();
        ctx.progress(done, rows.ids.len(), "rows")?;
        Ok(places.iter().copied().zip(found).collect())
    };
    let found = plan.par_iter().rev().with_max_len(1).map(run).collect::<Result<Vec<_>>>()?;
    let mut found: Vec<(usize, Added)> = found.into_iter().flatten().collect();
    found.sort_by_key(|(place, _)| *place);
    let rows: Vec<Added> = found.into_iter().map(|(_, row)| row).collect();
    if rows.iter().flat_map(|row| &row.sums).any(|sum| !sum.is_finite()) {
        return Err(EngineError::Internal("what a head adds is not finite".into()));
    }
    Ok(Contributions { layers: sites.len(), heads: spec.heads, rows })
}

/// Keeps what a site is fed.
struct Fed {
    site: usize,
    seen: Mutex<Option<Tensor>>,
}

impl Tap for Fed {
    fn see(&self, site: usize, x: &Tensor) {
        if site == self.site
            && let Ok(mut seen) = self.seen.lock()
        {
            *seen = Some(x.clone());
        }
    }
}

/// A layer's output projection, head by head: `[out, head_dim]` each.
fn columns(model: &Model, site: usize, heads: usize) -> Result<Vec<Tensor>> {
    let missing = || EngineError::Internal(format!("there is no site {site}"));
    let Linear { map, input, .. } = model.maps.get(site).ok_or_else(missing)?.as_ref();
    let weight = map.to_dense(&candle_core::Device::Cpu)?;
    let weight = match input {
        Input::Scale(scale) => weight.broadcast_mul(scale)?,
        Input::None | Input::DynamicInt8 | Input::StaticInt8 { .. } => weight,
    };
    let width = weight.dim(1)? / heads.max(1);
    (0..heads).map(|head| Ok(weight.narrow(1, head * width, width)?.contiguous()?)).collect()
}

/// Adds the lengths of what every head of a layer adds to each row's.
fn add(columns: &[Tensor], mixed: &Tensor, offsets: &[usize], rows: &mut [Added]) -> Result<()> {
    let width = mixed.dim(1)? / columns.len().max(1);
    for (head, columns) in columns.iter().enumerate() {
        let own = mixed.narrow(1, head * width, width)?.contiguous()?;
        let lengths = linear(&own, columns, None)?.sqr()?.sum(1)?.sqrt()?.to_vec1::<f32>()?;
        for (row, added) in offsets.windows(2).zip(rows.iter_mut()) {
            let lengths = lengths.get(row[0]..row[1]).unwrap_or_default();
            added.sums.push(lengths.iter().map(|x| f64::from(*x)).sum());
        }
    }
    Ok(())
}

impl Contributions {
    /// Rows that were looked at.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Mean length of what every head of every layer adds, over the tokens of these rows.
    fn means(&self, rows: &[usize]) -> Vec<f64> {
        let mut all = vec![0f64; self.layers * self.heads];
        let mut tokens = 0f64;
        for row in rows.iter().filter_map(|row| self.rows.get(*row)) {
            tokens += row.tokens;
            all.iter_mut().zip(&row.sums).for_each(|(all, sum)| *all += sum);
        }
        all.into_iter().map(|sum| sum / tokens.max(1.0)).collect()
    }

    /// Effective heads of the layer that has fewest.
    pub(super) fn fewest(&self, rows: &[usize]) -> f64 {
        let fewest = self.means(rows).chunks(self.heads.max(1)).map(effective).fold(f64::INFINITY, f64::min);
        if fewest.is_finite() { fewest } else { 0.0 }
    }

    /// Every layer, over all rows.
    pub(super) fn layers(&self) -> Vec<Balance> {
        let means = self.means(&(0..self.rows.len()).collect::<Vec<_>>());
        let strongest = means.iter().copied().fold(0f64, f64::max);
        let balance = |layer: &[f64]| Balance {
            kept: layer.iter().filter(|x| **x > GONE * strongest).count() as u64,
            effective: effective(layer),
            importances: layer.to_vec(),
        };
        means.chunks(self.heads.max(1)).map(balance).collect()
    }
}

/// `exp(−Σ s ln s)` of the shares `s`; 0 where there is nothing to share.
fn effective(importances: &[f64]) -> f64 {
    let whole: f64 = importances.iter().sum();
    if whole <= 0.0 {
        return 0.0;
    }
    let shares = importances.iter().map(|x| x / whole).filter(|share| *share > 0.0);
    shares.map(|share| -share * share.ln()).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::effective;

    #[test]
    fn heads_that_add_alike_count_whole_and_none_counts_for_nothing() {
        assert!((effective(&[2.0; 4]) - 4.0).abs() < 1e-12);
        assert!((effective(&[0.0, 3.0, 0.0]) - 1.0).abs() < 1e-12);
        assert!(effective(&[1.0, 0.01]) > 1.0 && effective(&[1.0, 0.01]) < 1.1);
        assert_eq!((effective(&[0.0; 4]), effective(&[])), (0.0, 0.0));
    }
}
