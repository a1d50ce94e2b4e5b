//! A stage whose sites share out a budget: what each costs alone at each level is measured, the budget is shared out, and the
//! result is kept only where it is nearer to the original than one level for all, by more than chance gives.
//!
//! Both are set against the original on the same held-out rows, which neither was fitted to. Each level is tried by the stage's own
//! method: passing errors on takes most of a map's loss away and nothing of a table's, so plain rounding would rank them wrongly. The
//! rows that tell are among those that maps are fitted to, which flatters all levels of a map alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compress::AfterStage;
use super::measure::Bench;
use super::sensitivity::{Given, table, taken};
use crate::engine::allocate::{self, allocate};
use crate::engine::calibrate::{Sites, Wanted};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::Answers;
use crate::engine::evaluate::statistics::{Z_95, mean_by_rows};
use crate::engine::export::hf;
use crate::engine::method::{Fallback, Fed, SiteAction, Streams};
use crate::engine::model::build::Model;
use crate::engine::model::linear::Linear;
use crate::engine::model::{Forms, InputForm, Layout, ModelHeader, SiteSpec};
use crate::engine::plan::sensitivity::{Choice, Target};
use crate::engine::plan::{PlannedAllocation, PlannedStage, allocation};
use crate::engine::report::{Allocated, Allocation, Level};

/// Times that a budget is cut by what the file came out too long: its header tells where tensors lie, in as many digits as that
/// takes.
const MOST_CUTS: usize = 8;

/// Products of what sites are fed that are held at a time, but for those of a block that each thread sums up.
const SUMS_BYTES: usize = 512 << 20;
/// Rows on which single sites are tried, at most, and their tokens together.
const TRIED: (usize, usize) = (256, 12 << 10);

/// Some of the rows, spread evenly, on which single sites are tried.
pub(super) fn few(rows: &Encoded) -> Encoded {
    let tokens: usize = rows.ids.iter().map(Vec::len).sum();
    let fit = (TRIED.1 * rows.ids.len() / tokens.max(1)).max(1);
    let count = rows.ids.len().min(TRIED.0).min(fit);
    rows.select(&(0..count).map(|i| i * rows.ids.len() / count.max(1)).collect::<Vec<_>>())
}

/// What is worked on.
pub(super) struct Work<'a> {
    pub(super) planned: &'a PlannedAllocation,
    pub(super) stage: &'a PlannedStage,
    pub(super) header: &'a ModelHeader,
    pub(super) original: &'a Model,
    pub(super) before: &'a Model,
    /// The stage's sites, by place.
    pub(super) targets: &'a [usize],
    /// Calibration rows, for what sites are fed.
    pub(super) rows: &'a Encoded,
    /// Some of them, on which single sites are tried; it has scored the original on them.
    pub(super) tried: &'a Bench<'a>,
    /// Held-out rows, by which results are judged; the same.
    pub(super) judged: &'a Bench<'a>,
}

