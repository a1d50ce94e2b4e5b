//! Sharing: many weights have one value. `ŵ_i = c_g(i)[k_i]`, a table `c` of a few centroids for each run of weights in row
//! order and an index `k` into it for every weight.
//!
//! Tables are those of the least `Σ_i a_i (w_i − ŵ_i)²`, by k-means on a line ([`kmeans`]): `a = 1`, or `E[x_j²]` of the column
//! on calibration text. Han et al. 2016, arXiv 1510.00149; that the optimum can be had, Grønlund et al. 2017, arXiv 1701.07204.
//! A share of the weights furthest from the mean may stand for themselves: GOBO, Zadeh et al. 2020, arXiv 2005.03842.
//!
//! With the inputs' products at hand, tables and indices are found by what they do to the outputs: [`outputs`].
//!
//! Costs a sort of the weights, and for each table what [`kmeans`] says.

pub mod kmeans;
mod outputs;
mod refit;

use rayon::prelude::*;
use serde_json::{Map, Value};

use self::kmeans::Points;
use super::params::{Kind, ParamSpec};
use super::{Action, Fallback, Fed, Method, MethodSpec, Needs, SiteAction, Streams};
use crate::engine::calibrate::Wanted;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::linear::{Linear, LinearMap};
use crate::engine::model::sparse::{Codebook, Outliers};
use crate::engine::model::{Dtype, Layout, SiteSpec};
use crate::engine::problem::Problem;

/// The optimum of a table is looked for up to this many of its weights times centroids: a gigabyte of places and some seconds.
const MOST_CELLS: usize = 1 << 24;
/// What a column counts at least, as a share of the mean.
const LEAST_COUNT: f32 = 1e-6;

/// The method.
pub struct Share;

static SPEC: MethodSpec = MethodSpec {
    name: "share",
    family: "sharing",
    summary: "Lets many weights share one value: tables of centroids, and an index for every weight.",
    source: "Han et al. 2016, arXiv 1510.00149",
    needs: Needs::Nothing,
    params: &[
        ParamSpec {
            name: "centroids",
            kind: Kind::Count(2, 256, 16),
            doc: "Values that a table holds; an index takes as many bits as they need.",
        },
        ParamSpec {
            name: "group_size",
            kind: Kind::CountOrAll(64, 1 << 30, 1536),
            doc: "Weights in row order that share a table; -1: all of the matrix. A last short group is kept short.",
        },
        ParamSpec {
            name: "objective",
            kind: Kind::Word(&["mse", "weighted_mse", "outputs"], "mse"),
            doc: "What tables are near to. mse: the weights. weighted_mse: the same with columns weighted by the mean square of \
                  their inputs on calibration text. outputs: the original's outputs, site after site; columns that are left \
                  make up for what was lost, and tables and indices take turns.",
        },
        ParamSpec {
            name: "solver",
            kind: Kind::Word(&["exact", "lloyd"], "exact"),
            doc: "exact: the optimum, by dynamic programming, where a table is not too large for it. lloyd: Lloyd's iteration.",
        },
        ParamSpec {
            name: "outlier_share",
            kind: Kind::Part(0.0, 0.05, 0.0),
            doc: "Share of the weights, those furthest from the matrix's mean, that stand for themselves.",
        },
    ],
    default_targets: &["**"],
};

impl Method for Share {
    fn spec(&self) -> &'static MethodSpec {
        &SPEC
    }

    fn bind(&self, params: &Map<String, Value>) -> std::result::Result<Action, Vec<Problem>> {
        let whole = |name: &str| params.get(name).and_then(Value::as_i64).and_then(|n| usize::try_from(n).ok());
        let word = |name: &str| params.get(name).and_then(Value::as_str);
        Ok(Action::Site(Box::new(Tables {
            centroids: whole("centroids").unwrap_or(16),
            group_size: whole("group_size"),
            objective: match word("objective") {
                Some("weighted_mse") => Objective::WeightedMse,
                Some("outputs") => Objective::Outputs,
                _ => Objective::Mse,
            },
            solver: if word("solver") == Some("lloyd") { Solver::Lloyd } else { Solver::Exact },
            outlier_share: params.get("outlier_share").and_then(Value::as_f64).unwrap_or(0.0),
        })))
    }
}

/// What tables are nearest to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// The weights.
    Mse,
    /// The weights, with columns weighted by `E[x_j²]`.
    WeightedMse,
    /// The original's outputs.
    Outputs,
}

/// How tables are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solver {
    /// The optimum.
    Exact,
    /// What Lloyd's iteration comes to.
    Lloyd,
}

