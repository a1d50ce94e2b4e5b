//! JSON lines: each line an object with `text`, and perhaps `text_pair` and `label`. Other fields are left out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::rows::{Columns, Row, Rows, for_each_line};
use crate::engine::findings::tame;

/// Reads a file of which `bytes` are all.
pub(super) fn read(path: &str, bytes: &[u8], rows: &mut Rows) {
    for_each_line(path, bytes, rows, |at, line, rows| match parse(line) {
        Ok(row) => rows.push(at, row),
        Err(detail) => rows.refuse(at, detail),
    });
}

/// One line as a row.
fn parse(line: &str) -> Result<Row, String> {
    let Fields(fields) = serde_json::from_str(line).map_err(|error| format!("not a row: {}", tame(&error)))?;
    let Columns { text, text_pair, label } = Columns::of(fields)?;
    let Value::String(text) = text else { return Err(wrong("text", "a string", &text)) };
    let text_pair = match text_pair {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => return Err(wrong("text_pair", "a string", &other)),
    };
    let label = match label {
        None | Some(Value::Null) => None,
        Some(Value::String(label)) => Some(label),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Some(other) => return Err(wrong("label", "a string or a whole number", &other)),
    };
    Ok(Row { text, text_pair, label })
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
        f.write_str("an object with \"text\", one to a line")
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
