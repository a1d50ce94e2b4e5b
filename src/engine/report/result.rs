//! `result`: what came of a job. Deterministic: no clock, no path, no host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::allocation::Allocation;
use super::histogram::SiteHistogram;
use super::sensitivity::SiteSensitivity;
use super::verdict::Verdict;
use crate::engine::evaluate::fidelity::Fidelity;
use crate::engine::evaluate::finite;
use crate::engine::evaluate::probes::Probes;
use crate::engine::evaluate::quality::{Quality, QualityChange};
use crate::engine::model::Category;

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// In one sentence, and the numbers behind it.
    pub verdict: Verdict,
    /// The original; `None` where a model was measured on its own.
    pub before: Option<Before>,
    /// The result.
    pub after: After,
    /// After each stage, in order.
    pub stages: Vec<StageReport>,
    /// Every site, in the model's order.
    pub sites: Vec<SiteReport>,
    /// Sums to the weight files, to the byte.
    pub bytes_by_category: BTreeMap<Category, Bytes>,
    /// Long range, positions, head balance.
    pub probes: Option<Probes>,
    /// Chosen ranks, heads or bits, against the uniform alternative.
    pub allocation: Option<Allocation>,
    /// The table of a sensitivity job.
    pub sensitivity: Option<Vec<SiteSensitivity>>,
    /// Loss and held-out divergence by step.
    pub training: Option<Value>,
    /// Every exported file.
    pub artifacts: Vec<ArtifactReport>,
    /// All that did not go as planned.
    pub fallbacks: Vec<Fallback>,
    /// How weights lie before and after, of the sites that were compared: of all, or of more than 400 the 40 worst.
    pub histograms: Vec<SiteHistogram>,
}

/// The original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Weight files.
    pub size_bytes: u64,
    /// All files.
    pub total_bytes: u64,
    /// Parameters.
    pub parameters: u64,
    /// Task quality.
    pub quality: Option<Quality>,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Weight files of the first export format.
    pub size_bytes: u64,
    /// All files of the first export format.
    pub total_bytes: u64,
    /// Parameters.
    pub parameters: u64,
    /// `8 · size_bytes / parameters of the original`.
    #[serde(serialize_with = "finite::optional")]
    pub bits_per_weight: Option<f64>,
    /// Weight files before over after.
    #[serde(serialize_with = "finite::optional")]
    pub ratio_to_stored: Option<f64>,
    /// Four bytes for each parameter of the original over the weight files after.
    #[serde(serialize_with = "finite::optional")]
    pub ratio_to_f32: Option<f64>,
    /// Task quality.
    pub quality: Option<Quality>,
    /// After − before, paired.
    pub quality_change: Option<QualityChange>,
    /// Against the original.
    pub fidelity: Option<Fidelity>,
}

impl After {
    /// Sizes and their ratios to the original; quality and fidelity are yet to come. A ratio to nothing is `None`.
    pub fn new(before: Option<&Before>, size_bytes: u64, total_bytes: u64, parameters: u64) -> Self {
        let ratio = |above: f64, below: u64| (below > 0 && above > 0.0).then(|| above / below as f64);
        Self {
            size_bytes,
            total_bytes,
            parameters,
            bits_per_weight: before.and_then(|before| ratio(8.0 * size_bytes as f64, before.parameters)),
            ratio_to_stored: before.and_then(|before| ratio(before.size_bytes as f64, size_bytes)),
            ratio_to_f32: before.and_then(|before| ratio(4.0 * before.parameters as f64, size_bytes)),
            quality: None,
            quality_change: None,
            fidelity: None,
        }
    }
}

/// The model as it was after a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageReport {
    /// The method.
    pub method: String,
    /// Weight files if the recipe ended here.
    pub size_bytes: u64,
    /// Parameters if the recipe ended here.
    pub parameters: u64,
    /// Task quality.
    pub quality: Option<Quality>,
    /// Against the original.
    pub fidelity: Option<Fidelity>,
    /// What did not go as planned in this stage.
    pub fallbacks: Vec<Fallback>,
}

/// A site before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteReport {
    /// Which.
    pub site: String,
    /// What its bytes count as.
    pub category: Category,
    /// All its tensors before.
    pub before_bytes: Option<u64>,
    /// All its tensors after.
    pub after_bytes: u64,
    /// `dense`, `grouped`, `product`, ….
    pub form: String,
    /// Bits of a stored number.
    pub bits: u32,
    /// Rank of a product.
    pub rank: Option<usize>,
    /// Share of the weights that are kept: 1 unless some were masked.
    #[serde(serialize_with = "finite::number")]
    pub density: f64,
    /// Heads kept, of an attention site.
    pub heads: Option<usize>,
    /// `‖W − Ŵ‖ / ‖W‖`, of the weights; of what the norm sees where one follows.
    #[serde(serialize_with = "finite::optional")]
    pub relative_error: Option<f64>,
    /// `10 log₁₀(‖W‖² / ‖W − Ŵ‖²)`, in decibels; `None` where there is no error at all.
    #[serde(serialize_with = "finite::optional")]
    pub sqnr_db: Option<f64>,
    /// `⟨W, Ŵ⟩ / ‖W‖ ‖Ŵ‖`, of the weights; `None` where either is zero.
    #[serde(serialize_with = "finite::optional")]
    pub cosine: Option<f64>,
    /// `‖X Wᵀ − X Ŵᵀ‖ / ‖X Wᵀ‖`, of the outputs: `X` is what the original's site is fed by at most 32 of the rows that are
    /// measured on. `None` where no row was run, or none comes through the site.
    #[serde(serialize_with = "finite::optional")]
    pub output_error: Option<f64>,
    /// How the scales of its inputs are found, where these are rounded: `dynamic`, for every token, or `static`, one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<String>,
    /// Bits of its inputs, where these are rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_bits: Option<u32>,
}

impl SiteReport {
    /// Notes the relative error, and the signal-to-noise ratio that follows from it.
    ///
    /// `SQNR = 10 log₁₀(‖W‖² / ‖W − Ŵ‖²) = −20 log₁₀ relative_error`, not defined at 0.
    #[must_use]
    pub fn with_error(mut self, relative_error: f64) -> Self {
        self.relative_error = Some(relative_error);
        self.sqnr_db = (relative_error > 0.0).then(|| -20.0 * relative_error.log10());
        self
    }
}

/// Bytes before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// In the original's weight files; `None` where a model was measured on its own.
    pub before: Option<u64>,
    /// In the result's.
    pub after: u64,
}

/// An exported file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactReport {
    /// Its path in the artifact.
    pub path: String,
    /// `safetensors`, `json`, ….
    pub format: String,
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Runtimes that load it.
    pub loaders: Vec<String>,
    /// Largest absolute difference of the decoded weights from those in memory, after opening the file again.
    #[serde(serialize_with = "finite::optional")]
    pub parity: Option<f64>,
}

/// Something that did not go as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Where; empty for the whole model.
    pub site: String,
    /// What was done in place of what was asked for.
    pub what: String,
    /// Why.
    pub why: String,
}
