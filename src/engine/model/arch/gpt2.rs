//! GPT-2 (Radford et al. 2019): pre-norm blocks, learned positions, one map for queries, keys and values, and matrices that lie as
//! `[in, out]` on disk.

use serde_json::Value;

use super::builder::{Bias, Builder};
use super::config::ConfigReader;
use super::head::{decoder_head, head};
use super::{Architecture, AttentionWiring, BlockWiring, ConfigFiles, Description, Projections, Wiring};
use crate::engine::model::spec::{Category, ModelSpec, NormKind, NormPlace};
use crate::engine::problem::Problem;

/// The family.
pub struct Gpt2;

impl Architecture for Gpt2 {
    fn model_type(&self) -> &'static str {
        "gpt2"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let hidden = c.size("n_embd", 65_536);
        let heads = c.size("n_head", 1_024);
        if !hidden.is_multiple_of(heads) {
            c.refuse("n_head", format!("{heads} heads do not divide n_embd {hidden}"));
        }
        let vocab = c.size("vocab_size", 10_000_000);
        let spec = ModelSpec {
            family: "gpt2".to_owned(),
            stack: "decoder".to_owned(),
            layers: c.size("n_layer", 1_024),
            hidden,
            heads,
            kv_heads: heads,
            head_dim: hidden / heads,
            intermediate: c.size_or("n_inner", hidden * 4, 1_048_576),
            vocab,
            positions: c.size("n_positions", 1_048_576),
            position_offset: 0,
            token_types: 0,
            norm: NormKind::LayerNorm,
            norm_place: NormPlace::Pre,
            norm_eps: c.positive_or("layer_norm_epsilon", 1e-5),
            is_causal: true,
            rope: None,
            activation: c.activation("activation_function", "gelu_new"),
            pad_token_id: c.token("pad_token_id", vocab).unwrap_or(0),
            bos_token_id: c.token_if_known("bos_token_id", vocab),
            head: head(&mut c, files, "GPT2", true),
        };
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, files: &ConfigFiles<'_>, has: &dyn Fn(&str) -> bool) -> Description {
        let mut b = Builder::new(spec, has, ("transformer.", "wte"));
        let token = b.table("embedding.token", "wte", spec.vocab);
        let position = Some(b.table("embedding.position", "wpe", spec.positions));
        b.transposed(true);
        let blocks = b.blocks(|b, layer| block(b, files, layer));
        b.transposed(false);
        let norm = b.below("ln_f");
        let final_norm = Some(b.norm(&norm));
        let head = decoder_head(&mut b, files, token, (true, "classifier"));
        b.finish(Wiring {
            token,
            position,
            token_type: None,
            embedding_norm: None,
            blocks,
            final_norm,
            transform: None,
            head,
            head_bias: None,
        })
    }
}

fn block(b: &mut Builder<'_>, files: &ConfigFiles<'_>, layer: usize) -> BlockWiring {
    let (hidden, wide) = (b.spec.hidden, b.spec.intermediate);
    let module = |b: &Builder<'_>, name: &str| b.below(&format!("h.{layer}.{name}"));
    let linear = |b: &mut Builder<'_>, category, site: &str, name: &str, shape| {
        b.linear(b.site(layer, site), category, module(b, name), shape, Bias::Yes)
    };
    let attention_norm = b.norm(&module(b, "ln_1"));
    let fused = linear(b, Category::Attention, "self_attention.qkv", "attn.c_attn", (3 * hidden, hidden));
    let output = linear(b, Category::Attention, "self_attention.output", "attn.c_proj", (hidden, hidden));
    let mlp_norm = b.norm(&module(b, "ln_2"));
    let up = linear(b, Category::Mlp, "mlp.up", "mlp.c_fc", (wide, hidden));
    let down = linear(b, Category::Mlp, "mlp.down", "mlp.c_proj", (hidden, wide));
    let switch = |name: &str, otherwise| files.config.get(name).and_then(Value::as_bool).unwrap_or(otherwise);
    let mut scale = if switch("scale_attn_weights", true) { b.scale() } else { 1.0 };
    if switch("scale_attn_by_inverse_layer_idx", false) {
        scale /= (layer + 1) as f32;
    }
    let projections = Projections::Fused(fused);
    let attention = AttentionWiring { projections, output, head_norms: None, scale, window: None };
    BlockWiring { attention, attention_norm, gate: None, up, down, mlp_norm }
}