impl Work<'_> {
    /// Shares the budget out and runs the stage both ways, by `run(action, 0)` and `run(action, 1)`; gives the better one, and what
    /// is told of it.
    ///
    /// # Cost
    ///
    /// The stage twice, and for every site and level the method and half a forward pass over the rows on which it is tried; one
    /// forward pass over all rows, and another over those, for every 512 MiB of products.
    ///
    /// # Errors
    ///
    /// As the stage and the forward pass.
    pub(super) fn run(
        &self,
        run: impl Fn(Box<dyn SiteAction>, usize) -> Result<AfterStage>,
        ctx: &RunContext<'_>,
    ) -> Result<(AfterStage, Allocation)> {
        let levels = self.levels()?;
        let losses = self.losses(ctx)?;
        let chosen = self.share_out(&levels, &losses)?;
        let mut told = self.told(&chosen, &losses);
        let uniform = vec![self.planned.uniform; self.targets.len()];
        let mut tried = Vec::new();
        for choice in [&chosen, &uniform] {
            let after = run(Box::new(self.action(choice)?), tried.len())?;
            let answers = self.judged.score(&after.model.realized()?, ctx)?;
            tried.push((after, self.loss(&answers)?, self.judged.moved(&answers)?));
        }
        let (Some((single, uniform_loss, single_rows)), Some((shared, loss, rows))) = (tried.pop(), tried.pop()) else {
            return Err(EngineError::Internal("two results were to be compared".into()));
        };
        (told.loss, told.uniform_loss) = (loss, uniform_loss);
        let apart: Vec<(f64, usize)> = rows.iter().zip(&single_rows).map(|(a, b)| (a.0 - b.0, a.1)).collect();
        let difference = mean_by_rows(&apart);
        told.standard_error = difference.map(|(_, error)| error);
        told.is_kept = difference.is_some_and(|(mean, error)| mean + Z_95 * error < 0.0);
        let mut kept = if told.is_kept { shared } else { single };
        if self.original.is_stored() {
            kept.fallbacks.push(Fallback {
                site: String::new(),
                what: "a budget shared out by how far the outputs of single sites move".to_owned(),
                why: "the model stays in its file: it is not run for every level of every site".to_owned(),
            });
        }
        if !told.is_kept {
            kept.fallbacks.push(Fallback {
                site: String::new(),
                what: "one level for all sites".to_owned(),
                why:
                    "on held-out rows a budget shared out is no nearer to the original, or by no more than chance gives"
                        .to_owned(),
            });
        }
        Ok((kept, told))
    }

    fn levels(&self) -> Result<Vec<Arc<dyn SiteAction>>> {
        let bind = |level| {
            let none = || EngineError::Internal(format!("'{}' has no such level", self.stage.method));
            allocation::bind(self.stage, level).map(Arc::from).ok_or_else(none)
        };
        self.planned.levels.iter().map(bind).collect()
    }

    /// How far answers move with each site alone at each level, by target.
    fn losses(&self, ctx: &RunContext<'_>) -> Result<Vec<Vec<f64>>> {
        let mut losses = Vec::with_capacity(self.targets.len());
        for sites in self.groups()? {
            let targets = sites.iter().map(|site| self.target(*site)).collect::<Result<Vec<_>>>()?;
            let seen = match self.wanted() {
                Some(wanted) => taken(self.original, (sites, true), wanted, self.rows, ctx)?,
                None => Sites::new(),
            };
            let given = Given { model: self.original, targets: &targets, seen: &[seen], bench: Some(self.tried) };
            let sites = table(&given, ctx)?.sites;
            losses.extend(
                sites.iter().map(|site| site.levels.iter().map(|level| self.loss_at(level)).collect::<Vec<_>>()),
            );
        }
        Ok(losses)
    }

    /// How far answers move; of a model that stays in its file, which is not run for every level of every site, the power of the
    /// error in what the site puts out, relative to that itself.
    fn loss_at(&self, level: &Level) -> f64 {
        match level.loss() {
            None if self.original.is_stored() => level.relative_error.map_or(0.0, |error| error * error),
            loss => loss.unwrap_or(f64::NAN),
        }
    }

    fn target(&self, site: usize) -> Result<Target> {
        let (spec, map) = self.at(site)?;
        let choice = |level| {
            let action = allocation::bind(self.stage, level)?;
            let layout = action.layout(spec, &map.map.layout()).ok()?;
            Some(Choice { bits: layout.bits(), actions: vec![(0, action)], layout })
        };
        Ok(Target { site, choices: self.planned.levels.iter().filter_map(choice).collect() })
    }

    fn wanted(&self) -> Option<Wanted> {
        self.planned.levels.first().and_then(|level| allocation::bind(self.stage, level)?.wants())
    }

    /// The targets in turn, so many at a time that what they are fed fits.
    fn groups(&self) -> Result<Vec<&[usize]>> {
        let has_products = self.wanted().is_some_and(|wanted| wanted.gram);
        let mut groups = Vec::new();
        let (mut start, mut held_bytes) = (0, 0usize);
        for (place, site) in self.targets.iter().enumerate() {
            let width = self.at(*site)?.0.r#in;
            let bytes = if has_products { width.saturating_mul(width).saturating_mul(8) } else { 0 };
            if place > start && held_bytes.saturating_add(bytes) > SUMS_BYTES {
                groups.extend(self.targets.get(start..place));
                (start, held_bytes) = (place, 0);
            }
            held_bytes = held_bytes.saturating_add(bytes);
        }
        groups.extend(self.targets.get(start..));
        Ok(groups)
    }

    fn at(&self, site: usize) -> Result<(&SiteSpec, &Linear)> {
        let found = self.before.sites.get(site).zip(self.before.maps.get(site));
        found
            .map(|(spec, map)| (spec, map.as_ref()))
            .ok_or_else(|| EngineError::Internal(format!("there is no site {site}")))
    }

    /// A level for each target, such that the file fits.
    fn share_out(&self, levels: &[Arc<dyn SiteAction>], losses: &[Vec<f64>]) -> Result<Vec<usize>> {
        let before = Forms::of_model(self.before);
        let file = |chosen: &[usize]| -> Result<u64> {
            let mut forms = before.clone();
            for (site, level) in self.targets.iter().zip(chosen) {
                let (spec, _) = self.at(*site)?;
                let lost = || EngineError::Internal("a level is gone".into());
                let (layout, input) = forms.layouts.get_mut(*site).zip(forms.inputs.get_mut(*site)).ok_or_else(lost)?;
                let action = levels.get(*level).ok_or_else(lost)?;
                *layout = action.layout(spec, layout).map_err(EngineError::Internal)?;
                *input = action.input(spec, layout, *input, self.header.reads(spec));
            }
            Ok(hf::Manifest::new(self.header, &forms)?.file_bytes())
        };
        let uniform = vec![self.planned.uniform; self.targets.len()];
        let whole = file(&uniform)?;
        // What a site takes at a level, beside one that takes nothing: differences of whole files, so that names count too
        let mut menus = Vec::with_capacity(losses.len());
        for (place, losses) in losses.iter().enumerate() {
            let mut menu = Vec::with_capacity(losses.len());
            for (level, loss) in losses.iter().enumerate() {
                let mut one = uniform.clone();
                one[place] = level;
                menu.push(allocate::Level { bytes: file(&one)?, loss: *loss });
            }
            let least = menu.iter().map(|level| level.bytes).min().unwrap_or(0);
            for level in &mut menu {
                level.bytes -= least;
            }
            menus.push(menu);
        }
        let spent: u64 = menus.iter().filter_map(|menu| menu.get(self.planned.uniform)).map(|level| level.bytes).sum();
        let mut budget = (self.planned.max_bytes + spent).saturating_sub(whole);
        for _ in 0..MOST_CUTS {
            let Some(chosen) = allocate(&menus, budget) else { break };
            let bytes = file(&chosen)?;
            if bytes <= self.planned.max_bytes {
                return Ok(chosen);
            }
            budget = budget.saturating_sub(bytes - self.planned.max_bytes);
        }
        Ok(uniform)
    }

    fn action(&self, chosen: &[usize]) -> Result<Shared> {
        let levels = self.levels()?;
        let lost = || EngineError::Internal("a level is gone".into());
        let mut by_site = BTreeMap::new();
        for (site, level) in self.targets.iter().zip(chosen) {
            by_site.insert(self.at(*site)?.0.site.clone(), Arc::clone(levels.get(*level).ok_or_else(lost)?));
        }
        Ok(Shared { by_site, any: Arc::clone(levels.first().ok_or_else(lost)?) })
    }

    fn loss(&self, answers: &Answers) -> Result<Option<f64>> {
        let fidelity = self.judged.fidelity(answers)?;
        Ok(fidelity.and_then(|f| {
            f.kl.map(|kl| kl.mean)
                .or_else(|| f.numbers.map(|numbers| numbers.rms_difference))
                .or_else(|| f.cosine.map(|cosine| 1.0 - cosine))
        }))
    }

    fn told(&self, chosen: &[usize], losses: &[Vec<f64>]) -> Allocation {
        let site = |((site, level), losses): ((&usize, &usize), &Vec<f64>)| Allocated {
            site: self.before.sites.get(*site).map(|spec| spec.site.clone()).unwrap_or_default(),
            level: *level,
            loss: losses.get(*level).copied().filter(|loss| loss.is_finite() && !self.original.is_stored()),
        };
        Allocation {
            stage: self.planned.stage,
            max_bytes: self.planned.max_bytes,
            levels: self.planned.levels.clone(),
            uniform: self.planned.uniform,
            sites: self.targets.iter().zip(chosen).zip(losses).map(site).collect(),
            loss: None,
            uniform_loss: None,
            standard_error: None,
            is_kept: false,
        }
    }
}

/// An action whose sites have a level each.
struct Shared {
    by_site: BTreeMap<String, Arc<dyn SiteAction>>,
    any: Arc<dyn SiteAction>,
}

impl Shared {
    fn of(&self, site: &SiteSpec) -> &dyn SiteAction {
        self.by_site.get(&site.site).unwrap_or(&self.any).as_ref()
    }
}

impl SiteAction for Shared {
    fn layout(&self, site: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        self.of(site).layout(site, current)
    }

    fn input(&self, site: &SiteSpec, layout: &Layout, current: InputForm, is_run: bool) -> InputForm {
        self.of(site).input(site, layout, current, is_run)
    }

    fn wants(&self) -> Option<Wanted> {
        self.any.wants()
    }

    fn follows(&self) -> bool {
        self.any.follows()
    }

    fn streams(&self) -> Streams {
        Streams::No
    }

    fn apply(&self, site: &SiteSpec, linear: &Linear, fed: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        self.of(site).apply(site, linear, fed)
    }
}
