//! How a budget was shared out over sites, beside one level for all.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::evaluate::finite;

/// A budget, shared out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// The stage, by its place in the plan.
    pub stage: usize,
    /// Bytes of the weight file, at most.
    pub max_bytes: u64,
    /// What a site may have, in place of the stage's own parameters.
    pub levels: Vec<Map<String, Value>>,
    /// The one level for all, by its place among them.
    pub uniform: usize,
    /// What every site was given.
    pub sites: Vec<Allocated>,
    /// How far answers moved on held-out rows with the budget shared out: mean divergence in nats; `1 − cosine` for vectors, the root
    /// mean square of the difference for numbers.
    #[serde(serialize_with = "finite::optional")]
    pub loss: Option<f64>,
    /// The same with one level for all.
    #[serde(serialize_with = "finite::optional")]
    pub uniform_loss: Option<f64>,
    /// Standard error of the difference of both, by rows; of numbers, of that of the squares.
    #[serde(default, serialize_with = "finite::optional")]
    pub standard_error: Option<f64>,
    /// Whether the shared-out one is the result: where it is not nearer to the original by more than 1.96 standard errors, one level
    /// for all is.
    pub is_kept: bool,
}

/// What a site was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocated {
    /// Which.
    pub site: String,
    /// Its level, by its place among the levels.
    pub level: usize,
    /// How far answers move on calibration rows with this site alone at its level, by the stage's method.
    #[serde(serialize_with = "finite::optional")]
    pub loss: Option<f64>,
}
