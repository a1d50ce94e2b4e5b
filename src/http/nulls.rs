//! A `null` counts as absent. What is kept of a request, and shown again, leaves it out.

use serde_json::Value;

/// A recipe, or a part of one, without its nulls. What is in a method's `params` stays: there a null can say something.
pub(super) fn without(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, one)| !one.is_null());
            kept.map(|(name, one)| (name.clone(), if name == "params" { one.clone() } else { without(one) })).collect()
        }
        Value::Array(list) => list.iter().map(without).collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_go_but_for_those_that_a_method_reads() {
        let written = json!({"seed": null, "stages": [{"method": "m", "ignore": null, "params": {"rank": null}}],
            "evaluate": {"max_seq_length": null}});
        let kept = json!({"stages": [{"method": "m", "params": {"rank": null}}], "evaluate": {}});
        assert_eq!(without(&written), kept);
    }
}
