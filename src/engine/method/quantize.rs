//! Round-to-nearest: each weight to the nearest of a few evenly spaced ones.
//!
//! `q_ij = round(w_ij / s_ig) + z_ig`, `ŵ_ij = (q_ij - z_ig) s_ig`, one scale `s` and zero point `z` per row and group of
//! columns, or one for the whole matrix. Weights are `[out, in]`; rows of embedding tables are groups like any other. Costs one pass over the weights,
//! 120 with `observer: mse`; where a layer norm follows, [`super::centered`] rounds twice. Nagel et al. 2021, arXiv 2106.08295, sections 2-3; the search of the range as in the code of
//! Frantar et al. 2022, arXiv 2210.17323.

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::params::{Kind, ParamSpec};
use super::range::{Grid, Observer, Scheme};
use super::{Action, Fallback, Fed, Method, MethodSpec, Needs, SiteAction, Streams, activations, centered};
use crate::engine::calibrate::Wanted;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::grouped::Grouped;
use crate::engine::model::linear::{Linear, LinearMap};
use crate::engine::model::{Dtype, Layout, SiteSpec};
use crate::engine::problem::{Code, Problem};

/// Percent of the weights that the observer `percentile` holds where nothing else is said.
const PERCENTILE: f64 = 99.99;

/// The method.
pub struct Quantize;

static SPEC: MethodSpec = MethodSpec {
    name: "quantize",
    family: "quantization",
    summary: "Rounds weights to 2 to 8 bits with a scale per matrix, row or group of columns.",
    source: "Nagel et al. 2021, arXiv 2106.08295",
    needs: Needs::Nothing,
    params: &[
        ParamSpec {
            name: "bits",
            kind: Kind::OneOf(&[2, 3, 4, 5, 6, 7, 8], 8),
            doc: "Bits of a code. Stock runtimes load 4 and 8, pare alone all others.",
        },
        ParamSpec {
            name: "strategy",
            kind: Kind::OptionalWord(&["tensor", "channel", "group"]),
            doc: "What shares a scale: the whole matrix, a row, or group_size columns of a row. Left out, group_size decides.",
        },
        ParamSpec {
            name: "group_size",
            kind: Kind::OneOf(&[-1, 16, 32, 64, 128, 256, 512, 1024], -1),
            doc: "Columns that share a scale; -1: the whole row (per channel). A last short group is kept short.",
        },
        ParamSpec {
            name: "symmetric",
            kind: Kind::Bool(true),
            doc: "Without zero points. Asymmetric ranges cost `bits` more a group and fit skewed weights better.",
        },
        ParamSpec {
            name: "observer",
            kind: Kind::Word(&["minmax", "percentile", "mse", "weighted_mse"], "mse"),
            doc: "minmax: the range that holds every weight. percentile: the one that holds that many percent. mse: the one \
                  with the least squared error. weighted_mse: the same with columns weighted by the mean square of their \
                  inputs on calibration text.",
        },
        ParamSpec {
            name: "percentile",
            kind: Kind::Share(50.0, 100.0, PERCENTILE),
            doc: "Percent of the weights that the observer of that name holds: of their sizes where symmetric, else at either \
                  end.",
        },
        ParamSpec {
            name: "scale_format",
            kind: Kind::Word(&["float", "power_of_two"], "float"),
            doc: "power_of_two: scales rounded up to the next power, so that a multiplication is a shift (dynamic fixed \
                  point); costs 6 dB at most.",
        },
        activations::PARAM,
    ],
    default_targets: &["**"],
};

