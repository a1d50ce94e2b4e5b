//! What a person wrote: the stages, in order, and how to measure.

mod parse;
mod presets;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use parse::METRICS;
pub use presets::{Preset, for_sensitivity, preset, presets};

/// A recipe as written. Reading one refuses unknown fields, with all problems at once: [`Recipe::parse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The format's version: 1.
    pub version: u32,
    /// Where every random draw starts.
    #[serde(default)]
    pub seed: u64,
    /// How calibration data is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What is done, in order.
    pub stages: Vec<Stage>,
    /// What the result must not go beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Constraints>,
    /// How the result is measured.
    #[serde(default)]
    pub evaluate: Evaluate,
    /// What a sensitivity job tries; nothing else reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
    /// Formats to write; the first one is what `size_bytes` counts.
    #[serde(default = "default_export")]
    pub export: Vec<String>,
}

/// What a sensitivity job tries, and on how many rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Bits of a code that every site is tried at; absent: 2, 3, 4, 5, 6 and 8, as far as the methods have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Vec<u32>>,
    /// Held-out rows that answers are compared on, at most; absent: 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_samples: Option<usize>,
}

/// One method with its parameters and targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// A name in the table of methods.
    pub method: String,
    /// Globs over sites; absent: the method's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Globs over sites that are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Whether targets that this model does not have are passed over, and the stage with them where it has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_present: bool,
    /// The method's own parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// How calibration data is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Rows that are taken.
    pub num_calibration_samples: usize,
    /// Tokens that a row is cut to.
    pub max_seq_length: usize,
}

/// What the weight file must not go beyond. The last stage whose method has levels then gives each of its sites a level of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// Its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// `8 · length / parameters of the original`, scales and all that is not quantized included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_bits: Option<serde_json::Number>,
    /// Bits that a site may have. Absent: 4 and 8, which stock runtimes load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Vec<u32>>,
}

/// How the result is measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluate {
    /// Names of [`METRICS`]; absent: all that apply; empty: nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Tokens that a row is cut to, the special ones included. Absent: 128, or the model's positions if fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seq_length: Option<usize>,
    /// Accuracy of a trivial baseline, which the report compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_floor: Option<serde_json::Number>,
}

fn default_export() -> Vec<String> {
    vec!["safetensors".to_owned()]
}
