//! How far a site's outputs are from the original's, on what the original's site is fed.

use std::sync::Mutex;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::SiteSpec;
use crate::engine::model::arch::Wiring;
use crate::engine::model::build::Model;
use crate::engine::model::forward::{Packed, Tap};
use crate::engine::model::linear::Linear;

mod fed;

pub(super) use fed::{Fed, Watch};

/// Rows that are looked at, spread evenly over all.
const MOST_ROWS: usize = 32;
/// Their tokens together; a single row may have more.
const MOST_TOKENS: usize = 4096;
/// Outputs that are held at a time: a head's may be as wide as the vocabulary.
const MOST_OUTPUTS: usize = 1 << 22;

/// `‖X Wᵀ − X Ŵᵀ‖ / ‖X Wᵀ‖` of every site, `X` being what the original's is fed by at most 32 rows and 4,096 tokens; of a table,
/// of the entries that these look up. Biases are left out. Where a layer norm follows, of what it sees: each token's outputs
/// without their mean. `None` where no row comes through.
///
/// # Cost
///
/// Three forward passes over these rows, block by block: of models that stay in their files one block is in memory. The sums
/// are taken row by row in the rows' order, so they do not depend on threads.
///
/// # Errors
///
/// As the forward pass; maps of other shapes than the original's.
pub(super) fn errors(
    original: &Model,
    result: &Model,
    rows: &Encoded,
    ctx: &RunContext<'_>,
) -> Result<Vec<Option<f64>>> {
    let Some(wiring) = &original.wiring else { return Ok(vec![None; original.sites.len()]) };
    let rows = few(rows);
    let mut sums = vec![Sums::default(); original.sites.len()];
    let mut add = |found: Vec<Seen>| -> Vec<Tensor> {
        let one = |(x, more): Seen| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| sum.join(more));
            x
        };
        found.into_iter().map(one).collect()
    };
    // Of either model what is looked at is in memory, and no more
    let pair = Pair { original: &original.at_tables()?, result: &result.at_tables()?, wiring };
    let mut states = add(rows.par_iter().map(|row| pair.tables(row)).collect::<Result<_>>()?);
    for block in 0..wiring.blocks.len() {
        let pair = Pair { original: &original.at_block(block)?, result: &result.at_block(block)?, wiring };
        let step = |(row, x): (&Packed, &Tensor)| pair.watch(|tap| pair.original.block(block, row, x, Some(tap)));
        states = add(rows.par_iter().zip(states.par_iter()).map(step).collect::<Result<_>>()?);
        ctx.progress(block + 1, wiring.blocks.len(), "blocks")?;
    }
    let pair = Pair { original: &original.at_end()?, result: &result.at_end()?, wiring };
    let end = |(row, x): (&Packed, &Tensor)| pair.watch(|tap| pair.original.finish(row, x, Some(tap)));
    add(rows.par_iter().zip(states.par_iter()).map(end).collect::<Result<_>>()?);
    Ok(sums.into_iter().map(Sums::relative).collect())
}

/// The states of a row, and what was found of every site on the way.
type Seen = (Tensor, Vec<Sums>);

/// The entries of every table that a row looks up, by site.
fn looked_up(model: &Model, wiring: &Wiring, row: &Packed) -> Result<Vec<(usize, Tensor)>> {
    let offset = model.spec.as_ref().map_or(0, |spec| spec.position_offset as u32);
    let places: Vec<u32> = (0..row.ids.len() as u32).map(|place| place + offset).collect();
    let tables = [(Some(wiring.token), &row.ids), (wiring.position, &places), (wiring.token_type, &row.type_ids)];
    let known = tables.into_iter().filter_map(|(site, ids)| Some((site?, ids)));
    known.map(|(site, ids)| Ok((site, Tensor::from_slice(ids, ids.len(), &Device::Cpu)?))).collect()
}

/// The rows that are looked at, each by itself.
fn few(rows: &Encoded) -> Vec<Packed> {
    let sample = rows.select(&sample(&rows.lengths()));
    let row = |(ids, types): (&Vec<u32>, &Vec<u32>)| Packed::new([(ids.as_slice(), types.as_slice())]);
    sample.ids.iter().zip(&sample.type_ids).map(row).collect()
}

/// The places of the rows that are looked at.
fn sample(lengths: &[usize]) -> Vec<usize> {
    let count = lengths.len().min(MOST_ROWS);
    let mut tokens = 0;
    let fits = |place: &usize| {
        let before = tokens;
        tokens += lengths.get(*place).copied().unwrap_or(0);
        before == 0 || tokens <= MOST_TOKENS
    };
    (0..count).map(|i| i * lengths.len() / count.max(1)).take_while(fits).collect()
}

/// `‖Y − Ŷ‖²` and `‖Y‖²`, summed over tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    off: f64,
    norm: f64,
}

