//! A stage whose sites follow each other: each is fed what comes out of those that were changed before it, beside the original.
//!
//! In a block the sites that are fed the same go together, in the order of computation: queries, keys and values; what
//! attention puts out; the mlp's first maps; its last. Both models' rows pass up to these, sums are taken, the sites are
//! changed, and both go on from there: so every part is worked out once ([`passing`]).

use std::collections::BTreeMap;

use super::calibrated::is_behind;
use super::checkpointed::{END, Kept};
use crate::engine::calibrate::rows::CalibrationRows;
use crate::engine::calibrate::{Moments, Stream, TokenWeights, Wanted};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::method::{Fallback, Fed, SiteAction};
use crate::engine::model::arch::{BlockWiring, Projections, Wiring};
use crate::engine::model::build::Model;
use crate::engine::model::forward::Part;
use crate::engine::model::linear::{Input, Linear, LinearMap};

mod passing;

use passing::Passing;

/// States of a stream, and what its next sites are fed, are held in memory up to this, and in scratch files beyond it.
const STATES_BYTES: u64 = 512 << 20;

/// Applies an action to all target sites of a model, in the order of computation. `models` are the original and the model
/// before the stage, `stage` is the number of the stage.
///
/// # Errors
///
/// As the forward pass and the action.
pub(super) fn apply(
    (original, before): (&Model, &Model),
    (stage, action, targets): (usize, &dyn SiteAction, &[usize]),
    rows: &CalibrationRows,
    ctx: &RunContext<'_>,
) -> Result<(Model, Vec<Fallback>)> {
    ctx.statistics.miss();
    let kept = Kept::new(stage, ctx);
    let wanted = action.wants().unwrap_or_default();
    let mut work = Work { original, model: before.clone(), action, wanted, goes_on: false, fallbacks: Vec::new() };
    let Some(wiring) = before.wiring.as_ref().filter(|_| !rows.fit.ids.is_empty()) else {
        for target in targets {
            work.change(*target, None)?;
        }
        return Ok((work.model, work.fallbacks));
    };
    let mut left = targets.to_vec();
    let heads: Vec<usize> = left.extract_if(.., |site| is_behind(wiring, *site)).collect();
    work.goes_on = !heads.is_empty();
    let inside: Vec<Vec<usize>> =
        wiring.blocks.iter().map(|block| left.extract_if(.., |site| block.sites().contains(site)).collect()).collect();
    let tables = left;
    if let Some(said) = kept.said(END)? {
        for (block, sites) in inside.iter().enumerate() {
            work.take(kept.maps(&format!("b{block}"), before, action, sites)?)?;
        }
        work.take(kept.maps(END, before, action, &[tables, heads].concat())?)?;
        return Ok((work.model, said));
    }
    work.tables(&tables, wiring, rows, ctx)?;
    let mut passing = Passing::new(&work, rows, ctx)?;
    let finished = kept.blocks().min(inside.len());
    for (block, sites) in inside.iter().enumerate().take(finished) {
        work.take(kept.maps(&format!("b{block}"), before, action, sites)?)?;
        passing.advance(&work)?;
    }
    if finished > 0 {
        let lost =
            || EngineError::Internal(format!("the checkpoint does not say what was done before block {finished}"));
        work.fallbacks = kept.said(&finished.to_string())?.ok_or_else(lost)?;
    }
    for (block, sites) in inside.iter().enumerate().skip(finished) {
        work.block(&mut passing, (block, block + 1 == inside.len()), sites, ctx)?;
        let done = (format!("b{block}"), block + 1);
        kept.keep((&done.0, done.1), (&work.model, sites), None, &work.fallbacks)?;
        ctx.progress(done.1, inside.len(), "blocks")?;
    }
    for head in &heads {
        let seen = passing.end(*head, &work)?;
        work.change(*head, Some(&seen))?;
    }
    kept.keep((END, inside.len()), (&work.model, &[tables, heads].concat()), None, &work.fallbacks)?;
    Ok((work.model, work.fallbacks))
}

/// A part's sites, and what their tokens count. What the last block makes of a token that the head does not read is lost, but
/// for its keys and values.
fn together(block: &BlockWiring, part: Part, is_last: bool) -> Vec<(Vec<usize>, TokenWeights)> {
    let [projections, output, wide, down] = block.groups();
    let group = match part {
        Part::Projections => projections,
        Part::Output => output,
        Part::Wide => wide,
        Part::Down => down,
    };
    match (is_last, part, block.attention.projections) {
        (false, ..) | (true, Part::Projections, Projections::Fused(_)) => vec![(group, TokenWeights::Even)],
        (true, Part::Projections, Projections::Split { query, key, value }) => {
            vec![(vec![query], TokenWeights::Read), (vec![key, value], TokenWeights::Even)]
        }
        (true, ..) => vec![(group, TokenWeights::Read)],
    }
}

/// The two models on their way through a stage.
struct Work<'a> {
    original: &'a Model,
    model: Model,
    action: &'a dyn SiteAction,
    wanted: Wanted,
    /// Whether something behind the last block is to be changed.
    goes_on: bool,
    fallbacks: Vec<Fallback>,
}

/// What a site is fed on rows that are fitted to, and on others.
struct Seen {
    fit: Moments,
    held_out: Option<Moments>,
}

