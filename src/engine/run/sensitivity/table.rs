//! Every site of a model changed alone, at every level, and measured.
//!
//! Up to a changed site's block all such models are the original, so its states at that block's entrance are kept and only the
//! rest is run: on average half of a forward pass a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::weights;
use crate::engine::calibrate::Sites;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::onward::Entrance;
use crate::engine::export::encoding;
use crate::engine::method::{self, Fallback};
use crate::engine::model::build::Model;
use crate::engine::model::linear::Linear;
use crate::engine::model::{Layout, SiteSpec};
use crate::engine::plan::sensitivity::{Choice, Target};
use crate::engine::report::{Level, SiteSensitivity};
use crate::engine::run::distance;
use crate::engine::run::measure::Bench;
use crate::engine::run::outputs::{Fed, Watch};

/// Weights of a map beyond which changes of it are tried one after another: each holds some copies of it.
const MANY_WEIGHTS: usize = 32 << 20;

/// What a table is made of.
pub(in crate::engine::run) struct Given<'a> {
    /// The model in which one site at a time is changed.
    pub(in crate::engine::run) model: &'a Model,
    /// What is tried, in the model's order of sites.
    pub(in crate::engine::run) targets: &'a [Target],
    /// What sites are fed on the rows that methods look at, by stage.
    pub(in crate::engine::run) seen: &'a [Sites],
    /// The rows that answers are compared on. Of a model in memory it has scored the one that answers are set against
    /// ([`Bench::original`]). `None`: nothing is run.
    pub(in crate::engine::run) bench: Option<&'a Bench<'a>>,
}

/// A table, and what was not done as asked.
#[derive(Default)]
pub(in crate::engine::run) struct Table {
    /// In the order of the targets.
    pub(in crate::engine::run) sites: Vec<SiteSensitivity>,
    /// Each once, however many levels tell of it.
    pub(in crate::engine::run) fallbacks: Vec<Fallback>,
}

/// Tries every choice of every target, alone.
///
/// # Cost
///
/// For every choice its method, and the forward pass over the held-out rows from the site's block on; states between two blocks
/// are held once. A model that stays in its file is not run as a whole: its answers are not compared, what single sites put out
/// is. Nothing depends on the number of threads.
///
/// # Errors
///
/// As the methods and the forward pass; being stopped.
pub(in crate::engine::run) fn table(given: &Given<'_>, ctx: &RunContext<'_>) -> Result<Table> {
    let mut trying = Trying { given, ctx, done: 0, found: BTreeMap::new(), fallbacks: Vec::new() };
    let Some((wiring, bench)) = given.model.wiring.as_ref().zip(given.bench) else {
        let none = Here { model: given.model, fed: &BTreeMap::new(), entrance: None };
        trying.all(&none, |_| true)?;
        return trying.finish();
    };
    let rows = bench.rows.questions.encoded();
    let is_whole = !given.model.is_stored();
    let model = &if is_whole { given.model.realized()? } else { given.model.clone() };
    let mut entrance = is_whole.then(|| Entrance::new(rows));
    let tables = model.at_tables()?;
    let (mut watch, fed) = Watch::begin(&tables, wiring, rows)?;
    let is_table = |site: usize| [Some(wiring.token), wiring.position, wiring.token_type].contains(&Some(site));
    trying.all(&Here { model: &tables, fed: &fed, entrance: entrance.as_ref() }, is_table)?;
    let go_on = |entrance: &mut Option<Entrance>| entrance.as_mut().map_or(Ok(()), |e| e.advance(model));
    for (index, block) in wiring.blocks.iter().enumerate() {
        go_on(&mut entrance)?;
        let (sites, here) = (block.sites(), model.at_block(index)?);
        let fed = watch.block(&here)?;
        trying.all(&Here { model: &here, fed: &fed, entrance: entrance.as_ref() }, |site| sites.contains(&site))?;
    }
    go_on(&mut entrance)?;
    let end = model.at_end()?;
    let fed = watch.end(&end)?;
    // What is left stands behind the blocks, or nowhere that answers come by
    trying.all(&Here { model: &end, fed: &fed, entrance: entrance.as_ref() }, |_| true)?;
    trying.finish()
}

/// Where rows stand while some sites are tried.
struct Here<'a> {
    /// The model, with these sites in memory and decoded.
    model: &'a Model,
    /// What these sites are fed.
    fed: &'a BTreeMap<usize, Fed>,
    /// Before these sites; `None` where answers are not compared.
    entrance: Option<&'a Entrance>,
}

/// A table on its way.
struct Trying<'a> {
    given: &'a Given<'a>,
    ctx: &'a RunContext<'a>,
    done: usize,
    /// By place of the target.
    found: BTreeMap<usize, SiteSensitivity>,
    fallbacks: Vec<Fallback>,
}

