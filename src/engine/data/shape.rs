//! What is checked of a `tokenizer.json` before the `tokenizers` crate sees it: the parts that it takes on trust.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::tokenize::invalid;
use crate::engine::error::Result;
use crate::engine::findings::{shown, tame};

/// `WordPiece` tries every end of a word for every start: quadratic in this.
const WORD_CHARS: u64 = 1000;
/// Special tokens that one row may get.
const SPECIAL_TOKENS: usize = 64;

/// The vocabulary is read past, not kept: it is most of the file.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    model: Option<Model>,
    #[serde(default)]
    post_processor: Option<Value>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    max_input_chars_per_word: Option<u64>,
    #[serde(default)]
    vocab: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Template {
    single: Vec<Piece>,
    pair: Vec<Piece>,
    special_tokens: HashMap<String, Special>,
}

#[derive(Deserialize)]
enum Piece {
    Sequence { id: String },
    SpecialToken { id: String },
}

#[derive(Deserialize)]
struct Special {
    ids: Vec<u32>,
    tokens: Vec<String>,
}

/// Refuses what would make the crate panic or take forever.
///
/// # Errors
///
/// `tokenizer_invalid`.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let file: File =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("tokenizer.json: {}", tame(&error))))?;
    let Some(model) = file.model else { return Err(invalid("tokenizer.json has no model")) };
    if model.vocab.is_none() {
        return Err(invalid("tokenizer.json: the model has no vocab"));
    }
    if let Some(chars) = model.max_input_chars_per_word.filter(|chars| *chars > WORD_CHARS) {
        return Err(invalid(format!(
            "max_input_chars_per_word is {chars}; at most {WORD_CHARS} is read: 100 is usual"
        )));
    }
    file.post_processor.as_ref().map_or(Ok(()), processor)
}

/// A post-processor, or each of a sequence of them. Depth is bounded by the parser's.
fn processor(value: &Value) -> Result<()> {
    match value.get("type").and_then(Value::as_str) {
        Some("Sequence") => {
            value.get("processors").and_then(Value::as_array).into_iter().flatten().try_for_each(processor)
        }
        Some("TemplateProcessing") => {
            let template = Template::deserialize(value)
                .map_err(|error| invalid(format!("tokenizer.json: the template: {}", tame(&error))))?;
            pieces(&template.single, &template.special_tokens, &["A"])?;
            pieces(&template.pair, &template.special_tokens, &["A", "B"])
        }
        _ => Ok(()),
    }
}

/// One template: each sequence exactly once, and only special tokens that are defined.
fn pieces(pieces: &[Piece], special: &HashMap<String, Special>, sequences: &[&str]) -> Result<()> {
    let mut left: Vec<&str> = sequences.to_vec();
    let mut added = 0;
    for piece in pieces {
        match piece {
            Piece::Sequence { id } => match left.iter().position(|sequence| sequence == id) {
                Some(at) => drop(left.remove(at)),
                None => return Err(invalid(format!("tokenizer.json: a template has sequence {} wrongly", shown(id)))),
            },
            Piece::SpecialToken { id } => {
                let Some(token) = special.get(id) else {
                    return Err(invalid(format!("tokenizer.json: special token {} is not defined", shown(id))));
                };
                if token.ids.len() != token.tokens.len() {
                    return Err(invalid(format!("tokenizer.json: {} has more ids than tokens or fewer", shown(id))));
                }
                added += token.ids.len();
            }
        }
    }
    if !left.is_empty() {
        return Err(invalid("tokenizer.json: a template leaves out a sequence"));
    }
    if added > SPECIAL_TOKENS {
        return Err(invalid(format!(
            "tokenizer.json: a template adds {added} tokens; at most {SPECIAL_TOKENS} are read"
        )));
    }
    Ok(())
}
