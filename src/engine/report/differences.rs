//! Where documents differ, as JSON pointers.

use serde_json::Value;

use crate::engine::problem::escape_pointer;

/// A place where documents are not all equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where, as a JSON pointer; empty for whole documents.
    pub pointer: String,
    /// What stands there in each document; `None` where nothing does.
    pub values: Vec<Option<Value>>,
}

/// Every place where `documents` differ, in the order of their fields. Objects are compared field by field and lists
/// entry by entry, as long as all documents have one there; numbers are equal if their values are (`1`, `1.0`).
pub fn differences(documents: &[Option<&Value>]) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(documents, String::new(), &mut found);
    found
}

fn walk(values: &[Option<&Value>], pointer: String, found: &mut Vec<Difference>) {
    if let Some(keys) = common_keys(values) {
        for key in keys {
            let below: Vec<Option<&Value>> =
                values.iter().map(|value| value.and_then(|value| value.get(&key))).collect();
            walk(&below, format!("{pointer}/{}", escape_pointer(&key)), found);
        }
    } else if let Some(length) = longest(values) {
        for index in 0..length {
            let below: Vec<Option<&Value>> =
                values.iter().map(|value| value.and_then(|value| value.get(index))).collect();
            walk(&below, format!("{pointer}/{index}"), found);
        }
    } else if !values.windows(2).all(|pair| matches!(pair, [a, b] if is_same(*a, *b))) {
        found.push(Difference { pointer, values: values.iter().map(|value| value.cloned()).collect() });
    }
}

/// The fields of any of the values, if all are objects.
fn common_keys(values: &[Option<&Value>]) -> Option<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    for value in values {
        for key in (*value)?.as_object()?.keys() {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    Some(keys)
}

/// The length of the longest value, if all are lists.
fn longest(values: &[Option<&Value>]) -> Option<usize> {
    values.iter().try_fold(0, |longest, value| Some((*value)?.as_array()?.len().max(longest)))
}

fn is_same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.len() == b.len() && a.iter().all(|(key, value)| is_same(Some(value), b.get(key)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(documents: &[Option<&Value>]) -> Vec<String> {
        differences(documents).into_iter().map(|difference| difference.pointer).collect()
    }

    #[test]
    fn only_what_differs_is_named_and_absent_is_not_null() {
        let a = json!({"version": 1, "stages": [{"method": "quantize", "params": {"bits": 8, "a/b": 1}}]});
        let b = json!({"stages": [{"method": "quantize", "params": {"bits": 4.0, "a/b": 1.0, "group_size": null}},
            {"method": "fold"}], "version": 1});
        let found = differences(&[Some(&a), Some(&b)]);
        let expected = [
            ("/stages/0/params/bits", vec![Some(json!(8)), Some(json!(4.0))]),
            ("/stages/0/params/group_size", vec![None, Some(Value::Null)]),
            ("/stages/1", vec![None, Some(json!({"method": "fold"}))]),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (difference, (pointer, values)) in found.iter().zip(expected) {
            assert_eq!((difference.pointer.as_str(), &difference.values), (pointer, &values));
        }
    }

    #[test]
    fn three_documents_and_none_at_all() {
        let (a, b) = (json!({"x": [1, 2]}), json!({"x": {"y": 1}}));
        assert_eq!(pointers(&[Some(&a), Some(&a), Some(&b)]), ["/x"]);
        assert_eq!(pointers(&[Some(&a), None]), [""]);
        assert_eq!(pointers(&[Some(&a), Some(&a)]), [] as [String; 0]);
        assert_eq!(pointers(&[None, None]), [] as [String; 0]);
    }
}
