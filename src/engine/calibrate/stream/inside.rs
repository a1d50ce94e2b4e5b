//! Rows on their way through one block, part by part: what the next sites are fed is held, so that these can be changed on the
//! way and nothing is worked out twice.

use std::fs;

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Stream, in_order};
use crate::engine::calibrate::held::Held;
use crate::engine::calibrate::moments::{Apart, apart};
use crate::engine::calibrate::{Moments, TokenWeights, Wanted};
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::build::Model;
use crate::engine::model::forward::{Between, Part};
use crate::engine::model::linear::Linear;

impl Stream {
    /// Goes up to the first sites of the next block.
    ///
    /// # Errors
    ///
    /// As the forward pass; a stream that is inside a block already; a scratch folder that can't be written to.
    pub fn enter(&mut self, model: &Model) -> Result<()> {
        self.is_between()?;
        let nothing = rayon::iter::repeat_n((), self.batches.len());
        let both = self.hold(nothing, |i, ()| model.enter(self.next, self.batch(i)?, &self.states(i)?), None)?;
        self.take(both);
        self.at = Part::ALL.first().copied();
        Ok(())
    }

    /// Goes on behind the part that is next; behind the last one to the next block.
    ///
    /// # Cost
    ///
    /// That part of the block's forward pass over all rows: all parts together cost one pass.
    ///
    /// # Errors
    ///
    /// As the forward pass; a stream that has not entered the block; a scratch folder that can't be written to.
    pub fn step(&mut self, model: &Model) -> Result<()> {
        let outside = || EngineError::Internal("the stream is not inside a block".into());
        let part = self.at.ok_or_else(outside)?;
        // What a batch was fed is given back as soon as it is used
        let fed = std::mem::take(&mut self.fed);
        let step = |i: usize, fed: Held| {
            let at = Between { fed: fed.read()?, residual: self.states(i)? };
            drop(fed);
            model.part(self.next, part, self.batch(i)?, at)
        };
        let both = self.hold(fed.into_par_iter(), step, Some(part))?;
        self.take(both);
        self.at = Part::ALL.into_iter().skip_while(|other| *other != part).nth(1);
        self.next += usize::from(self.at.is_none());
        Ok(())
    }

    /// Adds what the sites of the part that is next are fed; with an original beside it as in [`Stream::look`]. With `through`, the
    /// one site that they go into, the cross products are of what it makes of the inputs. Of the last stream that is looked at
    /// [`Moments::complete`] makes them whole.
    ///
    /// # Cost
    ///
    /// The products that are wanted, and with `through` that map's: nothing else of the model is worked out.
    ///
    /// # Errors
    ///
    /// A stream that has not entered a block; an original that stands elsewhere; [`TokenWeights::Attention`], which is not to be
    /// had here.
    pub fn look_inside(
        &self,
        all: &mut Moments,
        model: &Model,
        (original, through): (Option<&Self>, Option<&Linear>),
        wanted: Wanted,
        ctx: &RunContext<'_>,
    ) -> Result<()> {
        original.iter().try_for_each(|other| self.is_beside(other))?;
        if wanted.weights == TokenWeights::Attention {
            return Err(EngineError::Internal("inside a block the attention that tokens are given is not kept".into()));
        }
        let reads = wanted.weights == TokenWeights::Read;
        let ready = |i: usize| -> Result<_> {
            let fed = self.fed(i)?.read()?;
            let mut other = original.map(|other| apart(&fed, &other.fed(i)?.read()?)).transpose()?;
            if let (Some(x), Some(linear)) = (&mut other, through) {
                *x = linear.forward(x)?;
            }
            Ok((fed, other, reads.then(|| self.read_weights(model, i)).transpose()?.flatten()))
        };
        in_order(self.batches.len(), ctx, ready, |(fed, other, read)| {
            let other = other.as_ref().map(if through.is_some() { Apart::Outputs } else { Apart::Inputs });
            all.take(&fed, other, read.as_deref(), wanted)
        })
    }

    fn fed(&self, i: usize) -> Result<&Held> {
        self.fed.get(i).ok_or_else(|| EngineError::Internal(format!("batch {i} is not inside a block")))
    }

    /// What a step gives, of all batches: residuals where `behind` that part they are others, and what is fed where it is inside.
    fn hold<T: Send>(
        &self,
        given: impl IndexedParallelIterator<Item = T>,
        step: impl Fn(usize, T) -> Result<Between> + Sync,
        behind: Option<Part>,
    ) -> Result<Vec<(Option<Held>, Option<Held>)>> {
        let tokens = self.tokens() as u64;
        let one = |(i, given): (usize, T)| {
            let Between { fed, residual } = step(i, given)?;
            let both_bytes = 4 * (fed.dim(1)? + residual.dim(1)?) as u64 * tokens;
            let is_new = matches!(behind, Some(Part::Output | Part::Down));
            let residual = is_new.then(|| self.hold_again(i, residual)).transpose()?;
            let fed = match behind {
                Some(Part::Down) => None,
                _ if both_bytes <= self.budget_bytes => Some(Held::Memory(fed)),
                _ => Some(self.write(&format!("{i}-fed"), &fed)?),
            };
            Ok((residual, fed))
        };
        given.enumerate().map(one).collect()
    }

    fn take(&mut self, both: Vec<(Option<Held>, Option<Held>)>) {
        let (residuals, fed): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        for (held, new) in self.held.iter_mut().zip(residuals) {
            if let Some(new) = new {
                *held = new;
            }
        }
        self.fed = fed.into_iter().flatten().collect();
    }

    fn write(&self, name: &str, states: &Tensor) -> Result<Held> {
        fs::create_dir_all(&self.folder).map_err(EngineError::io(&self.folder, "created"))?;
        Held::write(self.folder.join(name), states)
    }
}
