//! `measurements`: clocks and memory, which differ from run to run, beside what was predicted.

use serde::{Deserialize, Serialize};

use crate::engine::evaluate::finite;
use crate::engine::evaluate::latency::Latency;
use crate::engine::plan::Predicted;

/// Clocks and memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    /// One entry for each batch and length.
    pub latency: Option<Vec<LatencyComparison>>,
    /// What the job itself cost; `None` where nothing was compressed.
    pub compression: Option<Compression>,
    /// What the plan said it would cost.
    pub predicted: Option<PredictedCost>,
}

/// One call of original and result under equal conditions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyComparison {
    /// Threads.
    pub threads: usize,
    /// Rows in a call.
    pub batch: usize,
    /// Tokens in a row.
    pub length: usize,
    /// The original; `None` where a model was measured on its own.
    pub original: Option<Latency>,
    /// The result.
    pub result: Latency,
}

/// What the job itself cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// Wall time.
    #[serde(serialize_with = "finite::number")]
    pub wall_seconds: f64,
    /// Processor time of the process.
    #[serde(serialize_with = "finite::optional")]
    pub cpu_seconds: Option<f64>,
    /// Largest resident memory of the process.
    pub peak_memory_bytes: Option<u64>,
}

/// What the plan said it would cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictedCost {
    /// Weight files.
    pub size_bytes: u64,
    /// Wall time, a rough estimate.
    #[serde(serialize_with = "finite::number")]
    pub wall_seconds: f64,
    /// Memory at the peak, an upper estimate.
    pub peak_memory_bytes: u64,
}

impl From<&Predicted> for PredictedCost {
    fn from(predicted: &Predicted) -> Self {
        Self {
            size_bytes: predicted.size_bytes,
            wall_seconds: predicted.wall_seconds,
            peak_memory_bytes: predicted.peak_memory_bytes,
        }
    }
}
