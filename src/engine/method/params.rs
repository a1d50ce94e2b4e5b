//! A method's parameters as data: checked with all problems at once, filled with defaults, and shown as JSON Schema.

use serde_json::{Map, Value, json};

use crate::engine::problem::{Code, Problem, escape_pointer, nearest};

/// One parameter.
pub struct ParamSpec {
    /// Its name, the field's own.
    pub name: &'static str,
    /// What values it may have.
    pub kind: Kind,
    /// One sentence.
    pub doc: &'static str,
}

/// The values that a parameter may have, with the default.
pub enum Kind {
    /// One of a few whole numbers.
    OneOf(&'static [i64], i64),
    /// One of a few words.
    Word(&'static [&'static str], &'static str),
    /// One of a few words, or left out.
    OptionalWord(&'static [&'static str]),
    /// Yes or no.
    Bool(bool),
    /// A number above `.0` and up to `.1`; the last is the default.
    Share(f64, f64, f64),
    /// A number from `.0` to `.1`; the last is the default.
    Part(f64, f64, f64),
    /// A whole number in a range that may be left out.
    OptionalCount(u64, u64),
    /// A whole number from `.0` to `.1`; the last is the default.
    Count(u64, u64, u64),
    /// A whole number from `.0` to `.1`, or -1 for all there are; the last is the default.
    CountOrAll(i64, i64, i64),
}

impl Kind {
    fn default_value(&self) -> Value {
        match self {
            Self::OneOf(_, default) | Self::CountOrAll(_, _, default) => json!(default),
            Self::Word(_, default) => json!(default),
            Self::Bool(default) => json!(default),
            Self::Share(_, _, default) | Self::Part(_, _, default) => json!(default),
            Self::OptionalCount(..) | Self::OptionalWord(_) => Value::Null,
            Self::Count(_, _, default) => json!(default),
        }
    }

    /// Whether a value is allowed.
    pub fn allows(&self, value: &Value) -> bool {
        self.check(value).is_ok()
    }

    /// What is wrong with a value: the code, and what would be right.
    fn check(&self, value: &Value) -> Result<(), (Code, String)> {
        let (fits_type, fits_range, allowed) = match self {
            Self::OneOf(list, _) => {
                let n = value.as_i64();
                (n.is_some(), n.is_some_and(|n| list.contains(&n)), format!("one of {list:?}"))
            }
            Self::Word(list, _) => {
                let word = value.as_str();
                (word.is_some(), word.is_some_and(|w| list.contains(&w)), format!("one of {list:?}"))
            }
            Self::OptionalWord(list) => {
                let fits = value.is_null() || value.as_str().is_some_and(|w| list.contains(&w));
                (value.is_string() || value.is_null(), fits, format!("one of {list:?}, or left out"))
            }
            Self::Bool(_) => (value.is_boolean(), true, "true or false".to_owned()),
            Self::Share(low, high, _) => {
                let x = value.as_f64();
                let allowed = format!("a number above {low} and at most {high}");
                (x.is_some(), x.is_some_and(|x| x > *low && x <= *high), allowed)
            }
            Self::Part(low, high, _) => {
                let x = value.as_f64();
                (x.is_some(), x.is_some_and(|x| x >= *low && x <= *high), format!("a number from {low} to {high}"))
            }
            Self::Count(low, high, _) => {
                let n = value.as_u64();
                let allowed = format!("a whole number from {low} to {high}");
                (value.is_number(), n.is_some_and(|n| (*low..=*high).contains(&n)), allowed)
            }
            Self::CountOrAll(low, high, _) => {
                let n = value.as_i64();
                let allowed = format!("a whole number from {low} to {high}, or -1 for all");
                (value.is_number(), n.is_some_and(|n| n == -1 || (*low..=*high).contains(&n)), allowed)
            }
            Self::OptionalCount(low, high) => {
                let n = value.as_u64();
                let allowed = format!("a whole number from {low} to {high}, or left out");
                (
                    value.is_number() || value.is_null(),
                    value.is_null() || n.is_some_and(|n| (*low..=*high).contains(&n)),
                    allowed,
                )
            }
        };
        match (fits_type, fits_range) {
            (true, true) => Ok(()),
            (false, _) => Err((Code::WrongType, allowed)),
            (true, false) => Err((Code::OutOfRange, allowed)),
        }
    }