impl Trying<'_> {
    /// Tries those sites that are meant and were not tried yet.
    fn all(&mut self, here: &Here<'_>, is_meant: impl Fn(usize) -> bool) -> Result<()> {
        let given = self.given;
        let meant = given.targets.iter().enumerate();
        let meant: Vec<(usize, &Target)> =
            meant.filter(|(place, target)| is_meant(target.site) && !self.found.contains_key(place)).collect();
        for (place, target) in &meant {
            self.found.insert(*place, given.site(target)?);
        }
        let cells: Vec<(usize, &Target, &Choice)> = meant
            .iter()
            .flat_map(|(place, target)| target.choices.iter().map(|choice| (*place, *target, choice)))
            .collect();
        let is_large = |(_, target): &(usize, &Target)| given.weights(target.site) > MANY_WEIGHTS;
        let at_once = if meant.iter().any(is_large) { 1 } else { self.ctx.threads.max(1) };
        for some in cells.chunks(at_once) {
            let tried = |(place, target, choice): &(usize, &Target, &Choice)| -> Result<_> {
                Ok((*place, given.cell(here, target, choice)?))
            };
            for (place, (level, fallbacks)) in some.par_iter().map(tried).collect::<Result<Vec<_>>>()? {
                if let Some(site) = self.found.get_mut(&place) {
                    site.levels.push(level);
                }
                let is_new = |new: &Fallback| !self.fallbacks.contains(new);
                let new: Vec<Fallback> = fallbacks.into_iter().filter(is_new).collect();
                self.fallbacks.extend(new);
            }
            self.done += some.len();
            let total = given.targets.iter().map(|target| target.choices.len()).sum();
            self.ctx.progress(self.done, total, "changes")?;
        }
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps)] // callers end with it
    fn finish(self) -> Result<Table> {
        Ok(Table { sites: self.found.into_values().collect(), fallbacks: self.fallbacks })
    }
}

impl Given<'_> {
    fn at(&self, site: usize) -> Result<(&SiteSpec, &Linear)> {
        let found = self.model.sites.get(site).zip(self.model.maps.get(site));
        found.map(|(spec, map)| (spec, map.as_ref())).ok_or_else(|| lost(site))
    }

    fn weights(&self, site: usize) -> usize {
        self.model.sites.get(site).map_or(0, |spec| spec.out.saturating_mul(spec.r#in))
    }

    /// A site as it is; nothing tried yet.
    fn site(&self, target: &Target) -> Result<SiteSensitivity> {
        let (spec, linear) = self.at(target.site)?;
        Ok(SiteSensitivity {
            site: spec.site.clone(),
            category: spec.category,
            before_bytes: bytes(spec, linear, &linear.map.layout())?,
            weights: linear.read()?.map.look(weights::statistics)?,
            levels: Vec::with_capacity(target.choices.len()),
        })
    }

    /// One change of one site.
    fn cell(&self, here: &Here<'_>, target: &Target, choice: &Choice) -> Result<(Level, Vec<Fallback>)> {
        let (spec, linear) = self.at(target.site)?;
        let before = linear.read()?;
        let mut after = before.clone();
        let mut fallbacks = Vec::new();
        for (stage, action) in &choice.actions {
            let seen = self.seen.get(*stage).and_then(|sites| sites.get(&target.site));
            let (changed, found) = action.apply(spec, &after, seen.map(method::Fed::of).as_ref())?;
            after = changed;
            fallbacks.extend(found);
        }
        let off = distance::between(before.map.to_vec()?, after.map.to_vec()?, spec.r#in, spec.is_centered).relative();
        let mut level = Level {
            bits: choice.bits,
            bytes: bytes(spec, linear, &after.map.layout())?,
            sqnr_db: (off > 0.0).then(|| -20.0 * off.log10()),
            relative_error: None,
            kl: None,
            cosine: None,
            rms_difference: None,
        };
        let after = after.realized()?;
        if let Some(fed) = here.fed.get(&target.site) {
            let before = here.model.maps.get(target.site).ok_or_else(|| lost(target.site))?;
            level.relative_error = fed.error(spec, before, &after)?;
        }
        if let Some((entrance, bench)) = here.entrance.zip(self.bench) {
            let mut model = here.model.clone();
            *model.maps.get_mut(target.site).ok_or_else(|| lost(target.site))? = Arc::new(after);
            if let Some(fidelity) = bench.fidelity(&bench.score_onward(&model, entrance)?)? {
                level.kl = fidelity.kl.map(|kl| kl.mean);
                level.cosine = fidelity.cosine;
                level.rms_difference = fidelity.numbers.map(|numbers| numbers.rms_difference);
            }
        }
        Ok((level, fallbacks))
    }
}

/// What a site's tensors take in the weight file, in a layout; its bias as it is.
fn bytes(spec: &SiteSpec, linear: &Linear, layout: &Layout) -> Result<u64> {
    let map: u64 = encoding::tensors(layout, &spec.module)?.iter().map(encoding::TensorSpec::bytes).sum();
    let bias = if linear.bias.is_some() { linear.bias_dtype.size_bytes().saturating_mul(spec.out as u64) } else { 0 };
    Ok(map.saturating_add(bias))
}

fn lost(site: usize) -> EngineError {
    EngineError::Internal(format!("there is no site {site}"))
}