impl Method for Quantize {
    fn spec(&self) -> &'static MethodSpec {
        &SPEC
    }

    fn bind(&self, params: &Map<String, Value>) -> std::result::Result<Action, Vec<Problem>> {
        let whole = |name: &str| params.get(name).and_then(Value::as_i64);
        let word = |name: &str| params.get(name).and_then(Value::as_str);
        let group_size = whole("group_size").and_then(|n| usize::try_from(n).ok());
        let percentile = params.get("percentile").and_then(Value::as_f64).unwrap_or(PERCENTILE);
        let observer = match word("observer") {
            Some("percentile") => Observer::Percentile(percentile),
            other => Observer::parse(other.unwrap_or_default()),
        };
        let mut problems = Vec::new();
        let mut refuse = |pointer: &str, detail: String| {
            problems.push(Problem::new(pointer, Code::OutOfRange, detail));
        };
        match (word("strategy"), group_size) {
            (Some("group"), None) => {
                refuse("/group_size", "-1: the strategy 'group' needs a group_size from 16 to 1024".to_owned());
            }
            (Some(strategy @ ("tensor" | "channel")), Some(size)) => {
                let detail = format!("'{strategy}' has no groups, and group_size is {size}: leave one of them out");
                refuse("/strategy", detail);
            }
            _ => {}
        }
        if percentile != PERCENTILE && !matches!(observer, Observer::Percentile(_)) {
            refuse("/percentile", "only \"observer\": \"percentile\" looks at it".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let round = Round {
            bits: whole("bits").and_then(|n| u32::try_from(n).ok()).unwrap_or(8),
            group_size,
            per_tensor: word("strategy") == Some("tensor"),
            symmetric: params.get("symmetric").and_then(Value::as_bool).unwrap_or(true),
            observer,
            power_of_two: word("scale_format") == Some("power_of_two"),
        };
        Ok(Action::Site(activations::with(Box::new(round), params)))
    }
}

/// What is known of weights beside themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known<'a> {
    /// `E[x_j²]`, `[in]`, where it is wanted.
    pub importance: Option<&'a [f32]>,
    /// A map of the same shape and grouping of weights that are nearly these: grids are looked for around its own.
    pub near: Option<&'a Grouped>,
}

/// Round-to-nearest with its parameters.
#[derive(Debug, Clone)]
pub struct Round {
    /// Bits of a code.
    pub bits: u32,
    /// Columns that share a scale; `None`: the whole row.
    pub group_size: Option<usize>,
    /// One scale for the whole matrix.
    pub per_tensor: bool,
    /// Without zero points.
    pub symmetric: bool,
    /// How a range is chosen.
    pub observer: Observer,
    /// Whether scales are powers of two.
    pub power_of_two: bool,
}

impl Round {
    /// The group size for rows of that width: one that holds the whole row is no grouping.
    fn group_size(&self, columns: usize) -> Option<usize> {
        self.group_size.filter(|size| *size < columns && !self.per_tensor)
    }

    /// Quantizes `[out, in]` weights. `importance: [in]` is `E[x_j²]`, where it is known and wanted.
    ///
    /// Also returns how many groups are so small that the type of the scales can't hold theirs.
    pub fn quantize(
        &self,
        weights: &[f32],
        shape: (usize, usize),
        scale_dtype: Dtype,
        importance: Option<&[f32]>,
    ) -> (Grouped, usize) {
        self.quantize_near(weights, shape, scale_dtype, Known { importance, near: None })
    }

