//! What the config's `architectures` says a model answers.

use serde_json::Value;

use super::ConfigFiles;
use super::builder::{Bias, Builder};
use super::config::ConfigReader;
use crate::engine::model::spec::{Category, Head, Pooling};

/// Endings of the classes' names that are known.
const KNOWN: &[&str] = &[
    "Model",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForMaskedLM",
    "ForPreTraining",
    "ForCausalLM",
    "LMHeadModel",
];

/// The head of a model whose classes begin with `class` (`Bert`), for which `known` are the endings that make sense.
pub(super) fn head(c: &mut ConfigReader<'_>, files: &ConfigFiles<'_>, class: &str, is_causal: bool) -> Head {
    let named = c.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str).unwrap_or_default();
    let ending = if named.is_empty() { "Model" } else { named.strip_prefix(class).unwrap_or(named) };
    match ending {
        // sentence-transformers keeps the class of the model that it began with
        _ if files.pooling.is_some() && KNOWN.contains(&ending) => embedding(files),
        "Model" => embedding(files),
        "ForSequenceClassification" => sequence(c),
        "ForTokenClassification" => Head::TokenClassification { labels: c.labels() },
        "ForMaskedLM" | "ForPreTraining" if !is_causal => Head::MaskedLanguage,
        "ForCausalLM" | "LMHeadModel" if is_causal => Head::CausalLanguage,
        _ => {
            let language = if is_causal { "ForCausalLM" } else { "ForMaskedLM" };
            let endings = ["Model", "ForSequenceClassification", "ForTokenClassification", language];
            let known = endings.map(|ending| format!("{class}{ending}")).join(", ");
            c.refuse("architectures", format!("'{named}' is not supported: {known}"));
            embedding(files)
        }
    }
}

/// The site of a decoder's head, if it has one. A tied one is the token table; `is_tied` is what holds where the config is
/// silent, `tags` what the head over the labels of tokens is called.
pub(super) fn decoder_head(
    b: &mut Builder<'_>,
    files: &ConfigFiles<'_>,
    token: usize,
    (is_tied, tags): (bool, &str),
) -> Option<usize> {
    let tied = files.config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(is_tied);
    let module = match &b.spec.head {
        Head::CausalLanguage | Head::MaskedLanguage if tied => return Some(token),
        Head::CausalLanguage | Head::MaskedLanguage => "lm_head",
        Head::Classification { .. } | Head::Regression => "score",
        Head::TokenClassification { .. } => tags,
        Head::Embedding { .. } => return None,
    };
    let shape = (b.spec.width(), b.spec.hidden);
    Some(b.linear("head".to_owned(), Category::Head, module.to_owned(), shape, Bias::IfThere))
}

fn sequence(c: &mut ConfigReader<'_>) -> Head {
    match c.text_or("problem_type", "") {
        "regression" => {
            let count = c.labels().len();
            if count != 1 {
                let detail = format!(
                    "{count} numbers a text are not supported: a model that answers with one has one entry in id2label"
                );
                c.refuse("id2label", detail);
            }
            Head::Regression
        }
        "multi_label_classification" => {
            c.refuse(
                "problem_type",
                "several labels a text are not supported: single_label_classification, regression",
            );
            Head::Regression
        }
        _ => {
            let labels = c.labels();
            // As transformers has it: one output is a number, not a choice
            if labels.len() == 1 { Head::Regression } else { Head::Classification { labels } }
        }
    }
}

fn embedding(files: &ConfigFiles<'_>) -> Head {
    let flag = |name: &str| files.pooling.and_then(|p| p.get(name)).and_then(Value::as_bool) == Some(true);
    let pooling = if flag("pooling_mode_cls_token") {
        Pooling::Cls
    } else if flag("pooling_mode_lasttoken") {
        Pooling::Last
    } else {
        Pooling::Mean
    };
    Head::Embedding { pooling, normalize: files.normalize }
}
