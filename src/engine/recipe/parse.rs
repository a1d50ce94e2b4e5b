//! Reads a recipe, strictly, with every problem at once.

use serde_json::{Map, Value};

use super::{Calibration, Constraints, Evaluate, Recipe, Sensitivity, Stage};
use crate::engine::evaluate::perplexity::PERPLEXITY;
use crate::engine::evaluate::quality::{ACCURACY, ENTITY_F1, MACRO_F1, MCC, PEARSON, SPEARMAN, TOKEN_F1};
use crate::engine::method::params::unknown;
use crate::engine::problem::{Code, Problem, escape_pointer};

/// Metrics that a recipe may ask for.
pub const METRICS: &[&str] =
    &[ACCURACY, MACRO_F1, MCC, PEARSON, SPEARMAN, TOKEN_F1, ENTITY_F1, PERPLEXITY, "fidelity", "latency"];
/// Stages that a recipe may have.
const MOST_STAGES: usize = 32;
/// Globs that a stage may have.
const MOST_GLOBS: usize = 256;
/// Levels that a sensitivity job may try.
const MOST_LEVELS: usize = 16;

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    ///
    /// Unknown fields with the nearest known name, wrong types, values out of range; pointers into `value`.
    pub fn parse(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::default();
        let recipe = reader.recipe(value);
        if reader.problems.is_empty() { Ok(recipe) } else { Err(reader.problems) }
    }
}

impl Evaluate {
    /// Reads a recipe's `evaluate` on its own.
    ///
    /// # Errors
    ///
    /// As [`Recipe::parse`]; pointers into `value`.
    pub fn parse(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::default();
        let evaluate = reader.evaluate(value, "");
        if reader.problems.is_empty() { Ok(evaluate) } else { Err(reader.problems) }
    }
}

impl Sensitivity {
    /// Reads a recipe's `sensitivity` on its own.
    ///
    /// # Errors
    ///
    /// As [`Recipe::parse`]; pointers into `value`.
    pub fn parse(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::default();
        let sensitivity = reader.sensitivity(value, "");
        if reader.problems.is_empty() { Ok(sensitivity) } else { Err(reader.problems) }
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn refuse(&mut self, pointer: impl Into<String>, code: Code, detail: impl Into<String>) {
        self.problems.push(Problem::new(pointer, code, detail));
    }

    /// The object at `at`, its unknown fields refused.
    fn object<'v>(&mut self, value: &'v Value, at: &str, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Some(fields) = value.as_object() else {
            self.refuse(at, Code::WrongType, "an object is needed");
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let pointer = format!("{at}/{}", escape_pointer(name));
            self.refuse(pointer, Code::UnknownField, unknown(name, known.iter().copied()));
        }
        Some(fields)
    }

    /// A whole number in a range, or what stands for it where the field is absent.
    fn whole(&mut self, fields: &Map<String, Value>, name: &str, at: &str, low: u64, high: u64) -> Option<u64> {
        let value = fields.get(name).filter(|v| !v.is_null())?;
        let found = value.as_u64().filter(|n| (low..=high).contains(n));
        if found.is_none() {
            let code = if value.is_number() { Code::OutOfRange } else { Code::WrongType };
            self.refuse(format!("{at}/{name}"), code, format!("a whole number from {low} to {high} is needed"));
        }
        found
    }

    /// A list of texts.
    fn texts(&mut self, fields: &Map<String, Value>, name: &str, at: &str) -> Option<Vec<String>> {
        let value = fields.get(name).filter(|v| !v.is_null())?;
        let list: Option<Vec<String>> = value
            .as_array()
            .filter(|list| list.len() <= MOST_GLOBS)
            .and_then(|list| list.iter().map(|v| v.as_str().map(ToOwned::to_owned)).collect());
        if list.is_none() {
            self.refuse(
                format!("{at}/{name}"),
                Code::WrongType,
                format!("a list of at most {MOST_GLOBS} texts is needed"),
            );
        }
        list
    }

