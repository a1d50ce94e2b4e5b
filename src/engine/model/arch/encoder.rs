//! Post-norm encoders with learned positions: BERT and what differs from it in names and switches.

use super::builder::{Bias, Builder};
use super::{AttentionWiring, BlockWiring, ConfigFiles, Description, Projections, Transform, Wiring};
use crate::engine::model::spec::{Activation, Category, Head, ModelSpec};

/// What a family calls its modules. Those of blocks stand below the layer, the others where they say.
pub(super) struct Names {
    /// What the bare model's modules begin with.
    pub(super) prefix: &'static str,
    /// Below the prefix; layers are numbered below it.
    pub(super) layers: &'static str,
    /// Below a layer.
    pub(super) query: &'static str,
    /// Below a layer.
    pub(super) key: &'static str,
    /// Below a layer.
    pub(super) value: &'static str,
    /// Below a layer.
    pub(super) output: &'static str,
    /// Below a layer.
    pub(super) attention_norm: &'static str,
    /// Below a layer.
    pub(super) up: &'static str,
    /// Below a layer.
    pub(super) down: &'static str,
    /// Below a layer.
    pub(super) mlp_norm: &'static str,
    /// Below the prefix: a pooler that the bare model may have.
    pub(super) bare_pooler: Option<&'static str>,
    /// Whole names: what a classifier of texts has before its head, how that is activated, and its head.
    pub(super) classifier: (&'static str, Activation, &'static str),
    /// Whole names: transform, its norm, and the decoder of a masked language model, and the bias of that.
    pub(super) language: (&'static str, &'static str, &'static str, &'static str),
}

/// The sites and norms of such an encoder.
pub(super) fn describe(
    names: &Names,
    spec: &ModelSpec,
    files: &ConfigFiles<'_>,
    has: &dyn Fn(&str) -> bool,
) -> Description {
    let mut b = Builder::new(spec, has, (names.prefix, "embeddings.word_embeddings"));
    let token = b.table("embedding.token", "embeddings.word_embeddings", spec.vocab);
    let positions = spec.positions + spec.position_offset;
    let position = Some(b.table("embedding.position", "embeddings.position_embeddings", positions));
    let token_type = (spec.token_types > 0)
        .then(|| b.table("embedding.token_type", "embeddings.token_type_embeddings", spec.token_types));
    let embedding_norm = b.below("embeddings.LayerNorm");
    let embedding_norm = Some(b.norm(&embedding_norm));
    let blocks = b.blocks(|b, layer| block(b, names, layer));
    let hidden = spec.hidden;
    let (dense, activation, classifier) = names.classifier;
    let mut wiring = Wiring {
        token,
        position,
        token_type,
        embedding_norm,
        blocks,
        final_norm: None,
        transform: None,
        head: None,
        head_bias: None,
    };
    let mut linear = |site: &str, module: &str, out| {
        b.linear(site.to_owned(), Category::Head, module.to_owned(), (out, hidden), Bias::Yes)
    };
    match &spec.head {
        Head::Classification { .. } | Head::Regression => {
            wiring.transform = Some(Transform { site: linear("pooler", dense, hidden), activation, norm: None });
            wiring.head = Some(linear("head", classifier, spec.width()));
        }
        // Its classifier stands on the states themselves, under the plain name
        Head::TokenClassification { .. } => wiring.head = Some(linear("head", "classifier", spec.width())),
        Head::MaskedLanguage => {
            let (dense, norm, decoder, bias) = names.language;
            let site = linear("transform", dense, hidden);
            let tied = files.config.get("tie_word_embeddings").and_then(serde_json::Value::as_bool) != Some(false);
            let head = if tied { token } else { linear("head", decoder, spec.vocab) };
            let activation = spec.activation;
            wiring.transform = Some(Transform { site, activation, norm: Some(b.norm(norm)) });
            wiring.head = Some(head);
            wiring.head_bias = tied.then(|| bias.to_owned());
        }
        Head::CausalLanguage | Head::Embedding { .. } => {
            if let Some(pooler) = names.bare_pooler.map(|name| b.below(name)).filter(|name| has(name)) {
                // Counted and compressed, but no answer is read off it
                b.linear("pooler".to_owned(), Category::Head, pooler, (hidden, hidden), Bias::Yes);
            }
        }
    }
    b.finish(wiring)
}

fn block(b: &mut Builder<'_>, names: &Names, layer: usize) -> BlockWiring {
    let (hidden, wide) = (b.spec.hidden, b.spec.intermediate);
    let module = |b: &Builder<'_>, name: &str| b.below(&format!("{}.{layer}.{name}", names.layers));
    let linear = |b: &mut Builder<'_>, category, site: &str, name: &str, shape| {
        b.linear(b.site(layer, site), category, module(b, name), shape, Bias::Yes)
    };
    let attention = |b: &mut Builder<'_>, site: &str, name: &str| {
        linear(b, Category::Attention, &format!("self_attention.{site}"), name, (hidden, hidden))
    };
    let query = attention(b, "query", names.query);
    let key = attention(b, "key", names.key);
    let value = attention(b, "value", names.value);
    let output = attention(b, "output", names.output);
    let attention_norm = b.norm(&module(b, names.attention_norm));
    let up = linear(b, Category::Mlp, "mlp.up", names.up, (wide, hidden));
    let down = linear(b, Category::Mlp, "mlp.down", names.down, (hidden, wide));
    let mlp_norm = b.norm(&module(b, names.mlp_norm));
    let projections = Projections::Split { query, key, value };
    let attention = AttentionWiring { projections, output, head_norms: None, scale: b.scale(), window: None };
    BlockWiring { attention, attention_norm, gate: None, up, down, mlp_norm }
}
