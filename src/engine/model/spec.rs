//! What a model computes: dimensions and switches, and its sites. Data, not code.

use serde::{Deserialize, Serialize};

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
    /// One vector a text.
    Embedding {
        /// `mean` over the tokens, or `cls`.
        pooling: Pooling,
        /// Whether vectors are scaled to length 1.
        normalize: bool,
    },
}

impl Head {
    /// Whether the answer depends on the first token's last state alone.
    pub const fn reads_first_token(&self) -> bool {
        matches!(self, Self::Classification { .. } | Self::Embedding { pooling: Pooling::Cls, .. })
    }
}

/// How token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the tokens that are not padding.
    Mean,
    /// The first token's.
    Cls,
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
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the mlp.
    pub intermediate: usize,
    /// Tokens.
    pub vocab: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Token types; 0 where there is no such table.
    pub token_types: usize,
    /// `ε` of the normalizations.
    pub norm_eps: f64,
    /// Nonlinearity of the mlp.
    pub activation: Activation,
    /// Id of the padding token.
    pub pad_token_id: u32,
    /// How hidden states become an answer.
    pub head: Head,
}
