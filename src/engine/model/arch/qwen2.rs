//! Qwen2 (Yang et al. 2024, arXiv 2407.10671): Llama with biases on queries, keys and values, and in some sizes windows in
//! the later layers.

use super::config::ConfigReader;
use super::decoder::{self, Switches};
use super::{Architecture, ConfigFiles, Description};
use crate::engine::model::spec::ModelSpec;
use crate::engine::problem::Problem;

/// The family.
pub struct Qwen2;

impl Architecture for Qwen2 {
    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let spec = decoder::parse(&mut c, files, ("qwen2", "Qwen2"));
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        decoder::describe(&switches(spec, files), spec, files, has)
    }
}

/// Windows, where the config turns them on.
pub(super) fn switches(spec: &ModelSpec, files: &ConfigFiles<'_>) -> Switches {
    let on = files.config.get("use_sliding_window").and_then(serde_json::Value::as_bool) == Some(true);
    Switches { windows: if on { decoder::windows(files, spec.layers) } else { Vec::new() }, ..Switches::default() }
}