impl Sums {
    /// Adds the outputs `[tokens, out]` of some tokens; without each token's mean where a layer norm follows.
    fn add(&mut self, original: &[f32], result: &[f32], (out, centered): (usize, bool)) {
        for (a, b) in original.chunks(out.max(1)).zip(result.chunks(out.max(1))) {
            let mean = |y: &[f32]| {
                let sum = y.iter().map(|y| f64::from(*y)).sum::<f64>();
                if centered { sum / y.len().max(1) as f64 } else { 0.0 }
            };
            let (a_mean, b_mean) = (mean(a), mean(b));
            for (a, b) in a.iter().zip(b) {
                let (a, b) = (f64::from(*a) - a_mean, f64::from(*b) - b_mean);
                self.off += (a - b) * (a - b);
                self.norm += a * a;
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.off += other.off;
        self.norm += other.norm;
    }

    /// `‖Y − Ŷ‖ / ‖Y‖`; `None` of nothing.
    fn relative(self) -> Option<f64> {
        (self.norm > 0.0).then(|| (self.off / self.norm).sqrt())
    }
}

/// Original and result, as far as they are looked at, decoded.
struct Pair<'a> {
    original: &'a Model,
    result: &'a Model,
    wiring: &'a Wiring,
}

impl Pair<'_> {
    /// What a row looks up in the tables, and the states that come of it.
    fn tables(&self, row: &Packed) -> Result<Seen> {
        let mut sums = vec![Sums::default(); self.original.sites.len()];
        for (site, ids) in looked_up(self.original, self.wiring, row)? {
            let (before, after) = self.maps(site)?;
            self.compare(site, &before.rows(&ids)?, &after.rows(&ids)?, &mut sums)?;
        }
        Ok((self.original.embed(row)?, sums))
    }

    /// What sites put out while something runs.
    fn watch(&self, run: impl FnOnce(&dyn Tap) -> Result<Tensor>) -> Result<Seen> {
        let taps = Outputs { pair: self, sums: Mutex::new(Ok(vec![Sums::default(); self.original.sites.len()])) };
        let x = run(&taps)?;
        let sums = taps.sums.into_inner().map_err(|_| EngineError::Internal("a tap broke down".into()))??;
        Ok((x, sums))
    }

    fn maps(&self, site: usize) -> Result<(&Linear, &Linear)> {
        let maps = self.original.maps.get(site).zip(self.result.maps.get(site));
        maps.map(|(a, b)| (a.as_ref(), b.as_ref())).ok_or_else(lost)
    }

    /// Outputs for `x: [tokens, in]`.
    fn outputs(&self, site: usize, x: &Tensor, sums: &mut [Sums]) -> Result<()> {
        let maps = self.maps(site)?;
        let (spec, sum) = self.original.sites.get(site).zip(sums.get_mut(site)).ok_or_else(lost)?;
        outputs(spec, maps, x, sum)
    }

    fn compare(&self, site: usize, before: &Tensor, after: &Tensor, sums: &mut [Sums]) -> Result<()> {
        let (spec, sum) = self.original.sites.get(site).zip(sums.get_mut(site)).ok_or_else(lost)?;
        compare(spec, before, after, sum)
    }
}

/// Adds what a site makes of `x: [tokens, in]` before and after, a few tokens at a time and without biases.
fn outputs(spec: &SiteSpec, (before, after): (&Linear, &Linear), x: &Tensor, sum: &mut Sums) -> Result<()> {
    let unbiased = |linear: &Linear| Linear { bias: None, ..linear.clone() };
    let (before, after) = (unbiased(before), unbiased(after));
    let (tokens, some) = (x.dim(0)?, (MOST_OUTPUTS / spec.out.max(1)).max(1));
    for start in (0..tokens).step_by(some) {
        let x = x.narrow(0, start, some.min(tokens - start))?.contiguous()?;
        compare(spec, &before.forward(&x)?, &after.forward(&x)?, sum)?;
    }
    Ok(())
}

/// Adds what a site puts out, `[tokens, out]`, before and after.
fn compare(spec: &SiteSpec, before: &Tensor, after: &Tensor, sum: &mut Sums) -> Result<()> {
    if before.dims() != after.dims() {
        return Err(EngineError::Internal(format!("{} has another shape than the original's", spec.site)));
    }
    let numbers = |y: &Tensor| Ok::<_, EngineError>(y.flatten_all()?.to_vec1::<f32>()?);
    sum.add(&numbers(before)?, &numbers(after)?, (before.dim(1)?, spec.is_centered));
    Ok(())
}

fn lost() -> EngineError {
    EngineError::Internal("original and result have other sites".into())
}

/// Compares what a site makes of what it is fed, as it passes.
struct Outputs<'a> {
    pair: &'a Pair<'a>,
    sums: Mutex<Result<Vec<Sums>>>,
}

impl Tap for Outputs<'_> {
    fn see(&self, site: usize, x: &Tensor) {
        // A table that is the head as well is a table
        if site == self.pair.wiring.token {
            return;
        }
        let Ok(mut sums) = self.sums.lock() else { return };
        let failed = match sums.as_mut() {
            Ok(sums) => self.pair.outputs(site, x, sums).err(),
            Err(_) => None,
        };
        if let Some(error) = failed {
            *sums = Err(error);
        }
    }
}

#[cfg(test)]
mod tests;
