//! The `quantization_config` of compressed-tensors, which transformers and vLLM read: written for our codes, and read
//! back for the widths of codes and for what happens to inputs.
//!
//! Every group names its modules and its `format`: without the latter the library writes floats without a word. Only
//! fields that older readers know are written, for readers refuse unknown ones.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::bits;
use super::encoding::{self, CodeHint};
use crate::engine::model::{InputForm, Layout};
use crate::engine::problem::{Code, Problem};

/// The library's version that reads all that we write; older ones do not know quantized embeddings.
const VERSION: &str = "0.15.0";

/// What one group of modules has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Scheme {
    bits: u32,
    group_size: Option<usize>,
    per_tensor: bool,
    symmetric: bool,
    activations: Option<Activations>,
}

/// Who shares a scale among the inputs of 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activations {
    /// The numbers of a token, as it comes.
    Token,
    /// All: the scale is stored.
    Tensor,
}

impl Activations {
    pub(super) const fn of(input: InputForm) -> Option<Self> {
        match input {
            InputForm::None => None,
            InputForm::DynamicInt8 => Some(Self::Token),
            InputForm::StaticInt8 { .. } => Some(Self::Tensor),
        }
    }
}

/// The `quantization_config` for these modules; `None` if none of them has codes.
pub fn config<'a>(modules: impl IntoIterator<Item = (&'a str, &'a Layout, InputForm)>) -> Option<Value> {
    let mut groups: BTreeMap<Scheme, Vec<String>> = BTreeMap::new();
    for (module, layout, input) in modules {
        collect(module, layout, input, &mut groups);
    }
    let formats: Vec<&str> = groups.keys().map(|s| encoding::format_name(s.bits, s.group_size, s.symmetric)).collect();
    let first = formats.first()?;
    let format = if formats.iter().all(|f| f == first) { first } else { "mixed-precision" };
    let entries = groups.iter().zip(&formats).enumerate();
    let config_groups: Map<String, Value> = entries
        .map(|(i, ((scheme, modules), format))| (format!("group_{i}"), group(*scheme, modules, format)))
        .collect();
    Some(json!({
        "quant_method": "compressed-tensors",
        "version": VERSION,
        "format": format,
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": [],
        "kv_cache_scheme": null,
        "global_compression_ratio": null,
        "sparsity_config": {},
        "transform_config": {},
    }))
}

fn collect(module: &str, layout: &Layout, input: InputForm, groups: &mut BTreeMap<Scheme, Vec<String>>) {
    match layout {
        // Of other widths the library's versions have layouts of their own, and ours is in a section of its own
        Layout::Grouped { bits, group_size, per_tensor, symmetric, .. } if !bits::WIDTHS.contains(bits) => {
            let activations = Activations::of(input);
            let (bits, group_size, per_tensor, symmetric) = (*bits, *group_size, *per_tensor, *symmetric);
            let scheme = Scheme { bits, group_size, per_tensor, symmetric, activations };
            groups.entry(scheme).or_default().push(module.to_owned());
        }
        Layout::Product { left, right } => {
            collect(&format!("{module}.u"), left, input.between(), groups);
            collect(&format!("{module}.v"), right, input, groups);
        }
        _ => {}
    }
}

fn strategy(scheme: Scheme) -> &'static str {
    match scheme.group_size {
        Some(_) => "group",
        None if scheme.per_tensor => "tensor",
        None => "channel",
    }
}

fn group(scheme: Scheme, modules: &[String], format: &str) -> Value {
    json!({
        "targets": modules,
        "weights": {
            "num_bits": scheme.bits,
            "type": "int",
            "symmetric": scheme.symmetric,
            "strategy": strategy(scheme),
            "group_size": scheme.group_size,
            "dynamic": false,
            "actorder": null,
            "block_structure": null,
            "observer": "minmax",
            "observer_kwargs": {},
        },
        "input_activations": scheme.activations.map(activations),
        "output_activations": null,
        "format": format,
    })
}

fn activations(of: Activations) -> Value {
    let is_dynamic = of == Activations::Token;
    json!({
        "num_bits": 8,
        "type": "int",
        "symmetric": true,
        "strategy": if is_dynamic { "token" } else { "tensor" },
        "group_size": null,
        "dynamic": is_dynamic,
        "actorder": null,
        "block_structure": null,
        "observer": if is_dynamic { Value::Null } else { json!("minmax") },
        "observer_kwargs": {},
    })
}

/// A `quantization_config` that was read.
#[derive(Debug, Clone, Default)]
pub struct QuantizationConfig {
    modules: BTreeMap<String, CodeHint>,
    others: Option<CodeHint>,
    inputs: BTreeMap<String, Option<Activations>>,
    /// Of modules that no group names; one entry for each group that is over a class or a pattern.
    other_inputs: Vec<Option<Activations>>,
}

