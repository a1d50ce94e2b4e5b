//! Pre-norm decoders with rotary positions and a gated mlp: Llama and what differs from it in switches.

use serde_json::Value;

use super::builder::{Bias, Builder};
use super::config::ConfigReader;
use super::head::{decoder_head, head};
use super::{AttentionWiring, BlockWiring, ConfigFiles, Description, Projections, Wiring, rope};
use crate::engine::model::spec::{Category, ModelSpec, NormKind, NormPlace};

/// What a family adds to Llama.
#[derive(Default)]
pub(super) struct Switches {
    /// Norms over each head's queries and keys.
    pub(super) head_norms: bool,
    /// For each layer, how many tokens back a token sees; empty: all of them in every layer.
    pub(super) windows: Vec<Option<usize>>,
}

/// Llama's config, which its descendants share: `family` is its `model_type`, `class` what its classes begin with.
pub(super) fn parse(c: &mut ConfigReader<'_>, files: &ConfigFiles<'_>, (family, class): (&str, &str)) -> ModelSpec {
    let hidden = c.size("hidden_size", 65_536);
    let heads = c.size("num_attention_heads", 1_024);
    let kv_heads = c.size_or("num_key_value_heads", heads, 1_024);
    if !heads.is_multiple_of(kv_heads) {
        c.refuse("num_key_value_heads", format!("{kv_heads} heads of keys do not divide the {heads} of queries"));
    }
    let head_dim = c.size_or("head_dim", (hidden / heads).max(1), 4_096);
    if !head_dim.is_multiple_of(2) {
        c.refuse("head_dim", format!("heads of {head_dim} numbers can't be turned in pairs"));
    }
    let vocab = c.size("vocab_size", 10_000_000);
    let positions = c.size_or("max_position_embeddings", 2_048, 16_777_216);
    ModelSpec {
        family: family.to_owned(),
        stack: "decoder".to_owned(),
        layers: c.size("num_hidden_layers", 1_024),
        hidden,
        heads,
        kv_heads,
        head_dim,
        intermediate: c.size("intermediate_size", 1_048_576),
        vocab,
        positions,
        position_offset: 0,
        token_types: 0,
        norm: NormKind::RmsNorm,
        norm_place: NormPlace::Pre,
        norm_eps: c.positive_or("rms_norm_eps", 1e-6),
        is_causal: true,
        rope: Some(rope::read(c, positions)),
        activation: c.activation("hidden_act", "silu"),
        pad_token_id: c.token("pad_token_id", vocab).unwrap_or(0),
        bos_token_id: c.token_if_known("bos_token_id", vocab),
        head: head(c, files, class, true),
    }
}

/// The windows of a config that lists a kind of attention for every layer, or says from which one on they are (`max_window_layers`).
pub(super) fn windows(files: &ConfigFiles<'_>, layers: usize) -> Vec<Option<usize>> {
    let whole = |name: &str| files.config.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let Some(window) = whole("sliding_window").filter(|window| *window > 0) else { return Vec::new() };
    let listed = files.config.get("layer_types").and_then(Value::as_array);
    let first = whole("max_window_layers").unwrap_or(0);
    let is_windowed = |layer: usize| match listed.and_then(|kinds| kinds.get(layer)) {
        Some(kind) => kind.as_str() == Some("sliding_attention"),
        None => layer >= first,
    };
    (0..layers).map(|layer| is_windowed(layer).then_some(window)).collect()
}

/// The sites and norms of such a decoder.
pub(super) fn describe(
    switches: &Switches,
    spec: &ModelSpec,
    files: &ConfigFiles<'_>,
    has: &dyn Fn(&str) -> bool,
) -> Description {
    let mut b = Builder::new(spec, has, ("model.", "embed_tokens"));
    let token = b.table("embedding.token", "embed_tokens", spec.vocab);
    let blocks = b.blocks(|b, layer| block(b, switches, layer));
    let norm = b.below("norm");
    let final_norm = Some(b.norm(&norm));
    let head = decoder_head(&mut b, files, token, (false, "score"));
    b.finish(Wiring {
        token,
        position: None,
        token_type: None,
        embedding_norm: None,
        blocks,
        final_norm,
        transform: None,
        head,
        head_bias: None,
    })
}

fn block(b: &mut Builder<'_>, switches: &Switches, layer: usize) -> BlockWiring {
    let ModelSpec { hidden, intermediate: wide, head_dim, .. } = *b.spec;
    let (queries, keys) = (b.spec.heads * head_dim, b.spec.kv_heads * head_dim);
    let module = |b: &Builder<'_>, name: &str| b.below(&format!("layers.{layer}.{name}"));
    let attention_norm = b.norm(&module(b, "input_layernorm"));
    let linear = |b: &mut Builder<'_>, category, site: &str, name: &str, shape| {
        b.linear(b.site(layer, site), category, module(b, name), shape, Bias::IfThere)
    };
    let query = linear(b, Category::Attention, "self_attention.query", "self_attn.q_proj", (queries, hidden));
    let key = linear(b, Category::Attention, "self_attention.key", "self_attn.k_proj", (keys, hidden));
    let value = linear(b, Category::Attention, "self_attention.value", "self_attn.v_proj", (keys, hidden));
    let output = linear(b, Category::Attention, "self_attention.output", "self_attn.o_proj", (hidden, queries));
    let mut head_norm = |name: &str| b.norm_over(&module(b, name), head_dim);
    let head_norms = switches.head_norms.then(|| (head_norm("self_attn.q_norm"), head_norm("self_attn.k_norm")));
    let mlp_norm = b.norm(&module(b, "post_attention_layernorm"));
    let gate = linear(b, Category::Mlp, "mlp.gate", "mlp.gate_proj", (wide, hidden));
    let up = linear(b, Category::Mlp, "mlp.up", "mlp.up_proj", (wide, hidden));
    let down = linear(b, Category::Mlp, "mlp.down", "mlp.down_proj", (hidden, wide));
    let attention = AttentionWiring {
        projections: Projections::Split { query, key, value },
        output,
        head_norms,
        scale: b.scale(),
        window: switches.windows.get(layer).copied().flatten(),
    };
    BlockWiring { attention, attention_norm, gate: Some(gate), up, down, mlp_norm }
}
