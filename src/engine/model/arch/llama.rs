//! Llama (Touvron et al. 2023, arXiv 2302.13971): pre-norm blocks with rms norms, rotary positions, a gated mlp.

use super::config::ConfigReader;
use super::decoder::{self, Switches};
use super::{Architecture, ConfigFiles, Description};
use crate::engine::model::spec::ModelSpec;
use crate::engine::problem::Problem;

/// The family.
pub struct Llama;

impl Architecture for Llama {
    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let spec = decoder::parse(&mut c, files, ("llama", "Llama"));
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        decoder::describe(&Switches::default(), spec, files, has)
    }
}