    /// The same, where grids of weights that are nearly these may be known.
    pub(super) fn quantize_near(
        &self,
        weights: &[f32],
        (out, r#in): (usize, usize),
        scale_dtype: Dtype,
        known: Known<'_>,
    ) -> (Grouped, usize) {
        let group_size = self.group_size(r#in);
        let Self { bits, symmetric, observer, power_of_two, per_tensor, .. } = *self;
        let scheme = Scheme { bits, symmetric, observer, power_of_two, scale_dtype };
        let mut codes = vec![0i8; weights.len()];
        let grids = if per_tensor {
            vec![whole(scheme, weights, known, &mut codes)]
        } else {
            by_rows(scheme, weights, (r#in, group_size), known, &mut codes)
        };
        let grouped = Grouped {
            out,
            r#in,
            bits,
            group_size,
            per_tensor,
            codes,
            scales: grids.iter().map(|(grid, _)| grid.scale).collect(),
            zeros: (!symmetric).then(|| grids.iter().map(|(grid, _)| grid.zero as i8).collect()),
            scale_dtype,
        };
        (grouped, grids.iter().filter(|(_, raised)| *raised).count())
    }

    fn layout_of(&self, current: &Layout) -> std::result::Result<Layout, String> {
        match current {
            Layout::Dense { out, r#in, dtype, .. } => Ok(Layout::Grouped {
                out: *out,
                r#in: *r#in,
                bits: self.bits,
                group_size: self.group_size(*r#in),
                per_tensor: self.per_tensor,
                symmetric: self.symmetric,
                scale_dtype: *dtype,
            }),
            Layout::Product { left, right } => {
                Ok(Layout::Product { left: Box::new(self.layout_of(left)?), right: Box::new(self.layout_of(right)?) })
            }
            other => {
                Err(format!("'{}' can't be rounded again: quantize works on dense and product maps", other.form()))
            }
        }
    }

    fn map(
        &self,
        map: &LinearMap,
        (is_centered, importance): (bool, Option<&[f32]>),
        raised: &mut usize,
    ) -> Result<LinearMap> {
        match map {
            LinearMap::Dense(dense) => {
                let shape = dense.weight.dims2()?;
                let (grouped, few) = map.look(|weights| {
                    if is_centered {
                        centered::quantize(self, weights, shape, dense.dtype, importance)
                    } else {
                        self.quantize(weights, shape, dense.dtype, importance)
                    }
                })?;
                *raised += few;
                Ok(LinearMap::Grouped(grouped))
            }
            // Of two factors the left one makes the outputs, and the right one is fed the inputs
            LinearMap::Product(left, right) => Ok(LinearMap::Product(
                Box::new(self.map(left, (is_centered, None), raised)?),
                Box::new(self.map(right, (false, importance), raised)?),
            )),
            other => Err(EngineError::Internal(format!("a {} map reached quantize", other.layout().form()))),
        }
    }
}

/// One grid for all weights of a matrix, and whether its scale was raised; and their codes.
fn whole(scheme: Scheme, weights: &[f32], known: Known<'_>, codes: &mut [i8]) -> (Grid, bool) {
    const PART: usize = 1 << 16;
    let (grid, raised) = scheme.grid_near(weights, known.importance, known.near.map(|map| Grid::of(map, 0, 0)));
    codes.par_chunks_mut(PART).zip(weights.par_chunks(PART)).for_each(|(codes, weights)| grid.codes(weights, codes));
    (grid, raised)
}

/// The grids of all rows and groups, and whether their scales were raised; and their codes.
fn by_rows(
    scheme: Scheme,
    weights: &[f32],
    (columns, group_size): (usize, Option<usize>),
    known: Known<'_>,
    codes: &mut [i8],
) -> Vec<(Grid, bool)> {
    let columns = columns.max(1);
    let (size, groups) = (group_size.unwrap_or(columns).max(1), Grouped::groups(columns, group_size).max(1));
    let mut grids = vec![(Grid { scale: 1.0, zero: 0, low: 0, high: 0 }, false); weights.len() / columns * groups];
    let rows = codes.par_chunks_mut(columns).zip(weights.par_chunks(columns)).zip(grids.par_chunks_mut(groups));
    rows.enumerate().for_each(|(row, ((codes, weights), grids))| {
        let groups = codes.chunks_mut(size).zip(weights.chunks(size)).zip(grids).enumerate();
        for (group, ((codes, weights), cell)) in groups {
            let own = known.importance.and_then(|all| all.chunks(size).nth(group));
            *cell = scheme.grid_near(weights, own, known.near.map(|map| Grid::of(map, row, group * size)));
            cell.0.codes(weights, codes);
        }
    });
    grids
}

/// Shares of the mean, so that sums of errors stay in the range of f32.
pub(super) fn relative(mean_squares: &[f64]) -> Vec<f32> {
    let mean = mean_squares.iter().sum::<f64>() / mean_squares.len().max(1) as f64;
    mean_squares.iter().map(|e| if mean > 0.0 { (e / mean) as f32 } else { 1.0 }).collect()
}

impl SiteAction for Round {
    fn layout(&self, _: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        self.layout_of(current)
    }

    fn streams(&self) -> Streams {
        match self.observer {
            Observer::WeightedMse => Streams::No,
            _ if self.per_tensor => Streams::Maps,
            _ => Streams::Rows,
        }
    }

    fn wants(&self) -> Option<Wanted> {
        (self.observer == Observer::WeightedMse).then(Wanted::default)
    }

    fn apply(&self, site: &SiteSpec, linear: &Linear, fed: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        let importance: Option<Vec<f32>> =
            fed.filter(|_| self.observer == Observer::WeightedMse).map(|fed| relative(&fed.fit.mean_squares()));
        let mut raised = 0;
        let map = self.map(&linear.map, (site.is_centered, importance.as_deref()), &mut raised)?;
        let mut fallbacks = Vec::new();
        if self.observer == Observer::WeightedMse && fed.is_none() {
            fallbacks.push(Fallback {
                site: site.site.clone(),
                what: "ranges by the plain squared error".to_owned(),
                why: "nothing is known of what this site is fed: a table, or a model that can't be run".to_owned(),
            });
        }
        fallbacks.extend(Fallback::raised(&site.site, raised));
        if let Some(size) = self.group_size(site.r#in).filter(|size| !site.r#in.is_multiple_of(*size)) {
            fallbacks.push(Fallback {
                site: site.site.clone(),
                what: format!("a last group of {} columns", site.r#in % size),
                why: format!("groups of {size} do not divide {} columns", site.r#in),
            });
        }
        Ok((Linear { map, ..linear.clone() }, fallbacks))
    }
}

#[cfg(test)]
mod tests;
