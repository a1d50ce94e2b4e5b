//! GPTQ: codes by columns, in an order, where the columns that are left make up for what was lost.
//!
//! Approximates the anchored target `W*` ([`crate::engine::calibrate::anchored`]) in the metric `Ĉ = X̂ᵀX̂` of what the site is fed
//! by the model that is compressed up to there, so that it also makes up for what was lost before it. Grids are those of
//! [`super::quantize`], one per row and group of columns, chosen on `W*` before the first column is rounded, so that the order of
//! columns does not show in what is stored; `weighted_mse` weighs errors by what columns behind them can't make up for
//! ([`Feedback::importance`]). The sweep is [`super::feedback`]'s.
//!
//! Each site is judged by its outputs on rows that it was not fitted to, against plain rounding: the better one is kept.
//!
//! Source: Frantar et al. 2022, arXiv 2210.17323, algorithm 1; the anchored target of Li et al. 2025, arXiv 2504.02692 (GPTAQ).
//! Costs the forward pass of the model over all rows once and that of the original over some of them, `tokens · in²` flops for the
//! sums and twice as many again on those rows, and per site
//! `out · in²` for each of sweep, target and judgement, and `2/3 in³` in f64 for the factor.

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::feedback::Feedback;
use super::judged::{Best, Judges};
use super::params::{Kind, ParamSpec};
use super::quantize::{Known, Round, relative};
use super::range::{Grid, Observer};
use super::{Action, Fallback, Fed, Method, MethodSpec, Needs, SiteAction, Streams, centered};
use crate::engine::calibrate::Wanted;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::grouped::Grouped;
use crate::engine::model::linear::{Dense, Linear, LinearMap};
use crate::engine::model::{Layout, SiteSpec};
use crate::engine::problem::Problem;

/// The method.
pub struct Gptq;

static SPEC: MethodSpec = MethodSpec {
    name: "gptq",
    family: "quantization",
    summary: "Rounds column by column, the columns that are left making up for what was lost; anchored at the original's outputs.",
    source: "Frantar et al. 2022, arXiv 2210.17323",
    needs: Needs::Calibration,
    params: &[
        ParamSpec { name: "bits", kind: Kind::OneOf(&[2, 3, 4, 5, 6, 7, 8], 4), doc: "Bits of a code." },
        ParamSpec {
            name: "group_size",
            kind: Kind::OneOf(&[-1, 16, 32, 64, 128, 256, 512, 1024], 64),
            doc: "Columns that share a scale; -1: the whole row (per channel). A last short group is kept short.",
        },
        ParamSpec { name: "symmetric", kind: Kind::Bool(false), doc: "Without zero points." },
        ParamSpec {
            name: "observer",
            kind: Kind::Word(&["minmax", "mse", "weighted_mse"], "weighted_mse"),
            doc: "How ranges are chosen, as for quantize; weighted_mse weighs what columns behind can't make up for.",
        },
        ParamSpec {
            name: "damp_percent",
            kind: Kind::Share(0.0, 1.0, 0.01),
            doc: "Share of the mean of the inputs' squares that is added to each; ten times as much where that does not do.",
        },
        ParamSpec {
            name: "act_order",
            kind: Kind::Bool(true),
            doc: "Columns with the largest inputs first. Does not change what is stored of them: groups stay as they lie.",
        },
        ParamSpec {
            name: "anchored",
            kind: Kind::Bool(true),
            doc: "Near to the original's outputs on the original's inputs; otherwise to those of its weights on the inputs that are left.",
        },
    ],
    default_targets: &["block.**"],
};

impl Method for Gptq {
    fn spec(&self) -> &'static MethodSpec {
        &SPEC
    }

    fn bind(&self, params: &Map<String, Value>) -> std::result::Result<Action, Vec<Problem>> {
        let whole = |name: &str| params.get(name).and_then(Value::as_i64);
        let is = |name: &str, default| params.get(name).and_then(Value::as_bool).unwrap_or(default);
        let round = Round {
            bits: whole("bits").and_then(|n| u32::try_from(n).ok()).unwrap_or(4),
            group_size: whole("group_size").and_then(|n| usize::try_from(n).ok()),
            per_tensor: false,
            power_of_two: false,
            symmetric: is("symmetric", false),
            observer: Observer::parse(params.get("observer").and_then(Value::as_str).unwrap_or_default()),
        };
        let damp_percent = params.get("damp_percent").and_then(Value::as_f64).unwrap_or(0.01);
        let (act_order, anchored) = (is("act_order", true), is("anchored", true));
        Ok(Action::Site(Box::new(Sweep { round, damp_percent, act_order, anchored })))
    }
}

/// GPTQ with its parameters.
#[derive(Debug)]
struct Sweep {
    round: Round,
    damp_percent: f64,
    act_order: bool,
    anchored: bool,
}

/// A site's plain weights on their way.
struct Work<'a> {
    site: &'a SiteSpec,
    dense: &'a Dense,
    shape: (usize, usize),
    importance: Option<Vec<f32>>,
    fed: Fed<'a>,
}

