//! What a model computes: dimensions and switches, and its sites. Data, not code.

use serde::{Deserialize, Serialize};

pub use super::rope::Rope;

/// What kind of bytes a site's are, for the table of where they went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Tables of tokens, positions, token types.
    Embedding,
    /// Query, key, value, output.
    Attention,
    /// Up, gate, down.
    Mlp,
    /// Scales and shifts of normalizations.
    Norms,
    /// Pooler and classifier, or the language model's head.
    Head,
    /// Scales and zero points of codes.
    ScalesAndZeros,
    /// File headers, shapes, and what belongs to no site.
    Metadata,
}

/// How a site's map is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteRole {
    /// `y = W x + b`.
    Linear,
    /// Rows looked up by id.
    Embedding,
}

/// A place in a model that holds a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSpec {
    /// `encoder.3.self_attention.query`.
    pub site: String,
    /// How it is used.
    pub role: SiteRole,
    /// What its bytes count as.
    pub category: Category,
    /// The checkpoint's name for the module: its tensors are `<module>.weight`, `<module>.bias`, ….
    pub module: String,
    /// Rows.
    pub out: usize,
    /// Columns.
    pub r#in: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// Whether a layer norm takes the mean of its outputs away, as in post-norm blocks: what is added to all of them alike
    /// changes nothing.
    #[serde(default)]
    pub is_centered: bool,
    /// Whether plain numbers of it lie as `[in, out]` on disk. Every other form lies as `[out, in]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transposed: bool,
}

/// How hidden states become an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Head {
    /// Logits over labels.
    Classification {
        /// Names by index.
        labels: Vec<String>,
    },
    /// One number a text.
    Regression,
    /// Logits over labels for every token.
    TokenClassification {
        /// Names by index.
        labels: Vec<String>,
    },
    /// Logits over the vocabulary for every token, of which some were hidden.
    MaskedLanguage,
    /// Logits over the vocabulary for every token, for the one that comes next.
    CausalLanguage,
    /// One vector a text.
    Embedding {
        /// How token vectors become one.
        pooling: Pooling,
        /// Whether vectors are scaled to length 1.
        normalize: bool,
    },
}

/// Which tokens' last states an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The first of each row.
    First,
    /// The last of each row.
    Last,
    /// All of them.
    Every,
}

/// How token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the tokens that are not padding.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
}

/// The nonlinearity of the mlp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Φ(x)`, exact.
    Gelu,
    /// The tanh approximation of it.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x σ(x)`.
    Silu,
    /// `tanh(x)`.
    Tanh,
}

/// How hidden states are brought to one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// `(x - mean) / √(var + ε) · γ + β` (Ba et al. 2016).
    LayerNorm,
    /// `x / √(mean(x²) + ε) · γ` (Zhang & Sennrich 2019).
    RmsNorm,
}

/// Where a block's norms stand (Xiong et al. 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlace {
    /// `x ← norm(x + f(x))`.
    Post,
    /// `x ← x + f(norm(x))`.
    Pre,
}

/// Dimensions and switches of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// `model_type`.
    pub family: String,
    /// `encoder` or `decoder`: the first segment of its blocks' sites.
    pub stack: String,
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` of the queries' (Ainslie et al. 2023).
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the mlp.
    pub intermediate: usize,
    /// Tokens.
    pub vocab: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Rows of the position table that stand before the first position's.
    pub position_offset: usize,
    /// Token types; 0 where there is no such table.
    pub token_types: usize,
    /// How hidden states are brought to one scale.
    pub norm: NormKind,
    /// Where a block's norms stand.
    pub norm_place: NormPlace,
    /// `ε` of the normalizations.
    pub norm_eps: f64,
    /// Whether a token sees itself and what came before alone.
    pub is_causal: bool,
    /// Rotary positions, where queries and keys are turned by them.
    pub rope: Option<Rope>,
    /// Nonlinearity of the mlp.
    pub activation: Activation,
    /// Id of the padding token.
    pub pad_token_id: u32,
    /// Id of the token that texts begin with, where the config names one.
    pub bos_token_id: Option<u32>,
    /// How hidden states become an answer.
    pub head: Head,
}

impl ModelSpec {
    /// Which tokens' last states the answer is made of.
    pub const fn reads(&self) -> Reads {
        match &self.head {
            Head::Classification { .. } | Head::Regression if self.is_causal => Reads::Last,
            Head::Classification { .. } | Head::Regression | Head::Embedding { pooling: Pooling::Cls, .. } => {
                Reads::First
            }
            Head::Embedding { pooling: Pooling::Last, .. } => Reads::Last,
            _ => Reads::Every,
        }
    }

    /// Whether answers come by a site. A model whose answers are its states may have a pooler behind them, which is kept as it is found
    /// and read by nothing.
    pub fn is_read(&self, site: &SiteSpec) -> bool {
        !(matches!(self.head, Head::Embedding { .. }) && site.category == Category::Head)
    }

    /// Whether there is an answer for every token, not one a row.
    pub const fn answers_by_token(&self) -> bool {
        matches!(self.head, Head::TokenClassification { .. } | Head::MaskedLanguage | Head::CausalLanguage)
    }

    /// Numbers of one answer.
    pub fn width(&self) -> usize {
        match &self.head {
            Head::Classification { labels } | Head::TokenClassification { labels } => labels.len(),
            Head::Regression => 1,
            Head::MaskedLanguage | Head::CausalLanguage => self.vocab,
            Head::Embedding { .. } => self.hidden,
        }
    }
}
