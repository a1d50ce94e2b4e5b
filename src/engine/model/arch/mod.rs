//! Model families. Data, not copied forward passes: a family says what its config and its tensors mean.
//!
//! A new family is one file here and one line in [`ARCHITECTURES`].

pub mod bert;
mod builder;
pub mod config;
mod decoder;
pub mod distilbert;
mod encoder;
pub mod gpt2;
mod head;
pub mod llama;
pub mod mistral;
pub mod qwen2;
pub mod qwen3;
pub mod roberta;
mod rope;
mod wiring;

use serde_json::Value;

use super::spec::{ModelSpec, SiteSpec};
use crate::engine::problem::Problem;
pub use wiring::{AttentionWiring, BlockWiring, Projections, Transform, Wiring};

/// A family of models.
pub trait Architecture: Sync {
    /// `model_type` in `config.json`.
    fn model_type(&self) -> &'static str;

    /// Reads dimensions and switches.
    ///
    /// # Errors
    ///
    /// Everything in the config that is missing, out of range, or contradicts itself.
    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>>;

    /// The sites and norms of such a model, and how they are wired. `has` tells whether a tensor of that module exists.
    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description;
}

/// The JSON files that say what a model computes.
pub struct ConfigFiles<'a> {
    /// `config.json`.
    pub config: &'a Value,
    /// `1_Pooling/config.json` of sentence-transformers, where there is one.
    pub pooling: Option<&'a Value>,
    /// Whether sentence-transformers scales vectors to length 1 (`modules.json`).
    pub normalize: bool,
}

/// Every family that we know how to run.
pub static ARCHITECTURES: &[&dyn Architecture] = &[
    &bert::Bert,
    &roberta::Roberta,
    &distilbert::DistilBert,
    &llama::Llama,
    &mistral::Mistral,
    &qwen2::Qwen2,
    &qwen3::Qwen3,
    &gpt2::Gpt2,
];

/// The family with that `model_type`.
pub fn find(model_type: &str) -> Option<&'static dyn Architecture> {
    ARCHITECTURES.iter().copied().find(|family| family.model_type() == model_type)
}

/// The sites and norms of a model, and how they are wired.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Sites in the order of computation.
    pub sites: Vec<SiteSpec>,
    /// Norms in the order of computation.
    pub norms: Vec<NormSpec>,
    /// Who feeds whom, by index into `sites` and `norms`.
    pub wiring: Wiring,
}

/// A normalization: a vector or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormSpec {
    /// The tensor of scales.
    pub weight: String,
    /// The tensor of shifts.
    pub bias: Option<String>,
    /// Their length.
    pub width: usize,
}
