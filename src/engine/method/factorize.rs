//! Low rank: `W ≈ A B`, `W: [out, in]`, `A: [out, rank]`, `B: [rank, in]`.
//!
//! Storage falls from `out · in` to `rank · (out + in)`, so a rank saves only below `out · in / (out + in)`. The plain
//! truncation `A = U_r S_r^½`, `B = S_r^½ V_rᵀ` is the nearest of that rank to `W` (Eckart & Young 1936), but not to the
//! layer's outputs: it is the labelled baseline that other objectives are measured against.

use serde_json::{Map, Value};

use super::params::{Kind, ParamSpec};
use super::{Action, Fallback, Fed, Method, MethodSpec, Needs, SiteAction, Streams};
use crate::engine::error::Result;
use crate::engine::linalg::svd::svd;
use crate::engine::model::linear::{Dense, Linear, LinearMap};
use crate::engine::model::spec::SiteRole;
use crate::engine::model::{Dtype, Layout, SiteSpec};
use crate::engine::problem::Problem;

/// The method.
pub struct Factorize;

static SPEC: MethodSpec = MethodSpec {
    name: "factorize",
    family: "low_rank",
    summary: "Replaces a matrix by the product of two thin ones (truncated SVD).",
    source: "Eckart & Young 1936",
    needs: Needs::Nothing,
    params: &[
        ParamSpec {
            name: "objective",
            kind: Kind::Word(&["plain"], "plain"),
            doc: "What the product is near to. plain: the weights themselves.",
        },
        ParamSpec {
            name: "rank_ratio",
            kind: Kind::Share(0.0, 1.0, 0.5),
            doc: "Parameters of the factors over those of the matrix: rank = floor(rank_ratio · out · in / (out + in)).",
        },
        ParamSpec {
            name: "rank",
            kind: Kind::OptionalCount(1, 65_536),
            doc: "The rank itself, in place of rank_ratio.",
        },
    ],
    default_targets: &["block.**"],
};

impl Method for Factorize {
    fn spec(&self) -> &'static MethodSpec {
        &SPEC
    }

    fn bind(&self, params: &Map<String, Value>) -> std::result::Result<Action, Vec<Problem>> {
        let rank = params.get("rank").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let ratio = params.get("rank_ratio").and_then(Value::as_f64).unwrap_or(0.5);
        Ok(Action::Site(Box::new(Plain { rank, ratio })))
    }
}

/// Truncated SVD with its parameters.
struct Plain {
    rank: Option<usize>,
    ratio: f64,
}

impl Plain {
    fn rank(&self, out: usize, r#in: usize) -> usize {
        let even = out as f64 * r#in as f64 / (out + r#in).max(1) as f64;
        self.rank.unwrap_or((self.ratio * even).floor() as usize).clamp(1, out.min(r#in).max(1))
    }
}

impl SiteAction for Plain {
    fn layout(&self, site: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        let Layout::Dense { out, r#in, dtype, .. } = current else {
            return Err(format!(
                "'{}' can't be factorized: factorize works on dense maps, so put it first",
                current.form()
            ));
        };
        if site.role == SiteRole::Embedding {
            return Err("embedding tables are not factorized by this method: leave them out of targets".to_owned());
        }
        let rank = self.rank(*out, *r#in);
        Ok(Layout::Product {
            left: Box::new(Layout::dense((*out, rank), *dtype)),
            right: Box::new(Layout::dense((rank, *r#in), *dtype)),
        })
    }

    fn streams(&self) -> Streams {
        Streams::Maps
    }

    fn apply(&self, site: &SiteSpec, linear: &Linear, _: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        let (out, r#in) = (site.out, site.r#in);
        let rank = self.rank(out, r#in);
        let dtype = match &linear.map {
            LinearMap::Dense(dense) => dense.dtype,
            _ => Dtype::F32,
        };
        let found = svd(&linear.map.to_vec()?, out, r#in)?;
        let k = out.min(r#in);
        let root: Vec<f64> = found.s.iter().take(rank).map(|s| s.sqrt()).collect();
        let left =
            (0..out).flat_map(|i| (0..rank).map(move |l| (i, l))).map(|(i, l)| (found.u[i * k + l] * root[l]) as f32);
        let right =
            (0..rank).flat_map(|l| (0..r#in).map(move |j| (l, j))).map(|(l, j)| (found.v[j * k + l] * root[l]) as f32);
        let device = candle_core::Device::Cpu;
        let left = LinearMap::Dense(Dense::new(left.collect(), (out, rank), dtype, &device)?);
        let right = LinearMap::Dense(Dense::new(right.collect(), (rank, r#in), dtype, &device)?);
        let map = LinearMap::Product(Box::new(left), Box::new(right));
        let mut fallbacks = Vec::new();
        if rank * (out + r#in) >= out * r#in {
            fallbacks.push(Fallback {
                site: site.site.clone(),
                what: format!("rank {rank} stores more than the matrix did"),
                why: format!("only ranks below {} save anything on [{out}, {in}]", out * r#in / (out + r#in), in = r#in),
            });
        }
        Ok((Linear { map, ..linear.clone() }, fallbacks))
    }
}