/// Sharing with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// Entries of a table.
    pub centroids: usize,
    /// Weights in row order that share a table; `None`: all.
    pub group_size: Option<usize>,
    /// What tables are nearest to.
    pub objective: Objective,
    /// How they are found.
    pub solver: Solver,
    /// Share of the weights that stand for themselves.
    pub outlier_share: f64,
}

/// A matrix on its way into tables.
struct Matrix<'a> {
    weights: &'a [f32],
    columns: usize,
    /// What each column counts, `[in]`.
    importance: Option<&'a [f32]>,
    outliers: Outliers,
}

impl Matrix<'_> {
    /// The weights `start .. end` that a table is for, with what they count.
    fn points(&self, start: usize, end: usize) -> Points {
        let positions = &self.outliers.positions;
        let mut out = positions.iter().skip(positions.partition_point(|at| (*at as usize) < start)).peekable();
        let weights = self.weights.get(start..end).unwrap_or_default().iter().enumerate();
        let pair = |(i, w): (usize, &f32)| {
            if out.next_if(|at| **at as usize == start + i).is_some() {
                return None;
            }
            let count = self.importance.and_then(|all| all.get((start + i) % self.columns)).copied().unwrap_or(1.0);
            Some((*w, count))
        };
        Points::new(weights.filter_map(pair).collect())
    }
}

impl Tables {
    /// The group size for so many weights: one that holds all is no grouping.
    fn group_size(&self, weights: usize) -> Option<usize> {
        self.group_size.filter(|size| *size < weights)
    }

    /// Weights of so many that stand for themselves.
    fn outliers(&self, weights: usize) -> usize {
        (self.outlier_share * weights as f64).floor() as usize
    }