    fn schema(&self) -> Value {
        match self {
            Self::OneOf(list, default) => json!({ "type": "integer", "enum": list, "default": default }),
            Self::Word(list, default) => json!({ "type": "string", "enum": list, "default": default }),
            Self::OptionalWord(list) => json!({ "type": "string", "enum": list }),
            Self::Bool(default) => json!({ "type": "boolean", "default": default }),
            Self::Share(low, high, default) => {
                json!({ "type": "number", "exclusiveMinimum": low, "maximum": high, "default": default })
            }
            Self::Part(low, high, default) => {
                json!({ "type": "number", "minimum": low, "maximum": high, "default": default })
            }
            Self::OptionalCount(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
            Self::Count(low, high, default) => {
                json!({ "type": "integer", "minimum": low, "maximum": high, "default": default })
            }
            Self::CountOrAll(low, high, default) => json!({
                "type": "integer", "anyOf": [{ "const": -1 }, { "minimum": low, "maximum": high }], "default": default,
            }),
        }
    }
}

/// All parameters, with defaults for those not given.
///
/// # Errors
///
/// Every unknown name, with the nearest known one, and every value that is not allowed. Pointers begin with `at`.
pub fn resolve(specs: &[ParamSpec], given: &Map<String, Value>, at: &str) -> Result<Map<String, Value>, Vec<Problem>> {
    let mut problems = Vec::new();
    for name in given.keys().filter(|name| specs.iter().all(|spec| spec.name != name.as_str())) {
        let pointer = format!("{at}/{}", escape_pointer(name));
        problems.push(Problem::new(pointer, Code::UnknownField, unknown(name, specs.iter().map(|s| s.name))));
    }
    let mut resolved = Map::new();
    for spec in specs {
        let value = given.get(spec.name).cloned().unwrap_or_else(|| spec.kind.default_value());
        if let Err((code, allowed)) = spec.kind.check(&value) {
            let detail = format!("'{}' is {value}: {allowed} is needed", spec.name);
            problems.push(Problem::new(format!("{at}/{}", spec.name), code, detail));
        }
        resolved.insert(spec.name.to_owned(), value);
    }
    if problems.is_empty() { Ok(resolved) } else { Err(problems) }
}

/// What to say of a name that does not exist.
pub fn unknown<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let given: String = given.chars().take(60).collect();
    match nearest(&given, known.clone()) {
        Some(name) => format!("'{given}' is not known: did you mean '{name}'?"),
        None => format!("'{given}' is not known: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The JSON Schema of a method's parameters.
pub fn schema(specs: &[ParamSpec]) -> Value {
    let property = |spec: &ParamSpec| {
        let mut schema = spec.kind.schema();
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("description".to_owned(), json!(spec.doc));
        }
        (spec.name.to_owned(), schema)
    };
    let properties: Map<String, Value> = specs.iter().map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[ParamSpec] = &[
        ParamSpec { name: "bits", kind: Kind::OneOf(&[4, 8], 8), doc: "Bits of a code." },
        ParamSpec { name: "rank", kind: Kind::OptionalCount(1, 10), doc: "Rank." },
        ParamSpec { name: "size", kind: Kind::CountOrAll(16, 64, -1), doc: "Size." },
        ParamSpec { name: "part", kind: Kind::Part(0.0, 0.1, 0.0), doc: "Part." },
        ParamSpec { name: "count", kind: Kind::Count(2, 4, 3), doc: "Count." },
    ];

    #[test]
    fn defaults_are_filled_in_and_all_problems_come_at_once() {
        let given = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let resolved = resolve(SPECS, &given("{}"), "").unwrap();
        assert_eq!((resolved["bits"].clone(), resolved["rank"].clone()), (json!(8), Value::Null));
        assert_eq!((resolved["size"].clone(), resolved["part"].clone()), (json!(-1), json!(0.0)));
        let at_the_ends = given(r#"{"size": 16, "part": 0.1, "count": 4}"#);
        assert!(
            resolve(SPECS, &at_the_ends, "").is_ok()
                && resolve(SPECS, &given(r#"{"size": -1, "part": 0}"#), "").is_ok()
        );
        let beyond = given(r#"{"size": 0, "part": 0.11, "count": 2.5}"#);
        let problems = resolve(SPECS, &beyond, "").unwrap_err();
        assert!(problems.len() == 3 && problems.iter().all(|p| p.code == Code::OutOfRange), "{problems:?}");
        let problems = resolve(SPECS, &given(r#"{"bit": 4, "bits": 5, "rank": "x"}"#), "/params").unwrap_err();
        let seen: Vec<_> = problems.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
        let want = [
            ("/params/bit", Code::UnknownField),
            ("/params/bits", Code::OutOfRange),
            ("/params/rank", Code::WrongType),
        ];
        assert_eq!(seen, want);
        assert!(problems[0].detail.contains("did you mean 'bits'"));
    }
}
