//! Activations between two blocks, of the original and of the model that is being compressed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use candle_core::Tensor;
use rayon::prelude::*;

use super::held::Held;
use super::{Moments, TokenWeights, Wanted};
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, batches};
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::attention::{Attending, Offsets, received};
use crate::engine::model::ModelSpec;
use crate::engine::model::build::Model;
use crate::engine::model::forward::{Packed, Part, Tap};
use crate::engine::model::spec::Reads;

mod inside;
mod values;

/// Rows of a batch, at most.
pub(super) const BATCH_ROWS: usize = 64;
/// Tokens of a batch, at most; a longer row is a batch of its own.
pub(super) const BATCH_TOKENS: usize = 2048;

/// Moments by index of the site.
pub type Sites = BTreeMap<usize, Moments>;

/// Rows on their way through a model: the states that go into its next block.
///
/// States are held in memory up to a budget, and beyond it in scratch files.
pub struct Stream {
    batches: Vec<Packed>,
    held: Vec<Held>,
    /// Inside a block: the part that is next, and what its sites are fed. `held` are then residuals.
    at: Option<Part>,
    fed: Vec<Held>,
    /// The block that is next.
    next: usize,
    folder: PathBuf,
    budget_bytes: u64,
}

impl Stream {
    /// Looks all rows up in the model's tables. `name` keeps the files of several streams apart.
    ///
    /// # Errors
    ///
    /// As the forward pass; a scratch folder that can't be written to.
    pub fn new(model: &Model, rows: &Encoded, name: &str, budget_bytes: u64, ctx: &RunContext<'_>) -> Result<Self> {
        let plan = batches(&rows.lengths(), BATCH_ROWS, BATCH_TOKENS);
        let row = |place: &usize| Some((rows.ids.get(*place)?.as_slice(), rows.type_ids.get(*place)?.as_slice()));
        let packed: Vec<Packed> = plan.iter().map(|places| Packed::new(places.iter().filter_map(row))).collect();
        let hidden = model.spec.as_ref().map_or(0, |spec| spec.hidden as u64);
        let bytes = 4 * hidden * packed.iter().map(|batch| batch.ids.len() as u64).sum::<u64>();
        let folder = ctx.scratch.join(format!("states-{name}"));
        let in_memory = bytes <= budget_bytes;
        if !in_memory {
            fs::create_dir_all(&folder).map_err(EngineError::io(&folder, "created"))?;
        }
        let hold = |(i, batch): (usize, &Packed)| -> Result<Held> {
            let states = model.embed(batch)?;
            if in_memory { Ok(Held::Memory(states)) } else { Held::write(folder.join(i.to_string()), &states) }
        };
        let held = packed.iter().enumerate().map(hold).collect::<Result<_>>()?;
        Ok(Self { batches: packed, held, at: None, fed: Vec::new(), next: 0, folder, budget_bytes })
    }

