//! Puts the description of a model together, site by site, in the order of computation.

use super::{BlockWiring, Description, NormSpec, Wiring};
use crate::engine::model::spec::{Category, ModelSpec, NormKind, NormPlace, SiteRole, SiteSpec};

/// Sites and norms so far.
pub(super) struct Builder<'a> {
    pub(super) spec: &'a ModelSpec,
    /// Whether the checkpoint has a module, or a tensor, of that name.
    pub(super) has: &'a dyn Fn(&str) -> bool,
    /// What the names of the bare model's modules begin with: `bert.`, or nothing.
    prefix: &'a str,
    /// Whether matrices lie as `[in, out]` on disk.
    transposed: bool,
    sites: Vec<SiteSpec>,
    norms: Vec<NormSpec>,
}

/// Whether a linear map has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Yes,
    /// Where the file has one.
    IfThere,
}

impl<'a> Builder<'a> {
    /// `prefix` is left out where no module of that name is there: checkpoints of bare models have none.
    pub(super) fn new(spec: &'a ModelSpec, has: &'a dyn Fn(&str) -> bool, (prefix, known): (&'a str, &str)) -> Self {
        let prefix = if has(&format!("{prefix}{known}")) { prefix } else { "" };
        Self { spec, has, prefix, transposed: false, sites: Vec::new(), norms: Vec::new() }
    }

    /// Linear maps that are added from here on lie as `[in, out]` on disk, or not any more.
    pub(super) fn transposed(&mut self, transposed: bool) {
        self.transposed = transposed;
    }

    /// A module's name below the prefix.
    pub(super) fn below(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A table of `rows`, by its name below the prefix.
    pub(super) fn table(&mut self, site: &str, name: &str, rows: usize) -> usize {
        self.sites.push(SiteSpec {
            site: site.to_owned(),
            role: SiteRole::Embedding,
            category: Category::Embedding,
            module: self.below(name),
            out: rows,
            r#in: self.spec.hidden,
            bias: false,
            is_centered: false,
            transposed: false,
        });
        self.sites.len() - 1
    }

    /// A linear map of shape `[out, in]`, by its module's whole name.
    pub(super) fn linear(
        &mut self,
        site: String,
        category: Category,
        module: String,
        (out, r#in): (usize, usize),
        bias: Bias,
    ) -> usize {
        let post_norm = self.spec.norm_place == NormPlace::Post && self.spec.norm == NormKind::LayerNorm;
        let bias = bias == Bias::Yes || bias == Bias::IfThere && (self.has)(&format!("{module}.bias"));
        self.sites.push(SiteSpec {
            // What these two give goes into a layer norm
            is_centered: post_norm && (site.ends_with(".self_attention.output") || site.ends_with(".mlp.down")),
            site,
            role: SiteRole::Linear,
            category,
            module,
            out,
            r#in,
            bias,
            transposed: self.transposed,
        });
        self.sites.len() - 1
    }

    /// A norm over `width` numbers, by its module's whole name.
    pub(super) fn norm_over(&mut self, module: &str, width: usize) -> usize {
        // Checkpoints converted from TensorFlow call a norm's vectors gamma and beta
        let old = (self.has)(&format!("{module}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let bias = (self.spec.norm == NormKind::LayerNorm).then(|| format!("{module}.{bias}"));
        self.norms.push(NormSpec { weight: format!("{module}.{weight}"), bias, width });
        self.norms.len() - 1
    }

    /// A norm over hidden states.
    pub(super) fn norm(&mut self, module: &str) -> usize {
        self.norm_over(module, self.spec.hidden)
    }

    /// The description, wired.
    pub(super) fn finish(self, wiring: Wiring) -> Description {
        Description { sites: self.sites, norms: self.norms, wiring }
    }

    /// One block for each layer.
    pub(super) fn blocks(&mut self, mut block: impl FnMut(&mut Self, usize) -> BlockWiring) -> Vec<BlockWiring> {
        (0..self.spec.layers).map(|layer| block(self, layer)).collect()
    }

    /// The name of a layer's site.
    pub(super) fn site(&self, layer: usize, name: &str) -> String {
        format!("{}.{layer}.{name}", self.spec.stack)
    }

    /// `1/√head_dim`.
    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.spec.head_dim as f32).sqrt()
    }
}
