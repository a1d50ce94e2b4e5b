//! Reads typed, bounded values out of a `config.json`, and keeps every problem that it meets.

use serde_json::Value;

use crate::engine::model::spec::Activation;
use crate::engine::problem::{Code, Problem, escape_pointer};

/// A reader over one JSON object.
pub struct ConfigReader<'a> {
    config: &'a Value,
    problems: Vec<Problem>,
}

impl<'a> ConfigReader<'a> {
    /// Reads from `config`, which must be an object.
    pub fn new(config: &'a Value) -> Self {
        let mut reader = Self { config, problems: Vec::new() };
        if !config.is_object() {
            reader.refuse("", "config.json must be a JSON object");
        }
        reader
    }

    /// Notes a problem with the field `key`.
    pub fn refuse(&mut self, key: &str, detail: impl Into<String>) {
        let pointer = if key.is_empty() {
            "/files/config.json".to_owned()
        } else {
            format!("/files/config.json/{}", escape_pointer(key))
        };
        self.problems.push(Problem::new(pointer, Code::ConfigInvalid, detail));
    }

    /// A field's value; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    /// A whole number in `1..=most` that must be there. Problems give 1, so that reading can go on.
    pub fn size(&mut self, key: &str, most: u64) -> usize {
        let Some(value) = self.get(key) else {
            self.refuse(key, format!("'{key}' is missing: a whole number from 1 to {most} is needed"));
            return 1;
        };
        match value.as_u64().filter(|n| (1..=most).contains(n)) {
            Some(n) => n as usize,
            None => {
                self.refuse(key, format!("'{key}' is {}: a whole number from 1 to {most} is needed", brief(value)));
                1
            }
        }
    }

    /// The same, with a default.
    pub fn size_or(&mut self, key: &str, default: usize, most: u64) -> usize {
        if self.get(key).is_some() { self.size(key, most) } else { default }
    }

    /// A positive number, with a default.
    pub fn positive_or(&mut self, key: &str, default: f64) -> f64 {
        let Some(value) = self.get(key) else { return default };
        match value.as_f64().filter(|x| *x > 0.0 && *x < 1.0) {
            Some(x) => x,
            None => {
                self.refuse(key, format!("'{key}' is {}: a number between 0 and 1 is needed", brief(value)));
                default
            }
        }
    }

    /// A text, with a default.
    pub fn text_or(&mut self, key: &str, default: &'a str) -> &'a str {
        let Some(value) = self.get(key) else { return default };
        value.as_str().unwrap_or_else(|| {
            self.refuse(key, format!("'{key}' is {}: a text is needed", brief(value)));
            default
        })
    }

    /// A nonlinearity, with a default.
    pub fn activation(&mut self, key: &str, default: &'a str) -> Activation {
        match self.text_or(key, default) {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            "tanh" => Activation::Tanh,
            other => {
                self.refuse(key, format!("'{other}' is not known: gelu, gelu_new, relu, silu, tanh"));
                Activation::Gelu
            }
        }
    }

    /// The id of a token below `vocab`, where the config names one.
    pub fn token(&mut self, key: &str, vocab: usize) -> Option<u32> {
        // Some name several, of which the first is meant
        let value = self.get(key).map(|v| v.get(0).unwrap_or(v)).filter(|v| !v.is_null())?;
        if value.as_i64() == Some(-1) {
            return None; // as some configs write "none"
        }
        match value.as_u64().filter(|id| *id < vocab as u64) {
            Some(id) => Some(id as u32),
            None => {
                self.refuse(key, format!("'{key}' is {}: an id below vocab_size is needed", brief(value)));
                None
            }
        }
    }

    /// The id of a token, where the config names one below `vocab`. Cut-down models keep ids of the whole one's.
    pub fn token_if_known(&self, key: &str, vocab: usize) -> Option<u32> {
        let value = self.get(key).map(|v| v.get(0).unwrap_or(v))?;
        value.as_u64().filter(|id| *id < vocab as u64).map(|id| id as u32)
    }

    /// Names by index from `id2label`, or `LABEL_0 …` for as many as `num_labels` says (2 if it says nothing).
    pub fn labels(&mut self) -> Vec<String> {
        let Some(value) = self.get("id2label") else {
            let count = self.size_or("num_labels", 2, 100_000);
            return (0..count).map(|i| format!("LABEL_{i}")).collect();
        };
        let names: Option<Vec<String>> = value
            .as_object()
            .and_then(|map| (0..map.len()).map(|i| map.get(&i.to_string())?.as_str().map(ToOwned::to_owned)).collect());
        match names {
            Some(names) if !names.is_empty() => names,
            _ => {
                self.refuse("id2label", "'id2label' must map \"0\", \"1\", … without gaps to names");
                vec!["LABEL_0".to_owned()]
            }
        }
    }

    /// All problems, or `value` if there were none.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.problems) }
    }
}

/// A value as a message shows it: JSON, cut short.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).collect::<String>() + "…" }
}
