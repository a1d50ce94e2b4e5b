//! BERT (Devlin et al. 2018, arXiv 1810.04805): token, position and type tables, post-norm blocks, a pooler over
//! `[CLS]`, a classifier. Without a classifier it is an embedding model.

use super::config::ConfigReader;
use super::{Architecture, BlockWiring, ConfigFiles, Description, NormSpec, Wiring};
use crate::engine::model::spec::{Activation, Category, Head, ModelSpec, Pooling, SiteRole, SiteSpec};
use crate::engine::problem::Problem;

/// The family.
pub struct Bert;

impl Architecture for Bert {
    fn model_type(&self) -> &'static str {
        "bert"
    }

    fn parse(&self, files: &ConfigFiles<'_>) -> Result<ModelSpec, Vec<Problem>> {
        let mut c = ConfigReader::new(files.config);
        let hidden = c.size("hidden_size", 65_536);
        let heads = c.size("num_attention_heads", 1_024);
        if !hidden.is_multiple_of(heads) {
            c.refuse("num_attention_heads", format!("{heads} heads do not divide hidden_size {hidden}"));
        }
        let activation = match c.text_or("hidden_act", "gelu") {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            other => {
                c.refuse("hidden_act", format!("'{other}' is not known: gelu, gelu_new, relu, silu"));
                Activation::Gelu
            }
        };
        let positions = c.text_or("position_embedding_type", "absolute");
        if positions != "absolute" {
            c.refuse("position_embedding_type", format!("'{positions}' is not supported: absolute"));
        }
        let head = head(&mut c, files);
        let vocab = c.size("vocab_size", 10_000_000);
        let spec = ModelSpec {
            family: "bert".to_owned(),
            stack: "encoder".to_owned(),
            layers: c.size("num_hidden_layers", 1_024),
            hidden,
            heads,
            head_dim: hidden / heads,
            intermediate: c.size("intermediate_size", 1_048_576),
            vocab,
            positions: c.size("max_position_embeddings", 1_048_576),
            token_types: c.size_or("type_vocab_size", 2, 1_024),
            norm_eps: c.positive_or("layer_norm_eps", 1e-12),
            activation,
            pad_token_id: pad_token(&mut c, vocab),
            head,
        };
        c.finish(spec)
    }

    fn describe(&self, spec: &ModelSpec, has: &dyn Fn(&str) -> bool) -> Description {
        let prefix = if has("bert.embeddings.word_embeddings") { "bert." } else { "" };
        // Checkpoints converted from TensorFlow call a norm's vectors gamma and beta
        let old = has(&format!("{prefix}embeddings.LayerNorm.gamma"));
        let mut b = Builder { spec, prefix, old, sites: Vec::new(), norms: Vec::new() };
        let token = b.table("embedding.token", "word_embeddings", spec.vocab);
        let position = b.table("embedding.position", "position_embeddings", spec.positions);
        let token_type = Some(b.table("embedding.token_type", "token_type_embeddings", spec.token_types));
        let embedding_norm = b.norm("embeddings.LayerNorm");
        let blocks = (0..spec.layers).map(|i| b.block(i)).collect();
        let classifies = matches!(spec.head, Head::Classification { .. });
        let pooler = (classifies || has(&format!("{prefix}pooler.dense")))
            .then(|| b.linear("pooler", Category::Head, format!("{prefix}pooler.dense"), spec.hidden, spec.hidden));
        let head = match &spec.head {
            Head::Classification { labels } => {
                Some(b.linear("head", Category::Head, "classifier".to_owned(), labels.len(), spec.hidden))
            }
            Head::Embedding { .. } => None,
        };
        let wiring = Wiring { token, position, token_type, embedding_norm, blocks, pooler, head };
        Description { sites: b.sites, norms: b.norms, wiring }
    }
}

