//! What compression cost: one typed document, `report.json`, and its page.
//!
//! [`Report`] is held to `report.schema.json` and to [`Report::check`]: a number that was not measured is `null`, and
//! `unmeasured` maps its JSON pointer to the reason. `result` is deterministic, equal inputs give equal bytes of it;
//! clocks and memory are in `measurements`.

pub mod accounting;
mod allocation;
mod check;
pub mod compare;
pub mod differences;
mod explain;
pub mod histogram;
pub mod html;
mod measurements;
pub mod pareto;
mod provenance;
pub mod read;
mod result;
mod sensitivity;
mod verdict;
pub mod verify;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{Dtype, Support};
use super::plan::Plan;
use super::recipe::Recipe;

pub use allocation::{Allocated, Allocation};
pub use check::ReportError;
pub use histogram::SiteHistogram;
pub use measurements::{Compression, LatencyComparison, Measurements, PredictedCost};
pub use provenance::{
    DatasetProvenance, EvaluationProvenance, FileHash, Protocol, Provenance, StatisticsProvenance, resolved_defaults,
};
pub use result::{After, ArtifactReport, Before, Bytes, Fallback, Outcome, SiteReport, StageReport};
pub use sensitivity::{Level, SiteSensitivity, WeightStatistics};
pub use verdict::{ReferenceFloor, Verdict};

/// The version of the report's format.
pub const VERSION: u32 = 1;

/// Everything that is known of a job's result. The order of the fields is the order of the document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The format's version: [`VERSION`].
    pub version: u32,
    /// The model that was worked on.
    pub model: ModelSummary,
    /// The recipe as written; `None` where a job has none.
    pub recipe: Option<Recipe>,
    /// The recipe resolved; `None` where a job has none.
    pub plan: Option<Plan>,
    /// What came of it. Deterministic.
    pub result: Outcome,
    /// Clocks and memory.
    pub measurements: Measurements,
    /// Where everything came from.
    pub provenance: Provenance,
    /// JSON pointer of each `null` → why it was not measured. A reason at a parent covers what is below it.
    pub unmeasured: BTreeMap<String, String>,
}

/// The model that was worked on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSummary {
    /// Its id or folder.
    pub name: String,
    /// `model_type`.
    pub family: Option<String>,
    /// `architectures[0]`.
    pub architecture: Option<String>,
    /// Whether its forward pass is known.
    pub support: Support,
    /// `classification`, `embedding`; `None` where the family is unknown.
    pub task: Option<String>,
    /// The dtype of most of its weights.
    pub dtype: Dtype,
    /// Its parameters.
    pub parameters: u64,
    /// Its weight files together.
    pub size_bytes: u64,
}

impl Report {
    /// Says why the value at `pointer` is `null`. Chains.
    pub fn unmeasured(&mut self, pointer: impl Into<String>, reason: impl Into<String>) -> &mut Self {
        self.unmeasured.insert(pointer.into(), reason.into());
        self
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
