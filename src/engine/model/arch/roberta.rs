//! RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT with other names, whose positions are counted from behind the
//! padding token's id.

use super::config::ConfigReader;
use super::encoder::{self, Names};
use super::{Architecture, ConfigFiles, Description, bert};
use crate::engine::model::spec::{Activation, ModelSpec};
use crate::engine::problem::Problem;

/// The family.
pub struct Roberta;

static NAMES: Names = Names {
    prefix: "roberta.",
    classifier: ("classifier.dense", Activation::Tanh, "classifier.out_proj"),
    language: ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"),
    ..bert::NAMES
};

impl Architecture for Roberta {
    fn model_type(&self) -> &'static str {
        "roberta"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let mut spec = bert::parse(&mut c, files, ("roberta", "Roberta"));
        spec.position_offset = spec.pad_token_id as usize + 1;
        if spec.positions <= spec.position_offset {
            c.refuse("max_position_embeddings", format!("{} leave none behind the padding token's id", spec.positions));
        }
        spec.positions = spec.positions.saturating_sub(spec.position_offset).max(1);
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        encoder::describe(&NAMES, spec, files, has)
    }
}