    /// The block that is next; the model's number of blocks at the end.
    pub const fn next(&self) -> usize {
        self.next
    }

    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.batches.iter().map(|batch| batch.ids.len()).sum()
    }

    /// What the sites of the next block are fed, without going on. With an original beside it the cross products are with how far
    /// what its sites are fed lies apart.
    ///
    /// # Cost
    ///
    /// The block's forward pass over all rows, twice with an original, and the products that are wanted.
    ///
    /// # Errors
    ///
    /// As the forward pass; an original that stands at another block or holds other rows.
    pub fn look(
        &self,
        model: &Model,
        original: Option<(&Self, &Model)>,
        sites: &[usize],
        wanted: Wanted,
        ctx: &RunContext<'_>,
    ) -> Result<Sites> {
        self.is_between()?;
        original.iter().try_for_each(|(other, _)| self.is_beside(other))?;
        let fed = |stream: &Self, model: &Model, i: usize, wanted: Wanted| -> Result<Seen> {
            let taps = Inputs { sites, weights: wanted.weights, seen: Mutex::default() };
            // Where the sites do not stand at the block's end, it is not worked out to there
            model.block(self.next, stream.batch(i)?, &stream.states(i)?, Some(&taps))?;
            taps.into_seen()
        };
        let one = |i: usize| -> Result<Sites> {
            let ours = fed(self, model, i, if original.is_some() { Wanted::default() } else { wanted })?;
            let theirs = original.map(|(stream, model)| fed(stream, model, i, wanted)).transpose()?;
            let read =
                (wanted.weights == TokenWeights::Read).then(|| self.read_weights(model, i)).transpose()?.flatten();
            let weights = read.as_deref().or(theirs.as_ref().unwrap_or(&ours).received.as_deref());
            let other = |site| theirs.as_ref().and_then(|seen| seen.fed.get(site));
            ours.fed.iter().map(|(site, x)| Ok((*site, Moments::weighted(x, other(site), weights, wanted)?))).collect()
        };
        let mut all = Sites::new();
        in_order(self.batches.len(), ctx, one, |sites| {
            sites.iter().try_for_each(|(site, moments)| all.entry(*site).or_default().add(moments))
        })?;
        Ok(all)
    }

    /// Goes on through the next block.
    ///
    /// # Errors
    ///
    /// As the forward pass; a scratch folder that can't be written to.
    pub fn advance(&mut self, model: &Model) -> Result<()> {
        self.is_between()?;
        let next = self.next;
        let this = &*self;
        let step = |i: usize| -> Result<Held> {
            this.hold_again(i, model.block(next, this.batch(i)?, &this.states(i)?, None)?)
        };
        let held = (0..this.batches.len()).into_par_iter().map(step).collect::<Result<Vec<_>>>()?;
        self.held = held;
        self.next += 1;
        Ok(())
    }

    /// What the sites behind the last block are fed; with an original beside it as in [`Stream::look`].
    ///
    /// # Errors
    ///
    /// As the forward pass.
    pub fn finish(
        &self,
        model: &Model,
        original: Option<(&Self, &Model)>,
        sites: &[usize],
        wanted: Wanted,
    ) -> Result<Sites> {
        let fed = |stream: &Self, model: &Model, i: usize| -> Result<Seen> {
            let taps = Inputs { sites, weights: TokenWeights::Even, seen: Mutex::default() };
            let states = model.before_head(stream.batch(i)?, &stream.states(i)?, Some(&taps))?;
            if let Some(head) = model.wiring.as_ref().and_then(|wiring| wiring.head) {
                taps.see(head, &states);
            }
            taps.into_seen()
        };
        self.is_between()?;
        let mut all = Sites::new();
        for i in 0..self.batches.len() {
            let ours = fed(self, model, i)?;
            let theirs = original.map(|(stream, model)| fed(stream, model, i)).transpose()?;
            for (site, x) in &ours.fed {
                let other = theirs.as_ref().and_then(|seen| seen.fed.get(site));
                all.entry(*site).or_default().add(&Moments::of(x, other, wanted)?)?;
            }
        }
        Ok(all)
    }

    /// All states, batch by batch, as they are kept in a checkpoint.
    ///
    /// # Errors
    ///
    /// A scratch file that can't be read.
    pub fn snapshot(&self) -> Result<Vec<Tensor>> {
        self.is_between()?;
        (0..self.batches.len()).map(|i| self.states(i)).collect()
    }

    /// Goes on from a snapshot that was taken before block `next`.
    ///
    /// # Errors
    ///
    /// A snapshot of other rows.
    pub fn restore(&mut self, next: usize, snapshot: Vec<Tensor>) -> Result<()> {
        let fits = snapshot.len() == self.batches.len()
            && snapshot.iter().zip(&self.batches).all(|(x, batch)| x.dims().first() == Some(&batch.ids.len()));
        if !fits {
            return Err(EngineError::Internal("the checkpoint is of other rows".into()));
        }
        let hold = |(states, held): (Tensor, &Held)| match held {
            Held::Memory(_) => Ok(Held::Memory(states)),
            Held::File(path, _) => Held::write(path.clone(), &states),
        };
        self.held = snapshot.into_iter().zip(&self.held).map(hold).collect::<Result<_>>()?;
        (self.next, self.at) = (next, None);
        self.fed.clear();
        Ok(())
    }

    /// What is held is a block's input between two blocks alone.
    fn is_between(&self) -> Result<()> {
        match self.at {
            None => Ok(()),
            Some(part) => Err(EngineError::Internal(format!("the stream is inside a block, before its {part:?}"))),
        }
    }

    /// Whether another stream holds as many batches at the same place.
    fn is_beside(&self, other: &Self) -> Result<()> {
        let place = |stream: &Self| (stream.next, stream.at, stream.batches.len());
        if place(self) == place(other) {
            return Ok(());
        }
        Err(EngineError::Internal("original and compressed model are not at the same place".into()))
    }

    /// [`TokenWeights::Read`]; `None` where the head reads every token.
    fn read_weights(&self, model: &Model, i: usize) -> Result<Option<Vec<f32>>> {
        let reads = model.spec.as_ref().map_or(Reads::Every, ModelSpec::reads);
        let row = |bounds: &[usize]| {
            let length = bounds[1] - bounds[0];
            let read = if reads == Reads::First { 0 } else { length.saturating_sub(1) };
            (0..length).map(move |place| if place == read { (length + 1) as f32 / 2.0 } else { 0.5 })
        };
        let offsets = &self.batch(i)?.offsets;
        Ok((reads != Reads::Every).then(|| offsets.windows(2).flat_map(row).collect()))
    }

    /// New states of a batch, where its old ones are.
    fn hold_again(&self, i: usize, states: Tensor) -> Result<Held> {
        match self.held.get(i) {
            Some(Held::File(path, _)) => Held::write(path.clone(), &states),
            _ => Ok(Held::Memory(states)),
        }
    }

    fn batch(&self, i: usize) -> Result<&Packed> {
        self.batches.get(i).ok_or_else(|| EngineError::Internal(format!("there is no batch {i}")))
    }

    fn states(&self, i: usize) -> Result<Tensor> {
        self.held.get(i).ok_or_else(|| EngineError::Internal(format!("there is no batch {i}")))?.read()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The scratch folder is swept with its job; this only gives the room back early
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Works on parts `0..total`, as many at a time as there are threads, and takes the results in order: sums of them do not depend
/// on how many threads there are.
pub(super) fn in_order<T: Send>(
    total: usize,
    ctx: &RunContext<'_>,
    work: impl Fn(usize) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    for start in (0..total).step_by(ctx.threads.max(1)) {
        let end = (start + ctx.threads.max(1)).min(total);
        let parts = (start..end).into_par_iter().map(&work).collect::<Result<Vec<_>>>()?;
        parts.into_iter().try_for_each(&mut take)?;
        ctx.progress(end, total, "batches")?;
    }
    Ok(())
}

/// Keeps what some sites are fed.
struct Inputs<'a> {
    sites: &'a [usize],
    weights: TokenWeights,
    seen: Mutex<Seen>,
}

/// What came by in one batch.
#[derive(Default)]
struct Seen {
    fed: BTreeMap<usize, Tensor>,
    /// The attention that each token was given, where that is wanted.
    received: Option<Vec<f32>>,
}

impl Inputs<'_> {
    fn into_seen(self) -> Result<Seen> {
        self.seen.into_inner().map_err(|_| EngineError::Internal("a tap broke down".into()))
    }
}

impl Tap for Inputs<'_> {
    fn see(&self, site: usize, x: &Tensor) {
        if self.sites.contains(&site)
            && let Ok(mut seen) = self.seen.lock()
        {
            seen.fed.insert(site, x.clone());
        }
    }

    fn has_seen_all(&self) -> bool {
        self.seen.lock().is_ok_and(|seen| {
            let attends = self.weights == TokenWeights::Attention && seen.received.is_none();
            !attends && self.sites.iter().all(|site| seen.fed.contains_key(site))
        })
    }

    fn attend(&self, q: &Tensor, k: &Tensor, how: Attending, rows: Offsets<'_>) -> Result<()> {
        if self.weights == TokenWeights::Attention {
            let broken = |_| EngineError::Internal("a tap broke down".into());
            self.seen.lock().map_err(broken)?.received = Some(received(q, k, how, rows)?);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
