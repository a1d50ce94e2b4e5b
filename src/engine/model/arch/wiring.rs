//! Who feeds whom: indices into a model's sites and norms. One wiring language for encoders and decoders.

use crate::engine::model::spec::Activation;

/// How a model's sites and norms are put together.
#[derive(Debug, Clone, PartialEq)]
pub struct Wiring {
    /// Site of the token table.
    pub token: usize,
    /// Site of the position table.
    pub position: Option<usize>,
    /// Site of the token type table.
    pub token_type: Option<usize>,
    /// Norm after the sum of the tables.
    pub embedding_norm: Option<usize>,
    /// Blocks in order.
    pub blocks: Vec<BlockWiring>,
    /// Norm after the last block.
    pub final_norm: Option<usize>,
    /// What stands between the blocks and the head.
    pub transform: Option<Transform>,
    /// Site of the head; the token table's where the two are tied.
    pub head: Option<usize>,
    /// The tensor that is added to a tied head's outputs.
    pub head_bias: Option<String>,
}

/// `norm(f(W x + b))` before the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// Site.
    pub site: usize,
    /// `f`.
    pub activation: Activation,
    /// Norm.
    pub norm: Option<usize>,
}

/// One block: attention, then the mlp.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockWiring {
    /// Attention.
    pub attention: AttentionWiring,
    /// Norm of the attention: after attention and residual in post-norm blocks, before attention in pre-norm ones.
    pub attention_norm: usize,
    /// Site whose activated outputs are multiplied with `up`'s; without it `up`'s are activated themselves.
    pub gate: Option<usize>,
    /// Site.
    pub up: usize,
    /// Site.
    pub down: usize,
    /// Norm of the mlp, in the same way.
    pub mlp_norm: usize,
}

impl BlockWiring {
    /// The block's sites in the order of computation.
    pub fn sites(&self) -> Vec<usize> {
        self.groups().concat()
    }

    /// The same, those together that are fed the same.
    pub fn groups(&self) -> [Vec<usize>; 4] {
        let projections = match self.attention.projections {
            Projections::Split { query, key, value } => vec![query, key, value],
            Projections::Fused(site) => vec![site],
        };
        let wide = self.gate.into_iter().chain([self.up]).collect();
        [projections, vec![self.attention.output], wide, vec![self.down]]
    }
}

/// One attention.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionWiring {
    /// Sites that queries, keys and values come from.
    pub projections: Projections,
    /// Site.
    pub output: usize,
    /// Norms over each head's queries and keys.
    pub head_norms: Option<(usize, usize)>,
    /// What scores are multiplied by.
    pub scale: f32,
    /// A token sees so many tokens back, itself among them.
    pub window: Option<usize>,
}

/// Where queries, keys and values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projections {
    /// A site each.
    Split {
        /// Site.
        query: usize,
        /// Site.
        key: usize,
        /// Site.
        value: usize,
    },
    /// One site whose outputs are the three, one after another.
    Fused(usize),
}
