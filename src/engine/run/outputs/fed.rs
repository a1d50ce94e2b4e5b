//! What an original's sites are fed, kept so that many changes of one map can be tried on it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Sums, compare, few, looked_up, lost, outputs};
use crate::engine::data::Encoded;
use crate::engine::error::Result;
use crate::engine::model::SiteSpec;
use crate::engine::model::arch::Wiring;
use crate::engine::model::build::Model;
use crate::engine::model::forward::{Packed, Tap};
use crate::engine::model::linear::Linear;

/// What a site is fed by the rows that are looked at, in their order.
#[derive(Debug, Default)]
pub(in crate::engine::run) struct Fed(Vec<Input>);

/// What a row feeds a site.
#[derive(Debug)]
enum Input {
    /// Entries of a table.
    Ids(Tensor),
    /// `[tokens, in]`.
    States(Tensor),
}

impl Fed {
    /// `‖X Wᵀ − X Ŵᵀ‖ / ‖X Wᵀ‖` of one map in place of another: the number that [`super::errors`] finds on these rows. `None`
    /// where nothing comes through.
    ///
    /// # Errors
    ///
    /// As the forward pass; maps of other shapes.
    pub(in crate::engine::run) fn error(
        &self,
        spec: &SiteSpec,
        before: &Linear,
        after: &Linear,
    ) -> Result<Option<f64>> {
        let one = |input: &Input| -> Result<Sums> {
            let mut sums = Sums::default();
            match input {
                Input::Ids(ids) => compare(spec, &before.rows(ids)?, &after.rows(ids)?, &mut sums)?,
                Input::States(x) => outputs(spec, (before, after), x, &mut sums)?,
            }
            Ok(sums)
        };
        let mut all = Sums::default();
        let parts = self.0.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        for part in parts {
            all.join(part);
        }
        Ok(all.relative())
    }
}

/// The rows that [`super::errors`] looks at, on their way through an original, block by block.
pub(in crate::engine::run) struct Watch<'a> {
    wiring: &'a Wiring,
    rows: Vec<Packed>,
    states: Vec<Tensor>,
    next: usize,
}

impl<'a> Watch<'a> {
    /// Looks all rows up in the tables of a model; gives what each table is asked.
    ///
    /// # Errors
    ///
    /// As the forward pass.
    pub(in crate::engine::run) fn begin(
        model: &Model,
        wiring: &'a Wiring,
        rows: &Encoded,
    ) -> Result<(Self, BTreeMap<usize, Fed>)> {
        let rows = few(rows);
        let mut fed: BTreeMap<usize, Fed> = BTreeMap::new();
        for row in &rows {
            for (site, ids) in looked_up(model, wiring, row)? {
                fed.entry(site).or_default().0.push(Input::Ids(ids));
            }
        }
        let states = rows.par_iter().map(|row| model.embed(row)).collect::<Result<_>>()?;
        Ok((Self { wiring, rows, states, next: 0 }, fed))
    }

    /// Goes through the next block; gives what its sites are fed.
    ///
    /// # Errors
    ///
    /// As the forward pass.
    pub(in crate::engine::run) fn block(&mut self, model: &Model) -> Result<BTreeMap<usize, Fed>> {
        let block = self.next;
        let (states, fed) = self.pass(|row, x, tap| model.block(block, row, x, Some(tap)))?;
        self.states = states;
        self.next += 1;
        Ok(fed)
    }

    /// What sites behind the last block are fed.
    ///
    /// # Errors
    ///
    /// As the forward pass.
    pub(in crate::engine::run) fn end(&self, model: &Model) -> Result<BTreeMap<usize, Fed>> {
        Ok(self.pass(|row, x, tap| model.finish(row, x, Some(tap)))?.1)
    }

    fn pass(
        &self,
        run: impl Fn(&Packed, &Tensor, &dyn Tap) -> Result<Tensor> + Sync,
    ) -> Result<(Vec<Tensor>, BTreeMap<usize, Fed>)> {
        let one = |(row, x): (&Packed, &Tensor)| -> Result<(Tensor, BTreeMap<usize, Tensor>)> {
            // A table that is the head as well is a table
            let taps = Inputs { left_out: self.wiring.token, seen: Mutex::default() };
            let x = run(row, x, &taps)?;
            Ok((x, taps.seen.into_inner().map_err(|_| lost())?))
        };
        let passed = self.rows.par_iter().zip(&self.states).map(one).collect::<Result<Vec<_>>>()?;
        let mut states = Vec::with_capacity(passed.len());
        let mut fed: BTreeMap<usize, Fed> = BTreeMap::new();
        for (x, seen) in passed {
            states.push(x);
            for (site, x) in seen {
                fed.entry(site).or_default().0.push(Input::States(x));
            }
        }
        Ok((states, fed))
    }
}

/// Keeps what sites are fed.
struct Inputs {
    left_out: usize,
    seen: Mutex<BTreeMap<usize, Tensor>>,
}

impl Tap for Inputs {
    fn see(&self, site: usize, x: &Tensor) {
        if site != self.left_out
            && let Ok(mut seen) = self.seen.lock()
        {
            seen.insert(site, x.clone());
        }
    }
}
