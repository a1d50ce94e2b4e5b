//! BERT (Devlin et al. 2018, arXiv 1810.04805): token, position and type tables, post-norm blocks, a pooler over
//! `[CLS]`, a classifier. Without a head it is an embedding model.

use super::config::ConfigReader;
use super::encoder::{self, Names};
use super::head::head;
use super::{Architecture, ConfigFiles, Description};
use crate::engine::model::spec::{Activation, ModelSpec, NormKind, NormPlace};
use crate::engine::problem::Problem;

/// The family.
pub struct Bert;

pub(super) const NAMES: Names = Names {
    prefix: "bert.",
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    mlp_norm: "output.LayerNorm",
    bare_pooler: Some("pooler.dense"),
    classifier: ("bert.pooler.dense", Activation::Tanh, "classifier"),
    language: (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        "cls.predictions.bias",
    ),
};

impl Architecture for Bert {
    fn model_type(&self) -> &'static str {
        "bert"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let spec = parse(&mut c, files, ("bert", "Bert"));
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        encoder::describe(&NAMES, spec, files, has)
    }
}

/// BERT's config, which its descendants share: `family` is its `model_type`, `class` what its classes begin with.
pub(super) fn parse(c: &mut ConfigReader<'_>, files: &ConfigFiles<'_>, (family, class): (&str, &str)) -> ModelSpec {
    let hidden = c.size("hidden_size", 65_536);
    let heads = c.size("num_attention_heads", 1_024);
    if !hidden.is_multiple_of(heads) {
        c.refuse("num_attention_heads", format!("{heads} heads do not divide hidden_size {hidden}"));
    }
    let positions = c.text_or("position_embedding_type", "absolute");
    if positions != "absolute" {
        c.refuse("position_embedding_type", format!("'{positions}' is not supported: absolute"));
    }
    let vocab = c.size("vocab_size", 10_000_000);
    ModelSpec {
        family: family.to_owned(),
        stack: "encoder".to_owned(),
        layers: c.size("num_hidden_layers", 1_024),
        hidden,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        intermediate: c.size("intermediate_size", 1_048_576),
        vocab,
        positions: c.size("max_position_embeddings", 1_048_576),
        position_offset: 0,
        token_types: c.size_or("type_vocab_size", 2, 1_024),
        norm: NormKind::LayerNorm,
        norm_place: NormPlace::Post,
        norm_eps: c.positive_or("layer_norm_eps", 1e-12),
        is_causal: false,
        rope: None,
        activation: c.activation("hidden_act", "gelu"),
        pad_token_id: c.token("pad_token_id", vocab).unwrap_or(0),
        bos_token_id: None,
        head: head(c, files, class, false),
    }
}