impl QuantizationConfig {
    /// Reads the `quantization_config` of a `config.json`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// A quantization method that we do not read.
    pub fn read(config: &Value) -> Result<Option<Self>, Vec<Problem>> {
        let Some(found) = config.get("quantization_config").filter(|v| !v.is_null()) else { return Ok(None) };
        let method = found.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
        if method != "compressed-tensors" {
            let detail = format!(
                "quantized by '{}': compressed-tensors and plain weights are read",
                method.chars().take(40).collect::<String>()
            );
            let pointer = "/files/config.json/quantization_config/quant_method";
            return Err(vec![Problem::new(pointer, Code::ConfigInvalid, detail)]);
        }
        let mut read = Self::default();
        let groups = found.get("config_groups").and_then(Value::as_object);
        for group in groups.into_iter().flat_map(Map::values) {
            let Some(hint) = group.get("weights").and_then(hint) else { continue };
            let input = group.get("input_activations").and_then(read_activations);
            for target in group.get("targets").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
            {
                // Classes begin with a capital letter, modules do not
                if target.starts_with("re:") || target.starts_with(char::is_uppercase) {
                    read.other_inputs.push(input);
                } else {
                    read.inputs.insert(target.to_owned(), input);
                }
                if target.contains('.') && !target.starts_with("re:") {
                    read.modules.insert(target.to_owned(), hint);
                } else {
                    // A class or a pattern: shapes decide, and this is the first guess where they leave a choice
                    read.others.get_or_insert(hint);
                }
            }
        }
        Ok(Some(read))
    }

    /// What the config says of a module.
    pub fn hint(&self, module: &str) -> Option<CodeHint> {
        self.modules.get(module).copied().or(self.others)
    }

    /// What the config says of a module's inputs; `None` where they stay as they are, or where groups over classes and patterns
    /// say several things.
    pub fn activations(&self, module: &str) -> Option<Activations> {
        self.inputs.get(module).copied().unwrap_or_else(|| {
            let (first, rest) = self.other_inputs.split_first()?;
            if rest.iter().all(|other| other == first) { *first } else { None }
        })
    }
}

/// What we run of a group's `input_activations`: symmetric whole numbers of 8 bits.
fn read_activations(found: &Value) -> Option<Activations> {
    let is = |field: &str, value: Value| found.get(field) == Some(&value);
    if !is("num_bits", json!(8)) || !is("type", json!("int")) || !is("symmetric", json!(true)) {
        return None;
    }
    match (found.get("strategy")?.as_str()?, found.get("dynamic")?) {
        ("token", Value::Bool(true)) => Some(Activations::Token),
        ("tensor", Value::Bool(false)) => Some(Activations::Tensor),
        _ => None,
    }
}

fn hint(weights: &Value) -> Option<CodeHint> {
    let bits = u32::try_from(weights.get("num_bits")?.as_u64()?).ok()?;
    let size = weights.get("group_size").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    Some(CodeHint { bits, group_size: size.filter(|n| *n > 0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::Dtype;

    #[test]
    fn what_is_written_is_read_back_as_hints() {
        let grouped = |bits, group_size, symmetric| Layout::Grouped {
            out: 8,
            r#in: 100,
            bits,
            group_size,
            per_tensor: false,
            symmetric,
            scale_dtype: Dtype::F16,
        };
        let (int8, int4) = (grouped(8, None, true), grouped(4, Some(64), false));
        let product = Layout::Product { left: Box::new(int4.clone()), right: Box::new(int8.clone()) };
        let (none, fixed) = (InputForm::None, InputForm::StaticInt8 { scale_dtype: Dtype::F16 });
        let written = config([
            ("classifier", &int8, none),
            ("a.b", &int4, none),
            ("a.c", &product, none),
            ("a.d", &int8, InputForm::DynamicInt8),
            ("a.e", &product, fixed),
        ])
        .unwrap();
        assert_eq!(written["format"], "mixed-precision");
        let read = QuantizationConfig::read(&json!({ "quantization_config": written })).unwrap().unwrap();
        assert_eq!(read.hint("a.b"), Some(CodeHint { bits: 4, group_size: Some(64) }));
        assert_eq!(read.hint("a.c.v"), Some(CodeHint { bits: 8, group_size: None }));
        for (module, activations) in [
            ("classifier", None),
            ("a.b", None),
            ("a.c.u", None),
            ("a.d", Some(Activations::Token)),
            ("a.e.v", Some(Activations::Tensor)),
            ("a.e.u", Some(Activations::Token)), // nothing is known of what passes between factors
            ("another", None),
        ] {
            assert_eq!(read.activations(module), activations, "{module}");
        }
        let dense = Layout::dense((1, 1), Dtype::F32);
        assert_eq!(config([("a", &dense, none), ("b", &grouped(3, None, true), none)]), None);
    }

    #[test]
    fn activations_of_classes_are_those_that_all_groups_agree_on() {
        let group = |targets: Value, strategy: &str, bits: u32| {
            json!({
                "targets": targets, "weights": { "num_bits": 8 },
                "input_activations": { "num_bits": bits, "type": "int", "symmetric": true, "strategy": strategy, "dynamic": true },
            })
        };
        let read = |groups: Value| {
            let config = json!({ "quant_method": "compressed-tensors", "config_groups": groups });
            QuantizationConfig::read(&json!({ "quantization_config": config })).unwrap().unwrap().activations("a.b")
        };
        assert_eq!(read(json!({ "0": group(json!(["Linear"]), "token", 8) })), Some(Activations::Token));
        assert_eq!(read(json!({ "0": group(json!(["Linear"]), "token", 4) })), None);
        assert_eq!(read(json!({ "0": group(json!(["Linear"]), "tensor", 8) })), None); // a scale for every batch
        let two = json!({ "0": group(json!(["Linear"]), "token", 8), "1": group(json!(["re:.*up"]), "token", 4) });
        assert_eq!(read(two), None);
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        let found = QuantizationConfig::read(&json!({ "quantization_config": { "quant_method": "gptq" } }));
        assert!(found.unwrap_err()[0].detail.contains("gptq"));
    }
}