/// What the config's `architectures` says the model answers.
fn head(c: &mut ConfigReader<'_>, files: &ConfigFiles<'_>) -> Head {
    let architecture =
        c.get("architectures").and_then(|a| a.get(0)).and_then(|a| a.as_str()).unwrap_or("BertModel").to_owned();
    match architecture.as_str() {
        "BertForSequenceClassification" => Head::Classification { labels: c.labels() },
        "BertModel" | "BertForMaskedLM" | "BertForPreTraining" => {
            let flag = |name: &str| files.pooling.and_then(|p| p.get(name)).and_then(serde_json::Value::as_bool);
            let pooling = if flag("pooling_mode_cls_token") == Some(true) { Pooling::Cls } else { Pooling::Mean };
            Head::Embedding { pooling, normalize: files.normalize }
        }
        other => {
            let known = "BertForSequenceClassification, BertModel, BertForMaskedLM, BertForPreTraining";
            c.refuse("architectures", format!("'{other}' is not supported: {known}"));
            Head::Embedding { pooling: Pooling::Mean, normalize: false }
        }
    }
}

fn pad_token(c: &mut ConfigReader<'_>, vocab: usize) -> u32 {
    let Some(value) = c.get("pad_token_id") else { return 0 };
    match value.as_u64().filter(|id| *id < vocab as u64) {
        Some(id) => id as u32,
        None => {
            c.refuse("pad_token_id", format!("'pad_token_id' is {value}: an id below vocab_size is needed"));
            0
        }
    }
}

struct Builder<'a> {
    spec: &'a ModelSpec,
    prefix: &'a str,
    old: bool,
    sites: Vec<SiteSpec>,
    norms: Vec<NormSpec>,
}

impl Builder<'_> {
    fn table(&mut self, site: &str, name: &str, rows: usize) -> usize {
        self.sites.push(SiteSpec {
            site: site.to_owned(),
            role: SiteRole::Embedding,
            category: Category::Embedding,
            module: format!("{}embeddings.{name}", self.prefix),
            out: rows,
            r#in: self.spec.hidden,
            bias: false,
            is_centered: false,
        });
        self.sites.len() - 1
    }

    fn linear(&mut self, site: &str, category: Category, module: String, out: usize, r#in: usize) -> usize {
        // Post-norm: what these two give goes into a layer norm
        let is_centered = site.ends_with(".self_attention.output") || site.ends_with(".mlp.down");
        let site = site.to_owned();
        self.sites.push(SiteSpec {
            site,
            role: SiteRole::Linear,
            category,
            module,
            out,
            r#in,
            bias: true,
            is_centered,
        });
        self.sites.len() - 1
    }

    fn norm(&mut self, name: &str) -> usize {
        let (weight, bias) = if self.old { ("gamma", "beta") } else { ("weight", "bias") };
        let tensor = |part: &str| format!("{}{name}.{part}", self.prefix);
        self.norms.push(NormSpec { weight: tensor(weight), bias: tensor(bias), width: self.spec.hidden });
        self.norms.len() - 1
    }

    fn block(&mut self, i: usize) -> BlockWiring {
        let (hidden, wide) = (self.spec.hidden, self.spec.intermediate);
        let layer = format!("{}encoder.layer.{i}", self.prefix);
        let mut attention = |site: &str, name: &str| {
            let site = format!("encoder.{i}.self_attention.{site}");
            self.linear(&site, Category::Attention, format!("{layer}.attention.{name}"), hidden, hidden)
        };
        let query = attention("query", "self.query");
        let key = attention("key", "self.key");
        let value = attention("value", "self.value");
        let output = attention("output", "output.dense");
        let attention_norm = self.norm(&format!("encoder.layer.{i}.attention.output.LayerNorm"));
        let mlp = |site: &str| format!("encoder.{i}.mlp.{site}");
        let up = self.linear(&mlp("up"), Category::Mlp, format!("{layer}.intermediate.dense"), wide, hidden);
        let down = self.linear(&mlp("down"), Category::Mlp, format!("{layer}.output.dense"), hidden, wide);
        let mlp_norm = self.norm(&format!("encoder.layer.{i}.output.LayerNorm"));
        BlockWiring { query, key, value, output, attention_norm, up, down, mlp_norm }
    }
}
