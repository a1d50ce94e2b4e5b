//! A stage that looks at what sites are fed: block by block, while the rows pass, or in what an earlier job summed up.

use std::collections::BTreeMap;

use super::checkpointed::{END, Kept};
use crate::engine::calibrate::{Moments, Sites, Stream, Wanted};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::method::{Fallback, Fed, SiteAction};
use crate::engine::model::arch::{BlockWiring, Wiring};
use crate::engine::model::build::Model;
use crate::engine::model::linear::{Input, Linear, LinearMap};

/// States between two blocks are held in memory up to this, and in scratch files beyond it.
const STATES_BYTES: u64 = 512 << 20;

/// Applies an action to all target sites of a model, each with the sums over what it is fed. `stage` is the number of the
/// stage, under which finished blocks are kept.
///
/// The rows go through the model as it was before the stage: sums depend on it, the rows and nothing else. So those of the
/// first stage are taken from an earlier job, where there is one that took the same, and are left for later ones.
///
/// # Errors
///
/// As the forward pass and the action.
pub(super) fn apply(
    before: &Model,
    (stage, action, targets): (usize, &dyn SiteAction, &[usize]),
    rows: &Encoded,
    ctx: &RunContext<'_>,
) -> Result<(Model, Vec<Fallback>)> {
    let wanted = action.wants().unwrap_or_default();
    let kept = Kept::new(stage, ctx);
    let mut changing = Changing { before, model: before.clone(), action, fallbacks: Vec::new() };
    let is_new = stage == 0 && kept.said(END)?.is_none();
    let given = if is_new { ctx.statistics.of(before, targets, wanted, ctx.observer) } else { None };
    let note = |seen: &Sites| {
        if stage == 0 {
            ctx.statistics.take(before, seen);
        }
    };
    let has_sums = given.is_some() || !rows.ids.is_empty();
    let Some(wiring) = before.wiring.as_ref().filter(|_| has_sums) else {
        changing.change(targets, &Sites::new())?;
        return Ok((changing.model, changing.fallbacks));
    };
    let mut left: Vec<usize> = targets.to_vec();
    let inside = |left: &mut Vec<usize>, block: &BlockWiring| -> Vec<usize> {
        let sites = block.sites();
        left.extract_if(.., |site| sites.contains(site)).collect()
    };
    let finished = kept.blocks().min(wiring.blocks.len());
    for (i, block) in wiring.blocks.iter().take(finished).enumerate() {
        let here = inside(&mut left, block);
        changing.take(kept.maps(&format!("b{i}"), before, action, &here)?)?;
    }
    if let Some(said) = kept.said(END)? {
        changing.take(kept.maps(END, before, action, &left)?)?;
        return Ok((changing.model, said));
    }
    let mut feed = match given {
        Some(sites) => Feed::Given(sites),
        None => Feed::rows(before, rows, ctx)?,
    };
    if finished > 0 {
        let lost =
            || EngineError::Internal(format!("the checkpoint does not say what was done before block {finished}"));
        changing.fallbacks = kept.said(&finished.to_string())?.ok_or_else(lost)?;
        feed.skip(finished, &kept)?;
        ctx.statistics.miss();
    }
    for (i, block) in wiring.blocks.iter().enumerate().skip(finished) {
        let here = inside(&mut left, block);
        let seen = feed.block(&here, wanted, ctx)?;
        note(&seen);
        changing.change(&here, &seen)?;
        let done = (format!("b{i}"), i + 1);
        kept.keep((&done.0, done.1), (&changing.model, &here), feed.stream(), &changing.fallbacks)?;
        ctx.progress(done.1, wiring.blocks.len(), "blocks")?;
    }
    // Tables are fed nothing; heads are fed what comes out of the last block
    let heads: Vec<usize> = left.iter().copied().filter(|site| is_behind(wiring, *site)).collect();
    let seen = feed.end(&heads, wanted)?;
    note(&seen);
    changing.change(&left, &seen)?;
    kept.keep((END, wiring.blocks.len()), (&changing.model, &left), None, &changing.fallbacks)?;
    Ok((changing.model, changing.fallbacks))
}