impl Sweep {
    fn site(&self, site: &SiteSpec, linear: &Linear, fed: Fed<'_>) -> Result<(Grouped, Vec<Fallback>)> {
        let LinearMap::Dense(dense) = &linear.map else {
            return Err(EngineError::Internal(format!("a {} map reached gptq", linear.map.layout().form())));
        };
        // What outputs are compared with: the original's weights, or those before the stage
        let original = &if self.anchored { fed.original.unwrap_or(&linear.map) } else { &linear.map }.to_vec()?;
        let weighted = self.round.observer == Observer::WeightedMse;
        let importance = weighted.then(|| relative(&fed.fit.mean_squares()));
        let work = Work { site, dense, shape: dense.weight.dims2()?, importance, fed };
        let mut fallbacks = Vec::new();
        let (plain, raised) = self.plain(&work, &linear.map.to_vec()?);
        let weights = plain.decode();
        let mut best = Best::new(Judges::new(original, &fed, site.is_centered)?, plain, &weights);
        match self.feedback(&work, &mut fallbacks) {
            None => {
                fallbacks.push(work.fallback("rounded to nearest", "no damping gives the inputs' products a factor"));
            }
            Some(feedback) => {
                let is_anchored = self.anchored && fed.fit.cross.is_some();
                let target = if is_anchored { best.judges.target(&feedback) } else { linear.map.to_vec()? };
                if !self.sweeps(&work, &target, &feedback, &mut best) {
                    let why = "rows that were not fitted to lose less by it than by passing errors on";
                    fallbacks.push(work.fallback("rounded to nearest", why));
                }
            }
        }
        fallbacks.extend(Fallback::raised(&site.site, raised));
        Ok((best.found, fallbacks))
    }

    /// Rounds a target in sequence, and once more where a norm lets it be moved; tells whether any of it is better than what is kept.
    fn sweeps(&self, work: &Work<'_>, target: &[f32], feedback: &Feedback, best: &mut Best<'_, Grouped>) -> bool {
        let importance = work.importance.is_some().then(|| relative(&feedback.importance()));
        let grids = |target: &[f32], near: &Grouped| {
            let known = Known { importance: importance.as_deref(), near: Some(near) };
            self.round.quantize_near(target, work.shape, work.dense.dtype, known).0
        };
        let plain = grids(target, &best.found);
        let mut offer = |grids: Grouped, target: &[f32]| {
            let map = sweep(grids, target, feedback);
            let weights = map.decode();
            best.offer(map, &weights)
        };
        let moved = work.site.is_centered.then(|| {
            let moved = centered::moved(&plain, target);
            (grids(&moved, &plain), moved)
        });
        let is_better = offer(plain, target);
        moved.is_some_and(|(grids, moved)| offer(grids, &moved)) | is_better
    }

    fn feedback(&self, work: &Work<'_>, fallbacks: &mut Vec<Fallback>) -> Option<Feedback> {
        let gram = work.fed.fit.gram.as_ref()?;
        let feedback = Feedback::new(gram, work.shape.1, self.damp_percent, self.act_order)?;
        if feedback.damp_percent > self.damp_percent {
            let why = "with less the inputs' products have no factor: too few tokens, or inputs that repeat each other";
            fallbacks.push(work.fallback(&format!("damped by {}", feedback.damp_percent), why));
        }
        Some(feedback)
    }

    /// Plain rounding of what is there.
    fn plain(&self, work: &Work<'_>, weights: &[f32]) -> (Grouped, usize) {
        let (dtype, importance) = (work.dense.dtype, work.importance.as_deref());
        if work.site.is_centered {
            centered::quantize(&self.round, weights, work.shape, dtype, importance)
        } else {
            self.round.quantize(weights, work.shape, dtype, importance)
        }
    }
}

/// Codes for a target on the grids of a map, one column after another.
fn sweep(mut map: Grouped, target: &[f32], feedback: &Feedback) -> Grouped {
    let rounded = feedback.round(target, |row, column, weight| {
        let grid = Grid::of(&map, row, column);
        grid.weight(grid.code(weight))
    });
    map.codes = codes(&map, &rounded);
    map
}

/// The codes of weights that lie on a map's grids.
fn codes(map: &Grouped, weights: &[f32]) -> Vec<i8> {
    let columns = map.r#in.max(1);
    let size = map.group_size.unwrap_or(columns).max(1);
    let mut codes = vec![0i8; weights.len()];
    codes.par_chunks_mut(columns).zip(weights.par_chunks(columns)).enumerate().for_each(|(row, (codes, weights))| {
        for (group, (codes, weights)) in codes.chunks_mut(size).zip(weights.chunks(size)).enumerate() {
            Grid::of(map, row, group * size).codes(weights, codes);
        }
    });
    codes
}

impl Work<'_> {
    fn fallback(&self, what: &str, why: &str) -> Fallback {
        Fallback { site: self.site.site.clone(), what: what.to_owned(), why: why.to_owned() }
    }
}

impl SiteAction for Sweep {
    fn layout(&self, site: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        match current {
            Layout::Dense { .. } => self.round.layout(site, current),
            other => Err(format!("'{}' can't be rounded in sequence: gptq works on dense maps", other.form())),
        }
    }

    fn wants(&self) -> Option<Wanted> {
        Some(Wanted { gram: true, cross: self.anchored, ..Wanted::default() })
    }

    fn follows(&self) -> bool {
        true
    }

    fn streams(&self) -> Streams {
        Streams::No
    }

    fn apply(&self, site: &SiteSpec, linear: &Linear, fed: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        let Some(fed) = fed else {
            let plain = Round { observer: self.round.observer.plain(), ..self.round.clone() };
            let (linear, mut fallbacks) = plain.apply(site, linear, None)?;
            fallbacks.push(Fallback {
                site: site.site.clone(),
                what: "rounded to nearest".to_owned(),
                why: "nothing is known of what this site is fed: a table, or a model that can't be run".to_owned(),
            });
            return Ok((linear, fallbacks));
        };
        let (map, fallbacks) = self.site(site, linear, *fed)?;
        Ok((Linear { map: LinearMap::Grouped(map), ..linear.clone() }, fallbacks))
    }
}

#[cfg(test)]
mod tests;
