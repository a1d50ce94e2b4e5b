//! Two documents, value by value.

use serde_json::Value;

use super::precision::Precision;
use super::{Difference, MOST_DIFFERENCES};
use crate::engine::problem::escape_pointer;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Values that were compared.
    pub compared: u64,
    /// Those that differ, the first [`MOST_DIFFERENCES`] of them.
    pub differences: Vec<Difference>,
    /// Differences beyond those.
    pub left_out: u64,
}

impl Comparison {
    /// Takes note of a difference.
    pub fn add(&mut self, pointer: impl Into<String>, reported: Option<Value>, found: Option<Value>) {
        if self.differences.len() < MOST_DIFFERENCES {
            self.differences.push(Difference { pointer: pointer.into(), reported, found });
        } else {
            self.left_out += 1;
        }
    }

    /// Compares one value.
    pub fn value(&mut self, pointer: impl Into<String>, reported: Value, found: Value) {
        self.compared += 1;
        if reported != found {
            self.add(pointer, Some(reported), Some(found));
        }
    }
}

/// Compares all values below `pointer`, where both documents have them, but those at the patterns `leave_out`: JSON
/// pointers in which `*` stands for any one segment, and which leave out all that is below them too.
pub fn compare(
    pointer: &str,
    reported: Option<&Value>,
    found: Option<&Value>,
    precision: Precision,
    leave_out: &[&str],
) -> Comparison {
    let mut walk = Walk { precision, leave_out, comparison: Comparison::default() };
    walk.step(&mut pointer.to_owned(), reported, found, None);
    walk.comparison
}

struct Walk<'a> {
    precision: Precision,
    leave_out: &'a [&'a str],
    comparison: Comparison,
}

impl Walk<'_> {
    /// `rows` is the nearest `n` above. Documents come from a parser that bounds their depth.
    fn step(&mut self, pointer: &mut String, reported: Option<&Value>, found: Option<&Value>, rows: Option<u64>) {
        if self.leave_out.iter().any(|pattern| matches(pattern, pointer)) || !self.precision.looks_at(pointer) {
            return;
        }
        let length = pointer.len();
        match (reported, found) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let rows = a.get("n").and_then(Value::as_u64).or(rows);
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    pointer.push('/');
                    pointer.push_str(&escape_pointer(key));
                    self.step(pointer, a.get(key), b.get(key), rows);
                    pointer.truncate(length);
                }
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                for index in 0..a.len().max(b.len()) {
                    pointer.push('/');
                    pointer.push_str(&index.to_string());
                    self.step(pointer, a.get(index), b.get(index), rows);
                    pointer.truncate(length);
                }
            }
            (a, b) => self.leaf(pointer, a, b, rows),
        }
    }

    fn leaf(&mut self, pointer: &str, reported: Option<&Value>, found: Option<&Value>, rows: Option<u64>) {
        self.comparison.compared += 1;
        let same = match (reported, found) {
            (Some(Value::Number(a)), Some(Value::Number(b))) => self.precision.same(pointer, a, b, rows),
            (a, b) => a == b,
        };
        if !same {
            self.comparison.add(pointer, reported.cloned(), found.cloned());
        }
    }
}

/// Whether a pattern is `pointer`. What is below is never come to.
fn matches(pattern: &str, pointer: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), pointer.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if pattern == "*" || pattern == part => {}
            _ => return false,
        }
    }
}
