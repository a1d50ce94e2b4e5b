//! `provenance`: all that is needed to make a result again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::context::Host;
use crate::engine::evaluate::fidelity::MeasuredOn;
use crate::engine::plan::Plan;
use crate::engine::problem::escape_pointer;
use crate::engine::recipe::Recipe;

/// Where everything came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of pare.
    pub pare_version: String,
    /// The machine; its `binary_sha256` is the program's.
    pub host: Host,
    /// `cpu`, or an accelerator.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Where every random draw started.
    pub seed: u64,
    /// SHA-256 of the recipe as canonical JSON, in hex.
    pub recipe_sha256: Option<String>,
    /// Every file of the model.
    pub model_files: Vec<FileHash>,
    /// Every file of the model that it was compared with, where that is another one.
    pub reference_files: Vec<FileHash>,
    /// `calibration`, `training`, `validation`, `evaluation` → what was read.
    pub datasets: BTreeMap<String, DatasetProvenance>,
    /// Statistics that were used again, or kept for later jobs; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticsProvenance>,
    /// SHA-256, in hex, of an earlier job's report that the table of this one was taken from: model, data, plan, program and
    /// processor are the same. Absent where the job made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_from: Option<String>,
    /// What was measured and on which rows; `None` where nothing was.
    pub evaluation: Option<EvaluationProvenance>,
    /// How task quality was measured; results are comparable under one protocol only.
    pub protocol: Option<Protocol>,
    /// JSON pointer into `plan` → the value of what the recipe left open. See [`resolved_defaults`].
    pub resolved_defaults: BTreeMap<String, Value>,
}

/// A file and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHash {
    /// Its path in the upload.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// A dataset that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetProvenance {
    /// Its id or path.
    pub name: String,
    /// Rows that were used.
    pub rows: u64,
    /// Its files.
    pub files: Vec<FileHash>,
}

/// What the model's sites are fed on the calibration rows, summed up: kept, since it depends on the original alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsProvenance {
    /// SHA-256 over all that they depend on, in hex.
    pub key: String,
    /// SHA-256 of their file, in hex.
    pub sha256: String,
    /// Whether an earlier job took them.
    pub is_reused: bool,
}

/// What was measured and on which rows, whether they have labels or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationProvenance {
    /// The metrics that were asked for and apply.
    pub metrics: Vec<String>,
    /// Tokens that a row is cut to.
    pub max_seq_length: usize,
    /// Which rows.
    pub measured_on: MeasuredOn,
    /// How many.
    pub rows: u64,
    /// SHA-256 over the tokens, token types and label of every row, in hex: what the models were given, after the
    /// tokenizer and the cut.
    pub rows_sha256: String,
}

/// How task quality was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// In a sentence: what counts as an answer.
    pub description: String,
    /// Tokens that a row is cut to.
    pub max_seq_length: usize,
}

/// What the plan holds and the recipe left open: pointer into `plan` → value. Of stages that both have, the parameters;
/// and the evaluation's settings.
pub fn resolved_defaults(recipe: &Recipe, plan: &Plan) -> BTreeMap<String, Value> {
    let mut open = BTreeMap::new();
    for (number, (written, planned)) in recipe.stages.iter().zip(&plan.stages).enumerate() {
        let params = planned.params.as_object().into_iter().flatten();
        for (name, value) in params.filter(|(name, _)| !written.params.contains_key(*name)) {
            open.insert(format!("/plan/stages/{number}/params/{}", escape_pointer(name)), value.clone());
        }
    }
    if recipe.evaluate.metrics.is_none() {
        open.insert("/plan/evaluate/metrics".into(), plan.evaluate.metrics.clone().into());
    }
    if recipe.evaluate.max_seq_length.is_none() {
        open.insert("/plan/evaluate/max_seq_length".into(), plan.evaluate.max_seq_length.into());
    }
    open
}
