//! Qwen3 (Yang et al. 2025, arXiv 2505.09388): Llama with norms over the queries and keys of each head.

use super::config::ConfigReader;
use super::decoder::{self, Switches};
use super::{Architecture, ConfigFiles, Description, qwen2};
use crate::engine::model::spec::ModelSpec;
use crate::engine::problem::Problem;

/// The family.
pub struct Qwen3;

impl Architecture for Qwen3 {
    fn model_type(&self) -> &'static str {
        "qwen3"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let spec = decoder::parse(&mut c, files, ("qwen3", "Qwen3"));
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        decoder::describe(&Switches { head_norms: true, ..qwen2::switches(spec, files) }, spec, files, has)
    }
}