    fn recipe(&mut self, value: &Value) -> Recipe {
        let known = ["version", "seed", "calibration", "stages", "evaluate", "sensitivity", "export", "constraints"];
        let empty = Map::new();
        let fields = self.object(value, "", &known).unwrap_or(&empty);
        if fields.get("version").is_none_or(Value::is_null) && value.is_object() {
            self.refuse("/version", Code::MissingField, "'version' is missing: 1 is the one there is");
        }
        if fields.get("export").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            self.refuse(
                "/export",
                Code::OutOfRange,
                "at least one format is needed; without 'export' it is safetensors",
            );
        }
        let version = self.whole(fields, "version", "", 1, 1).unwrap_or(1) as u32;
        Recipe {
            version,
            seed: self.whole(fields, "seed", "", 0, u64::MAX).unwrap_or(0),
            calibration: fields.get("calibration").filter(|v| !v.is_null()).map(|v| self.calibration(v)),
            stages: self.stages(fields.get("stages")),
            constraints: fields.get("constraints").filter(|v| !v.is_null()).map(|v| self.constraints(v)),
            evaluate: fields
                .get("evaluate")
                .filter(|v| !v.is_null())
                .map(|v| self.evaluate(v, "/evaluate"))
                .unwrap_or_default(),
            sensitivity: fields
                .get("sensitivity")
                .filter(|v| !v.is_null())
                .map(|v| self.sensitivity(v, "/sensitivity")),
            export: self.texts(fields, "export", "").unwrap_or_else(super::default_export),
        }
    }

    fn calibration(&mut self, value: &Value) -> Calibration {
        let at = "/calibration";
        let empty = Map::new();
        let fields = self.object(value, at, &["num_calibration_samples", "max_seq_length"]).unwrap_or(&empty);
        Calibration {
            num_calibration_samples: self.whole(fields, "num_calibration_samples", at, 1, 1_000_000).unwrap_or(512)
                as usize,
            max_seq_length: self.whole(fields, "max_seq_length", at, 3, 1_048_576).unwrap_or(128) as usize,
        }
    }

    fn constraints(&mut self, value: &Value) -> Constraints {
        let at = "/constraints";
        let empty = Map::new();
        let known = ["max_bytes", "effective_bits", "bits", "max_parameters"];
        let fields = self.object(value, at, &known).unwrap_or(&empty);
        if fields.get("max_parameters").is_some_and(|v| !v.is_null()) {
            let detail = "no stage shares parameters out yet: give max_bytes or effective_bits";
            self.refuse(format!("{at}/max_parameters"), Code::NotYetSupported, detail);
        }
        let max_bytes = self.whole(fields, "max_bytes", at, 1, 1 << 50);
        let average = fields.get("effective_bits").filter(|v| !v.is_null());
        if average.is_some_and(|value| !value.as_f64().is_some_and(|bits| bits > 0.0 && bits <= 32.0)) {
            self.refuse(format!("{at}/effective_bits"), Code::OutOfRange, "a number above 0 and at most 32 is needed");
        }
        let asks_size = ["max_bytes", "effective_bits"].iter().filter(|name| fields.contains_key(**name)).count();
        if asks_size != 1 && value.is_object() {
            self.refuse(at, Code::MissingField, "exactly one of 'max_bytes' and 'effective_bits' is needed");
        }
        let bits = fields.get("bits").filter(|v| !v.is_null()).map(|value| {
            let list = value.as_array().filter(|list| (1..=7).contains(&list.len()));
            let bits = |n: &Value| n.as_u64().filter(|n| (2..=8).contains(n)).map(|n| n as u32);
            list.and_then(|list| list.iter().map(bits).collect::<Option<Vec<u32>>>()).unwrap_or_else(|| {
                self.refuse(format!("{at}/bits"), Code::OutOfRange, "a list of whole numbers from 2 to 8 is needed");
                Vec::new()
            })
        });
        Constraints { max_bytes, effective_bits: average.and_then(Value::as_number).cloned(), bits }
    }

    fn sensitivity(&mut self, value: &Value, at: &str) -> Sensitivity {
        let empty = Map::new();
        let fields = self.object(value, at, &["bits", "num_samples"]).unwrap_or(&empty);
        let given = fields.get("bits").filter(|v| !v.is_null());
        let list = given.map(|value| {
            let list = value.as_array().filter(|list| (1..=MOST_LEVELS).contains(&list.len()));
            let one = |bits: &Value| bits.as_u64().filter(|n| (1..=16).contains(n)).and_then(|n| u32::try_from(n).ok());
            list.and_then(|list| list.iter().map(one).collect::<Option<Vec<u32>>>())
        });
        if list == Some(None) {
            let detail = format!("a list of 1 to {MOST_LEVELS} numbers of bits is needed, such as [2, 3, 4, 8]");
            self.refuse(format!("{at}/bits"), Code::WrongType, detail);
        }
        Sensitivity {
            bits: list.flatten(),
            num_samples: self.whole(fields, "num_samples", at, 1, 65_536).map(|n| n as usize),
        }
    }

    fn stages(&mut self, value: Option<&Value>) -> Vec<Stage> {
        let Some(list) = value.and_then(Value::as_array).filter(|list| list.len() <= MOST_STAGES) else {
            let code = match value {
                None | Some(Value::Null) => Code::MissingField,
                Some(Value::Array(_)) => Code::OutOfRange,
                Some(_) => Code::WrongType,
            };
            self.refuse("/stages", code, format!("a list of at most {MOST_STAGES} stages is needed"));
            return Vec::new();
        };
        list.iter().enumerate().map(|(i, stage)| self.stage(stage, &format!("/stages/{i}"))).collect()
    }

    fn stage(&mut self, value: &Value, at: &str) -> Stage {
        let empty = Map::new();
        let fields = self.object(value, at, &["method", "targets", "ignore", "if_present", "params"]).unwrap_or(&empty);
        let method = fields.get("method").and_then(Value::as_str).unwrap_or_else(|| {
            self.refuse(format!("{at}/method"), Code::MissingField, "'method' is missing: a method's name is needed");
            ""
        });
        let params = match fields.get("params") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params.clone(),
            Some(_) => {
                self.refuse(format!("{at}/params"), Code::WrongType, "an object is needed");
                Map::new()
            }
        };
        let if_present = fields.get("if_present").filter(|v| !v.is_null());
        if if_present.is_some_and(|value| !value.is_boolean()) {
            self.refuse(format!("{at}/if_present"), Code::WrongType, "true or false is needed");
        }
        Stage {
            if_present: if_present.and_then(Value::as_bool).unwrap_or(false),
            method: method.to_owned(),
            targets: self.texts(fields, "targets", at),
            ignore: self.texts(fields, "ignore", at).unwrap_or_default(),
            params,
        }
    }

    fn evaluate(&mut self, value: &Value, at: &str) -> Evaluate {
        let empty = Map::new();
        let fields = self.object(value, at, &["metrics", "max_seq_length", "reference_floor"]).unwrap_or(&empty);
        let metrics = self.texts(fields, "metrics", at);
        for (i, metric) in metrics.iter().flatten().enumerate().filter(|(_, m)| !METRICS.contains(&m.as_str())) {
            let detail = unknown(metric, METRICS.iter().copied());
            self.refuse(format!("{at}/metrics/{i}"), Code::OutOfRange, detail);
        }
        let floor = fields.get("reference_floor").filter(|v| !v.is_null());
        if let Some(value) = floor.filter(|v| !v.as_f64().is_some_and(|x| (0.0..=1.0).contains(&x))) {
            self.refuse(
                format!("{at}/reference_floor"),
                Code::OutOfRange,
                format!("{value}: an accuracy from 0 to 1 is needed"),
            );
        }
        Evaluate {
            metrics,
            max_seq_length: self.whole(fields, "max_seq_length", at, 3, 1_048_576).map(|n| n as usize),
            reference_floor: floor.and_then(Value::as_number).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_is_found_at_once() {
        let value = json!({
            "version": 2, "sed": 1,
            "stages": [{ "method": "quantize", "param": {} }, { "targets": "x" }, 5],
            "evaluate": { "metrics": ["acuracy"], "max_seq_length": 1, "reference_floor": 2 },
        });
        let problems = Recipe::parse(&value).unwrap_err();
        let pointers: Vec<_> = problems.iter().map(|p| p.pointer.as_str()).collect();
        for pointer in [
            "/version",
            "/sed",
            "/stages/0/param",
            "/stages/1/method",
            "/stages/1/targets",
            "/stages/2",
            "/evaluate/metrics/0",
            "/evaluate/max_seq_length",
            "/evaluate/reference_floor",
        ] {
            assert!(pointers.contains(&pointer), "{pointer} is not among {pointers:?}");
        }
    }

    #[test]
    fn a_recipe_has_a_version_stages_and_formats() {
        let value = json!({ "version": null, "stages": null, "export": [] });
        let problems = Recipe::parse(&value).unwrap_err();
        let found: Vec<_> = problems.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
        let expected =
            [("/version", Code::MissingField), ("/export", Code::OutOfRange), ("/stages", Code::MissingField)];
        assert_eq!(found, expected);
        // No stages at all is fine: the model is written again in the formats that are asked for
        assert!(Recipe::parse(&json!({ "version": 1, "stages": [] })).is_ok());
    }

    #[test]
    fn a_recipe_reads_back_as_it_was_written() {
        let value = json!({ "version": 1, "stages": [{ "method": "quantize", "params": { "bits": 4 } }] });
        let recipe = Recipe::parse(&value).unwrap();
        assert_eq!(Recipe::parse(&serde_json::to_value(&recipe).unwrap()).unwrap(), recipe);
    }

    #[test]
    fn numbers_are_the_same_to_the_last_bit_after_writing_and_reading() {
        for n in 1..1000 {
            let x = f64::from(n) / 1009.0;
            let value = json!({
                "version": 1, "evaluate": { "reference_floor": x },
                "stages": [{ "method": "prune", "params": { "sparsity": x, "huge": x * 1e48 } }],
            });
            let recipe = Recipe::parse(&value).unwrap();
            let text = serde_json::to_string(&recipe).unwrap();
            assert_eq!(Recipe::parse(&serde_json::from_str(&text).unwrap()).unwrap(), recipe, "{x}");
        }
    }
}