/// Where the sums come from.
enum Feed<'a> {
    /// An earlier job: no row goes through the model.
    Given(Sites),
    /// Rows on their way through the model.
    Rows(&'a Model, Stream),
}

impl<'a> Feed<'a> {
    fn rows(before: &'a Model, rows: &Encoded, ctx: &RunContext<'_>) -> Result<Self> {
        Ok(Self::Rows(before, Stream::new(&before.at_tables()?, rows, "fed", STATES_BYTES, ctx)?))
    }

    /// Goes on to block `next`, with the states that an earlier attempt kept. One that was given its sums kept none.
    fn skip(&mut self, next: usize, kept: &Kept<'_>) -> Result<()> {
        let Self::Rows(model, stream) = self else { return Ok(()) };
        if !kept.restore(next, stream)? {
            (0..next).try_for_each(|block| stream.advance(&model.at_block(block)?))?;
        }
        Ok(())
    }

    /// What sites of the next block are fed. Goes on behind it.
    fn block(&mut self, sites: &[usize], wanted: Wanted, ctx: &RunContext<'_>) -> Result<Sites> {
        match self {
            Self::Given(all) => Ok(part(all, sites)),
            Self::Rows(model, stream) => {
                let here = model.at_block(stream.next())?;
                let seen =
                    if sites.is_empty() { Sites::new() } else { stream.look(&here, None, sites, wanted, ctx)? };
                stream.advance(&here)?;
                Ok(seen)
            }
        }
    }

    /// What sites behind the last block are fed.
    fn end(&self, sites: &[usize], wanted: Wanted) -> Result<Sites> {
        match self {
            Self::Given(all) => Ok(part(all, sites)),
            Self::Rows(..) if sites.is_empty() => Ok(Sites::new()),
            Self::Rows(model, stream) => stream.finish(&model.at_end()?, None, sites, wanted),
        }
    }

    fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Given(_) => None,
            Self::Rows(_, stream) => Some(stream),
        }
    }
}

fn part(all: &Sites, sites: &[usize]) -> Sites {
    sites.iter().filter_map(|site| Some((*site, all.get(site)?.clone()))).collect()
}

/// Whether a site is fed what comes out of the last block. A table that is the head as well is a table.
pub(super) fn is_behind(wiring: &Wiring, site: usize) -> bool {
    let head = wiring.head.filter(|head| *head != wiring.token);
    head == Some(site) || wiring.transform.as_ref().is_some_and(|transform| transform.site == site)
}

/// A model on its way through a stage.
struct Changing<'a> {
    before: &'a Model,
    model: Model,
    action: &'a dyn SiteAction,
    fallbacks: Vec<Fallback>,
}

impl Changing<'_> {
    /// Takes maps over that an earlier attempt made.
    fn take(&mut self, maps: Option<BTreeMap<usize, (LinearMap, Input)>>) -> Result<()> {
        for (index, (map, input)) in maps.into_iter().flatten() {
            let missing = || EngineError::Internal(format!("there is no site {index}"));
            let current = self.model.maps.get_mut(index).ok_or_else(missing)?;
            *current = Linear { map, input, ..(**current).clone() }.into();
        }
        Ok(())
    }

    fn change(&mut self, targets: &[usize], seen: &BTreeMap<usize, Moments>) -> Result<()> {
        for target in targets {
            let missing = || EngineError::Internal(format!("there is no site {target}"));
            let site = self.before.sites.get(*target).ok_or_else(missing)?;
            let map = self.model.maps.get_mut(*target).ok_or_else(missing)?;
            let fed = seen.get(target).map(Fed::of);
            let (linear, found) = self.action.apply(site, &map.read()?, fed.as_ref())?;
            *map = linear.into();
            self.fallbacks.extend(found);
        }
        Ok(())
    }
}
