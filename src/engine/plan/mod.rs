//! A recipe resolved against one model: every default filled in, every problem found, every byte predicted.

pub mod allocation;
mod forms;
mod metrics;
mod predict;
mod resolve;
pub mod sensitivity;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::Target;
use super::export::packed;

pub use allocation::PlannedAllocation;
pub use forms::forms;
pub use predict::{Parts, goes_by_rows, is_streamed};
pub use resolve::resolve;
pub use sensitivity::PlannedSensitivity;

/// What will be done, exactly. Deterministic; holds no clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The format's version: 1.
    pub version: u32,
    /// Where every random draw starts.
    pub seed: u64,
    /// What stages calibrate on; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<PlannedCalibration>,
    /// The stages with all defaults.
    pub stages: Vec<PlannedStage>,
    /// How a budget is shared out over the sites of the last stage; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<PlannedAllocation>,
    /// How the result is measured, with all defaults.
    pub evaluate: PlannedEvaluate,
    /// What a sensitivity job tries; absent of other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<PlannedSensitivity>,
    /// Formats to write.
    pub export: Vec<String>,
    /// What it will come to.
    pub predicted: Predicted,
    /// What a person should know before it runs.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether another plan does the same. What is foretold, and said of it, may have changed with the program that tells.
    pub fn does_as(&self, other: &Self) -> bool {
        let done = |plan: &Self| {
            let mut plan = Self { predicted: self.predicted.clone(), notes: Vec::new(), ..plan.clone() };
            plan.stages.iter_mut().for_each(|stage| (stage.size_bytes, stage.parameters) = (0, 0));
            plan.allocation.iter_mut().for_each(|planned| planned.most_bytes = 0);
            plan
        };
        done(self) == done(other)
    }

    /// Whether the predicted bytes of the weight file are the most that it may have: they depend on the weights where they are
    /// coded, and on what was measured where a budget was shared out.
    pub fn is_bounded(&self) -> bool {
        self.is_packed() || self.allocation.is_some()
    }

    /// Whether the weight file is entropy-coded: then its predicted bytes are an upper bound.
    pub fn is_packed(&self) -> bool {
        self.export.iter().any(|format| format == packed::FORMAT)
    }
}

/// A stage with all defaults, and the sites that it works on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// The method.
    pub method: String,
    /// Every parameter.
    pub params: Value,
    /// Every site, in the model's order.
    pub sites: Vec<String>,
    /// Bytes of the weight files if the recipe ended here.
    pub size_bytes: u64,
    /// Parameters if the recipe ended here.
    pub parameters: u64,
}

/// What stages calibrate on, with all defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCalibration {
    /// Rows that are taken, at most.
    pub num_calibration_samples: usize,
    /// Tokens that a row is cut to.
    pub max_seq_length: usize,
    /// Whether there is no data, so that rows are made up.
    pub is_made: bool,
}

/// How the result is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedEvaluate {
    /// Metrics that will be measured.
    pub metrics: Vec<String>,
    /// Tokens that a row is cut to.
    pub max_seq_length: usize,
    /// Accuracy of a trivial baseline.
    pub reference_floor: Option<serde_json::Number>,
}

impl PlannedEvaluate {
    /// Accuracy of a trivial baseline, as a number.
    pub fn floor(&self) -> Option<f64> {
        self.reference_floor.as_ref().and_then(serde_json::Number::as_f64)
    }
}

/// Predictions. Bytes are exact, but for files of which they are an upper bound ([`Plan::is_bounded`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Weight files of the first format.
    pub size_bytes: u64,
    /// Each weight file of the first format.
    pub files: Vec<PredictedFile>,
    /// Parameters of the result.
    pub parameters: u64,
    /// Anonymous memory at the peak: an upper estimate.
    pub peak_memory_bytes: u64,
    /// Scratch space.
    pub disk_bytes: u64,
    /// Seconds on two cores, a rough estimate.
    pub wall_seconds: f64,
}

/// A file that will be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedFile {
    /// Its path in the artifact.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// Runtimes that were seen to load such files.
    #[serde(default)]
    pub loaders: Vec<String>,
}

/// What is known of a job's data when it is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Available {
    /// Calibration rows.
    pub calibration_rows: Option<u64>,
    /// Training rows.
    pub training_rows: Option<u64>,
    /// Validation rows.
    pub validation_rows: Option<u64>,
    /// Evaluation rows.
    pub evaluation_rows: Option<u64>,
    /// What the evaluation rows are to be answered with; nothing where there are none.
    pub evaluation_target: Target,
    /// Whether every label of the evaluation rows is a number.
    pub evaluation_has_numbers: bool,
}
