//! Reads a JSON object field by field and finds every problem at once: a derived `Deserialize` stops at the first.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::Detail;
use crate::engine::problem::{Code, escape_pointer, nearest};

/// An object that is being read.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    problems: Vec<Detail>,
}

impl<'a> Fields<'a> {
    /// Starts to read `value`, whose fields may be those in `known`.
    ///
    /// # Errors
    ///
    /// One problem if it is no object. Fields that are not known are among the problems of [`Fields::finish`].
    pub(super) fn of(value: &'a Value, known: &[&'static str]) -> Result<Self, Vec<Detail>> {
        let Value::Object(map) = value else {
            return Err(vec![Detail::new("", Code::WrongType, format!("an object is wanted, not {}", kind(value)))]);
        };
        let mut fields = Self { map, problems: Vec::new() };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            let shown: String = name.chars().take(80).collect();
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known are {}", known.join(", ")),
            };
            fields.add(&escape_pointer(&shown), Code::UnknownField, format!("there is no field '{shown}'; {hint}"));
        }
        Ok(fields)
    }

    /// Notes a problem with a field.
    pub(super) fn add(&mut self, field: &str, code: impl Into<super::code::Code>, detail: impl Into<String>) {
        self.problems.push(Detail::new(format!("/{field}"), code, detail));
    }

    /// The field's value; a `null` counts as absent.
    pub(super) fn value(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// A text of 1 to `longest` characters without control characters.
    pub(super) fn text(&mut self, field: &'static str, longest: usize) -> Option<&'a str> {
        let value = self.value(field)?;
        let Some(text) = value.as_str() else {
            self.wrong_type(field, "a text", value);
            return None;
        };
        match check_text(text, longest) {
            Ok(()) => Some(text),
            Err(detail) => {
                self.add(field, Code::OutOfRange, detail);
                None
            }
        }
    }

    /// An identifier.
    pub(super) fn id<T: FromStr<Err = crate::id::IdError>>(&mut self, field: &'static str) -> Option<T> {
        let value = self.value(field)?;
        let Some(text) = value.as_str() else {
            self.wrong_type(field, "an id", value);
            return None;
        };
        text.parse().map_err(|error: crate::id::IdError| self.add(field, Code::OutOfRange, error.to_string())).ok()
    }

    /// A whole number in `range`.
    pub(super) fn integer(&mut self, field: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(field)?;
        if !value.is_number() {
            self.wrong_type(field, "a whole number", value);
            return None;
        }
        let number = value.as_i64().filter(|number| range.contains(number));
        if number.is_none() {
            let detail = format!("{value} is not allowed; {} to {} is", range.start(), range.end());
            self.add(field, Code::OutOfRange, detail);
        }
        number
    }

    /// An object.
    pub(super) fn object(&mut self, field: &'static str) -> Option<&'a Map<String, Value>> {
        let value = self.value(field)?;
        if !value.is_object() {
            self.wrong_type(field, "an object", value);
        }
        value.as_object()
    }

    /// Notes that a field has another type.
    pub(super) fn wrong_type(&mut self, field: &str, wanted: &str, value: &Value) {
        self.add(field, Code::WrongType, format!("{wanted} is wanted, not {}", kind(value)));
    }

    /// Every problem.
    pub(super) fn finish(self) -> Vec<Detail> {
        self.problems
    }
}

/// What is wrong with a text that should have 1 to `longest` characters and no control characters.
pub(super) fn check_text(text: &str, longest: usize) -> Result<(), String> {
    let length = text.chars().count();
    if length == 0 || length > longest {
        return Err(format!("{length} characters are not allowed; 1 to {longest} are"));
    }
    if text.chars().any(char::is_control) {
        return Err("control characters are not allowed".to_owned());
    }
    Ok(())
}

/// The type of a value, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::ModelId;

    #[test]
    fn every_problem_is_found_at_once_and_a_slip_is_named() {
        let value = json!({"modelid": 1, "name": "", "seconds": 1.5, "model_id": "mdl_x", "labels": [], "a/b": 0});
        let mut fields = Fields::of(&value, &["model_id", "name", "seconds", "labels"]).unwrap();
        assert_eq!(fields.text("name", 5), None);
        assert_eq!(fields.integer("seconds", 1..=9), None);
        assert_eq!(fields.id::<ModelId>("model_id"), None);
        assert_eq!(fields.object("labels"), None);
        let problems = fields.finish();
        let found: Vec<_> = problems.iter().map(|p| (p.pointer.as_str(), p.code.as_str())).collect();
        assert_eq!(
            found,
            [
                ("/modelid", "unknown_field"),
                ("/a~1b", "unknown_field"),
                ("/name", "out_of_range"),
                ("/seconds", "out_of_range"),
                ("/model_id", "out_of_range"),
                ("/labels", "wrong_type"),
            ]
        );
        assert!(problems.first().unwrap().detail.contains("did you mean 'model_id'?"));
        assert!(Fields::of(&json!([]), &[]).is_err());
    }

    #[test]
    fn null_is_absent() {
        let value = json!({"name": null});
        assert_eq!(Fields::of(&value, &["name"]).unwrap().text("name", 5), None);
    }
}
