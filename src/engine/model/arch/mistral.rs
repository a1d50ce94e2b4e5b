//! Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama whose tokens see a window of those before them.

use super::config::ConfigReader;
use super::decoder::{self, Switches};
use super::{Architecture, ConfigFiles, Description};
use crate::engine::model::spec::ModelSpec;
use crate::engine::problem::Problem;

/// The family.
pub struct Mistral;

impl Architecture for Mistral {
    fn model_type(&self) -> &'static str {
        "mistral"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let spec = decoder::parse(&mut c, files, ("mistral", "Mistral"));
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        decoder::describe(
            &Switches { windows: decoder::windows(files, spec.layers), ..Switches::default() },
            spec,
            files,
            has,
        )
    }
}