    /// Shares `[out, in]` weights. `importance: [in]` is `E[x_j²]`, where it is known and wanted.
    ///
    /// Also returns how many tables are not the optimum that was asked for.
    pub fn share(
        &self,
        weights: &[f32],
        (out, r#in): (usize, usize),
        dtype: Dtype,
        importance: Option<&[f32]>,
    ) -> (Codebook, usize) {
        let group_size = self.group_size(weights.len());
        let size = group_size.unwrap_or(weights.len()).max(1);
        let outliers = furthest(weights, self.outliers(weights.len()), dtype);
        let matrix = Matrix { weights, columns: r#in.max(1), importance, outliers };
        let mut tables = vec![0f32; Codebook::tables(weights.len(), group_size) * self.centroids];
        let mut indices = vec![0u8; weights.len()];
        let given_up = tables
            .par_chunks_mut(self.centroids)
            .zip(indices.par_chunks_mut(size))
            .enumerate()
            .map(|(group, (table, indices))| {
                let start = group * size;
                let points = matrix.points(start, start + indices.len());
                let is_optimum = self.fit(&points, dtype, table);
                let nearest = Nearest::new(table);
                let weights = weights.iter().skip(start);
                indices.iter_mut().zip(weights).for_each(|(index, w)| *index = nearest.index(*w));
                usize::from(!is_optimum)
            })
            .sum();
        let outliers = matrix.outliers;
        let codebook = Codebook { out, r#in, indices, tables, centroids: self.centroids, group_size, outliers, dtype };
        (codebook, given_up)
    }

    /// Fills a table with the centroids of some points, in order, the last one again where there are fewer points. Whether
    /// they are what was asked for.
    fn fit(&self, points: &Points, dtype: Dtype, table: &mut [f32]) -> bool {
        let k = self.centroids;
        let is_small = points.len().saturating_mul(k) <= MOST_CELLS;
        let ends = if self.solver == Solver::Exact && is_small { points.exact(k) } else { points.lloyd(k) };
        let means = points.means(&ends);
        let last = means.last().copied().unwrap_or(0.0);
        for (i, centroid) in table.iter_mut().enumerate() {
            *centroid = means.get(i).copied().unwrap_or(last) as f32;
        }
        dtype.round(table);
        is_small || self.solver == Solver::Lloyd
    }

    fn layout_of(&self, current: &Layout) -> std::result::Result<Layout, String> {
        match current {
            Layout::Dense { out, r#in, dtype, .. } => {
                let weights = out.saturating_mul(*r#in);
                let outliers = self.outliers(weights);
                if outliers > 0 && u32::try_from(weights).is_err() {
                    return Err(format!("of {weights} weights none can stand for itself: set outlier_share to 0"));
                }
                Ok(Layout::Codebook {
                    out: *out,
                    r#in: *r#in,
                    centroids: self.centroids,
                    group_size: self.group_size(weights),
                    outliers,
                    dtype: *dtype,
                })
            }
            Layout::Product { left, right } if self.objective != Objective::Outputs => {
                Ok(Layout::Product { left: Box::new(self.layout_of(left)?), right: Box::new(self.layout_of(right)?) })
            }
            other => Err(format!(
                "'{}' can't be shared: share works on dense maps, and but for the objective 'outputs' on products",
                other.form()
            )),
        }
    }

    fn map(&self, map: &LinearMap, importance: Option<&[f32]>, given_up: &mut usize) -> Result<LinearMap> {
        match map {
            LinearMap::Dense(dense) => {
                let shape = dense.weight.dims2()?;
                let (codebook, few) = map.look(|weights| self.share(weights, shape, dense.dtype, importance))?;
                *given_up += few;
                Ok(LinearMap::Codebook(codebook))
            }
            // Of two factors the right one is fed the inputs
            LinearMap::Product(left, right) => Ok(LinearMap::Product(
                Box::new(self.map(left, None, given_up)?),
                Box::new(self.map(right, importance, given_up)?),
            )),
            other => Err(EngineError::Internal(format!("a {} map reached share", other.layout().form()))),
        }
    }
}

/// The `count` weights furthest from the mean of all, the first ones of equals: where the logarithm of a normal density fitted to
/// the weights is least.
fn furthest(weights: &[f32], count: usize, dtype: Dtype) -> Outliers {
    if count == 0 {
        return Outliers::default();
    }
    let mean = (weights.iter().map(|w| f64::from(*w)).sum::<f64>() / weights.len().max(1) as f64) as f32;
    let mut places: Vec<u32> = (0..weights.len() as u32).collect();
    let distance = |at: &u32| weights.get(*at as usize).map_or(0.0, |w| (w - mean).abs());
    if count < places.len() {
        places.select_nth_unstable_by(count, |a, b| distance(b).total_cmp(&distance(a)).then(a.cmp(b)));
        places.truncate(count);
    }
    places.sort_unstable();
    let mut values: Vec<f32> = places.iter().filter_map(|at| weights.get(*at as usize)).copied().collect();
    dtype.round(&mut values);
    Outliers { positions: places, values }
}

/// Which entry of a table in order is nearest.
struct Nearest {
    /// Between each two neighbours.
    halves: Vec<f64>,
}

impl Nearest {
    fn new(table: &[f32]) -> Self {
        let half = |pair: &[f32]| f64::midpoint(f64::from(pair[0]), f64::from(pair[1]));
        Self { halves: table.windows(2).map(half).collect() }
    }

    /// The first of equals.
    fn index(&self, weight: f32) -> u8 {
        self.halves.partition_point(|half| *half < f64::from(weight)) as u8
    }
}

/// Shares of the mean; what is fed nothing still counts a little.
fn relative(mean_squares: &[f64]) -> Option<Vec<f32>> {
    let mean = mean_squares.iter().sum::<f64>() / mean_squares.len().max(1) as f64;
    (mean > 0.0).then(|| mean_squares.iter().map(|e| ((e / mean) as f32).max(LEAST_COUNT)).collect())
}

impl SiteAction for Tables {
    fn layout(&self, _: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        self.layout_of(current)
    }

    fn streams(&self) -> Streams {
        if self.objective == Objective::Mse { Streams::Maps } else { Streams::No }
    }

    fn wants(&self) -> Option<Wanted> {
        let outputs = self.objective == Objective::Outputs;
        (self.objective != Objective::Mse).then(|| Wanted { gram: outputs, cross: outputs, ..Wanted::default() })
    }

    fn follows(&self) -> bool {
        self.objective == Objective::Outputs
    }

    fn apply(&self, site: &SiteSpec, linear: &Linear, fed: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        let mut given_up = 0;
        let mut fallbacks = Vec::new();
        let map = match (&linear.map, fed) {
            (LinearMap::Dense(dense), Some(fed)) if self.objective == Objective::Outputs => {
                let (codebook, few, found) = outputs::share(self, site, dense, fed)?;
                given_up = few;
                fallbacks = found;
                LinearMap::Codebook(codebook)
            }
            (map, fed) => {
                let seen = fed.filter(|_| self.objective != Objective::Mse);
                let importance = seen.and_then(|fed| relative(&fed.fit.mean_squares()));
                self.map(map, importance.as_deref(), &mut given_up)?
            }
        };
        let mut say = |what: String, why: String| fallbacks.push(Fallback { site: site.site.clone(), what, why });
        if self.objective != Objective::Mse && fed.is_none() {
            let why = "nothing is known of what this site is fed: a table, or a model that can't be run";
            say("tables by the plain squared error".to_owned(), why.to_owned());
        }
        if given_up > 0 {
            let why = format!("the optimum is looked for up to {MOST_CELLS} different weights times centroids");
            say(format!("{given_up} tables by Lloyd's iteration"), why);
        }
        Ok((Linear { map, ..linear.clone() }, fallbacks))
    }
}

#[cfg(test)]
mod tests;
