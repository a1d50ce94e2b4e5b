//! What a job is given and what it leaves: the contract between whoever runs the engine and the engine.
//!
//! The same structs are the child process's `input.json` and `output.json`, and what `pare compress` makes in memory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::calibrate::statistics::Asked;
use super::checkpoint::Given;
use super::data::DatasetSummary;
use super::model::ModelHeader;
use super::plan::Plan;
use super::problem::Problem;
use super::recipe::{Evaluate, Recipe};

/// The folder in a job's folder that its process may write to. Everything else there is for reading.
pub const WORK: &str = "work";

/// A file of an upload: what its owner calls it and where its bytes lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The path in the model or dataset. A label: never joined to a folder.
    pub path: String,
    /// Where the bytes are on this machine, read-only.
    pub location: PathBuf,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256 in hex, where the caller knows it.
    pub sha256: Option<String>,
}

/// A named set of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The id (`mdl_…`, `dst_…`) or the folder's name; the report shows it.
    pub name: String,
    /// Its files.
    pub files: Vec<InputFile>,
}

/// The datasets of a job. Their rows must be disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datasets {
    /// Text that statistics are taken from.
    pub calibration: Option<Source>,
    /// Text that is trained on.
    pub training: Option<Source>,
    /// Rows that choices are made on.
    pub validation: Option<Source>,
    /// Rows that the report is made on, read once, at the end.
    pub evaluation: Option<Source>,
}

/// What to do.
#[allow(clippy::large_enum_variant)] // there is one of it in a process
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Check an uploaded model.
    ValidateModel {
        /// Its files.
        model: Source,
    },
    /// Check an uploaded dataset.
    ValidateDataset {
        /// Its files.
        dataset: Source,
    },
    /// Run a recipe.
    Compress {
        /// The model to compress.
        model: Source,
        /// The recipe as written.
        recipe: Recipe,
        /// The recipe resolved against this model, if that was done at submission.
        plan: Option<Plan>,
        /// The data that was named.
        datasets: Datasets,
    },
    /// Measure a model, against a reference where one is given.
    Evaluate {
        /// The model to measure.
        model: Source,
        /// What it is compared with.
        reference: Option<Source>,
        /// How.
        evaluate: Evaluate,
        /// The data that was named.
        datasets: Datasets,
    },
    /// Compress every site alone, at every level, and measure what that costs.
    Sensitivity {
        /// The model.
        model: Source,
        /// The recipe as written: its stages say how sites are changed, its `sensitivity` at which levels.
        recipe: Recipe,
        /// The recipe resolved against this model, if that was done at submission.
        plan: Option<Plan>,
        /// The data that was named.
        datasets: Datasets,
        /// The report of an earlier job that was asked the same, not checked yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        earlier: Option<PathBuf>,
    },
}

/// What a run is given: the child's `input.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// What to do.
    pub task: Task,
    /// Threads that it may use.
    pub threads: usize,
    /// `cpu`, or an accelerator that is built in.
    pub device: String,
    /// Anonymous memory that it may use; `None` is unlimited.
    pub memory_limit_bytes: Option<u64>,
    /// What an earlier attempt left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Given>,
    /// Whether statistics are kept, and those of an earlier job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Asked>,
}

/// What a file that a job leaves is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Part of the smaller model.
    Artifact,
    /// `report.json`.
    Report,
    /// Statistics of the original, for later jobs.
    Statistics,
}

/// A file that a job leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// What it is for.
    pub role: Role,
    /// Its path in the artifact, `/` between segments; also its path under the run's output folder.
    pub path: String,
    /// `safetensors`, `json`, …
    pub format: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Runtimes that load it.
    pub loaders: Vec<String>,
}

/// How a run ended: the child's `output.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Output {
    /// The model is good.
    Model {
        /// All that its header says.
        header: Box<ModelHeader>,
    },
    /// The dataset is good.
    Dataset {
        /// What is in it.
        summary: Box<DatasetSummary>,
    },
    /// The uploaded model or dataset is not good: every problem.
    Invalid {
        /// All of them.
        problems: Vec<Problem>,
    },
    /// Files lie in the output folder; `report.json` is one of them.
    Files {
        /// In the artifact's order.
        files: Vec<OutputFile>,
    },
    /// The job can't be done, and another try would not help.
    Failed {
        /// Why; the first is the reason that is shown.
        problems: Vec<Problem>,
    },
}

pub use super::run::run;