impl<'a> Work<'a> {
    /// Takes maps over that an earlier attempt made.
    fn take(&mut self, maps: Option<BTreeMap<usize, (LinearMap, Input)>>) -> Result<()> {
        for (index, (map, input)) in maps.into_iter().flatten() {
            let current = self.model.maps.get_mut(index).ok_or_else(|| missing(index))?;
            *current = Linear { map, input, ..(**current).clone() }.into();
        }
        Ok(())
    }

    /// The original's map of a site, where both have the same shape.
    fn original(&self, index: usize) -> Option<&'a Linear> {
        let (original, current) = (self.original.maps.get(index)?, self.model.maps.get(index)?);
        (original.map.layout().shape() == current.map.layout().shape()).then_some(original.as_ref())
    }

    fn change(&mut self, index: usize, seen: Option<&Seen>) -> Result<()> {
        let original = self.original(index).map(|linear| &linear.map);
        let site = self.model.sites.get(index).ok_or_else(|| missing(index))?;
        let map = self.model.maps.get_mut(index).ok_or_else(|| missing(index))?;
        let current = map.read()?;
        let fed = seen.map(|seen| Fed { fit: &seen.fit, held_out: seen.held_out.as_ref(), original });
        let (linear, found) = self.action.apply(site, &current, fed.as_ref())?;
        *map = linear.into();
        self.fallbacks.extend(found);
        Ok(())
    }

    /// Changes a block's sites, part by part.
    fn block(
        &mut self,
        passing: &mut Passing,
        (block, is_last): (usize, bool),
        sites: &[usize],
        ctx: &RunContext<'_>,
    ) -> Result<()> {
        if sites.is_empty() {
            return passing.advance(self);
        }
        let lost = || EngineError::Internal(format!("there is no block {block}"));
        let wiring = self.original.wiring.as_ref().and_then(|wiring| wiring.blocks.get(block)).ok_or_else(lost)?;
        passing.go((&self.model, self.original), Stream::enter)?;
        for part in Part::ALL {
            for (group, weights) in together(wiring, part, is_last) {
                let here: Vec<usize> = group.into_iter().filter(|site| sites.contains(site)).collect();
                if here.is_empty() {
                    continue;
                }
                self.wanted.weights = weights;
                let seen = passing.look(self, &here, ctx)?;
                here.iter().try_for_each(|site| self.change(*site, Some(&seen)))?;
            }
            if is_last && part == Part::Down && !self.goes_on {
                return Ok(());
            }
            let (ours, theirs) = self.both(|model| model.at_part(block, part))?;
            passing.go((&ours, &theirs), Stream::step)?;
        }
        Ok(())
    }

    /// Both models with what is needed of them decoded, once for all rows.
    fn both(&self, at: impl Fn(&Model) -> Result<Model>) -> Result<(Model, Model)> {
        let theirs = if self.wanted.cross { at(self.original)? } else { self.original.clone() };
        Ok((at(&self.model)?, theirs))
    }

    /// The original's map of a site that stands alone, where products of its outputs cost less than those of its inputs.
    fn through(&self, sites: &[usize]) -> Result<Option<Linear>> {
        // Outputs of one site are no others'
        let [site] = sites else { return Ok(None) };
        let is_narrow = |linear: &&Linear| {
            let (out, r#in) = linear.map.layout().shape();
            // The outputs themselves have to be worked out, too
            2 * out < r#in
        };
        let linear = self.original(*site).filter(|_| self.wanted.cross).filter(is_narrow);
        linear.map(|linear| Linear { bias: None, input: Input::None, ..linear.read()? }.realized()).transpose()
    }

    /// Tables come first, for all blocks are fed by them. One that is the head as well is fed what the original's head is.
    fn tables(
        &mut self,
        tables: &[usize],
        wiring: &Wiring,
        rows: &CalibrationRows,
        ctx: &RunContext<'_>,
    ) -> Result<()> {
        let is_head = |table: &usize| wiring.head == Some(*table);
        let seen = match tables.iter().find(|table| is_head(table)) {
            Some(head) => Some(Seen {
                fit: self.at_head(*head, wiring, &rows.fit, ctx)?,
                held_out: match rows.held_out.ids.as_slice() {
                    [] => None,
                    _ => Some(self.at_head(*head, wiring, &rows.held_out, ctx)?),
                },
            }),
            None => None,
        };
        tables.iter().try_for_each(|table| self.change(*table, seen.as_ref().filter(|_| is_head(table))))
    }

    /// What the original's head is fed.
    fn at_head(&self, head: usize, wiring: &Wiring, rows: &Encoded, ctx: &RunContext<'_>) -> Result<Moments> {
        let mut stream = Stream::new(&self.original.at_tables()?, rows, "head", STATES_BYTES, ctx)?;
        (0..wiring.blocks.len()).try_for_each(|block| stream.advance(&self.original.at_block(block)?))?;
        let wanted = Wanted { cross: false, ..self.wanted };
        let mut seen = stream.finish(&self.original.at_end()?, None, &[head], wanted)?;
        seen.remove(&head).ok_or_else(|| missing(head))
    }
}

fn missing(index: usize) -> EngineError {
    EngineError::Internal(format!("there is no site {index}"))
}
