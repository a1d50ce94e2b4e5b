//! A stage that looks at what sites are fed: block by block, while the rows pass.

use std::collections::BTreeMap;

use super::checkpointed::Kept;
use crate::engine::calibrate::{Moments, Sites, Stream};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::method::{Fallback, SiteAction};
use crate::engine::model::arch::{BlockWiring, Wiring};
use crate::engine::model::build::Model;
use crate::engine::model::linear::{Linear, LinearMap};

/// States between two blocks are held in memory up to this, and in scratch files beyond it.
const STATES_BYTES: u64 = 512 << 20;

/// Applies an action to all target sites of a model, each with the sums over what it is fed. `stage` is the number of the
/// stage, under which finished blocks are kept.
///
/// The rows go through the model as it was before the stage: sums depend on it, the rows and nothing else.
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
    let Some(wiring) = before.wiring.as_ref().filter(|_| !rows.ids.is_empty()) else {
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
    if let Some(said) = kept.said("end")? {
        changing.take(kept.maps("end", before, action, &left)?)?;
        return Ok((changing.model, said));
    }
    let mut stream = Stream::new(&before.at_tables()?, rows, "fed", STATES_BYTES, ctx)?;
    if finished > 0 {
        changing.fallbacks = kept.restore(finished, &mut stream)?;
    }
    for (i, block) in wiring.blocks.iter().enumerate().skip(finished) {
        let here = inside(&mut left, block);
        let realized = before.at_block(i)?;
        if !here.is_empty() {
            let seen = stream.look(&realized, None, &here, wanted, ctx)?;
            changing.change(&here, &seen)?;
        }
        stream.advance(&realized)?;
        let done = (format!("b{i}"), i + 1);
        kept.keep((&done.0, done.1), (&changing.model, &here), Some(&stream), &changing.fallbacks)?;
        ctx.progress(done.1, wiring.blocks.len(), "blocks")?;
    }
    // Tables are fed nothing; heads are fed what comes out of the last block
    let heads: Vec<usize> = left.iter().copied().filter(|site| is_behind(wiring, *site)).collect();
    let seen = if heads.is_empty() { Sites::new() } else { stream.finish(&before.at_end()?, &heads, wanted)? };
    changing.change(&left, &seen)?;
    kept.keep(("end", wiring.blocks.len()), (&changing.model, &left), None, &changing.fallbacks)?;
    Ok((changing.model, changing.fallbacks))
}

/// Whether a site is fed what comes out of the last block. A table that is the head as well is a table.
fn is_behind(wiring: &Wiring, site: usize) -> bool {
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
    fn take(&mut self, maps: Option<BTreeMap<usize, LinearMap>>) -> Result<()> {
        for (index, map) in maps.into_iter().flatten() {
            let missing = || EngineError::Internal(format!("there is no site {index}"));
            let current = self.model.maps.get_mut(index).ok_or_else(missing)?;
            *current = Linear { map, ..(**current).clone() }.into();
        }
        Ok(())
    }

    fn change(&mut self, targets: &[usize], seen: &BTreeMap<usize, Moments>) -> Result<()> {
        for target in targets {
            let missing = || EngineError::Internal(format!("there is no site {target}"));
            let site = self.before.sites.get(*target).ok_or_else(missing)?;
            let map = self.model.maps.get_mut(*target).ok_or_else(missing)?;
            let (linear, found) = self.action.apply(site, &map.read()?, seen.get(target))?;
            *map = linear.into();
            self.fallbacks.extend(found);
        }
        Ok(())
    }
}
