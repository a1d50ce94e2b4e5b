//! JSON lines: each line an object with `text`, and perhaps `text_pair` and `label`; or with `tokens` and `tags`, two lists
//! of one length. Other fields are left out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::columns::Columns;
use super::number::Written;
use super::rows::{Row, Rows, Word, for_each_line};
use crate::engine::findings::tame;

/// Reads a file of which `bytes` are all.
pub(super) fn read(path: &str, bytes: &[u8], rows: &mut Rows) {
    for_each_line(path, bytes, rows, |at, line, rows| match parse(line) {
        Ok((row, label)) => rows.push(at, row, label),
        Err(detail) => rows.refuse(at, detail),
    });
}

/// One line as a row, and how its label is written.
fn parse(line: &str) -> Result<(Row, Option<Written>), String> {
    let Fields(fields) = serde_json::from_str(line).map_err(|error| format!("not a row: {}", tame(&error)))?;
    let (text, text_pair, label) = match Columns::of(fields)? {
        Columns::Text { text, text_pair, label } => (text, text_pair, label),
        Columns::Tagged { tokens, tags } => return Ok((Row::tagged(words(tokens, tags)?), None)),
    };
    let Value::String(text) = text else { return Err(wrong("text", "a string", &text)) };
    let text_pair = match text_pair {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => return Err(wrong("text_pair", "a string", &other)),
    };
    let (label, written) = match label {
        None | Some(Value::Null) => (None, None),
        Some(Value::String(label)) => (Some(label), Some(Written::Name)),
        Some(Value::Number(number)) => {
            let written = if number.is_f64() { Written::Fraction } else { Written::Whole };
            (Some(number.to_string()), Some(written))
        }
        Some(other) => return Err(wrong("label", "a string or a number", &other)),
    };
    Ok((Row { text, text_pair, label, words: Vec::new() }, written))
}

/// Two lists as one of words.
fn words(tokens: Value, tags: Value) -> Result<Vec<Word>, String> {
    let (tokens, tags) = match (tokens, tags) {
        (Value::Array(tokens), Value::Array(tags)) => (tokens, tags),
        (Value::Array(_), other) => return Err(wrong("tags", "a list", &other)),
        (other, _) => return Err(wrong("tokens", "a list", &other)),
    };
    if tokens.len() != tags.len() {
        return Err(format!("has {} tokens and {} tags: every token has one", tokens.len(), tags.len()));
    }
    let word = |(token, tag): (Value, Value)| {
        let Value::String(text) = token else { return Err(wrong("tokens", "a list of strings", &token)) };
        let tag = match tag {
            Value::String(tag) => tag,
            Value::Number(number) if !number.is_f64() => number.to_string(),
            other => return Err(wrong("tags", "a list of strings or whole numbers", &other)),
        };
        Ok(Word { text, tag })
    };
    tokens.into_iter().zip(tags).map(word).collect()
}

fn wrong(field: &str, wanted: &str, given: &Value) -> String {
    let given = match given {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("\"{field}\" must be {wanted}; {given} was given")
}

/// An object's fields in order, duplicates included.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"text\" or \"tokens\", one to a line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        /// More than any dataset has; a row of empty fields must not cost more than its bytes.
        const MOST: usize = 1000;
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry::<String, Value>()? {
            if fields.len() >= MOST {
                return Err(A::Error::custom(format!("more than {MOST} fields")));
            }
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}
