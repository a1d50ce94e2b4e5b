//! DistilBERT (Sanh et al. 2019, arXiv 1910.01108): half the blocks of BERT, no token types, no pooler.

use super::config::ConfigReader;
use super::encoder::{self, Names};
use super::head::head;
use super::{Architecture, ConfigFiles, Description};
use crate::engine::model::spec::{Activation, ModelSpec, NormKind, NormPlace};
use crate::engine::problem::Problem;

/// The family.
pub struct DistilBert;

static NAMES: Names = Names {
    prefix: "distilbert.",
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    mlp_norm: "output_layer_norm",
    bare_pooler: None,
    classifier: ("pre_classifier", Activation::Relu, "classifier"),
    language: ("vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"),
};

impl Architecture for DistilBert {
    fn model_type(&self) -> &'static str {
        "distilbert"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let hidden = c.size("dim", 65_536);
        let heads = c.size("n_heads", 1_024);
        if !hidden.is_multiple_of(heads) {
            c.refuse("n_heads", format!("{heads} heads do not divide dim {hidden}"));
        }
        let vocab = c.size("vocab_size", 10_000_000);
        let spec = ModelSpec {
            family: "distilbert".to_owned(),
            stack: "encoder".to_owned(),
            layers: c.size("n_layers", 1_024),
            hidden,
            heads,
            kv_heads: heads,
            head_dim: hidden / heads,
            intermediate: c.size("hidden_dim", 1_048_576),
            vocab,
            positions: c.size("max_position_embeddings", 1_048_576),
            position_offset: 0,
            token_types: 0,
            norm: NormKind::LayerNorm,
            norm_place: NormPlace::Post,
            norm_eps: 1e-12, // its code says so, its config does not
            is_causal: false,
            rope: None,
            activation: c.activation("activation", "gelu"),
            pad_token_id: c.token("pad_token_id", vocab).unwrap_or(0),
            bos_token_id: None,
            head: head(&mut c, files, "DistilBert", false),
        };
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        encoder::describe(&NAMES, spec, files, has)
    }
}
