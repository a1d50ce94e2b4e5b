//! The JSON of a safetensors header and of a shard index, read without losing duplicates.
//!
//! `serde_json` into a map keeps the last of two equal keys; a file that says two things of one tensor must be refused.
//! Nesting is bounded by `serde_json`'s recursion limit of 128.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::header::{DIMENSIONS, NAME_BYTES, TENSORS};
use crate::engine::findings::{shown, tame};
use crate::engine::problem::Code;

/// What is wrong with one tensor.
pub(super) type Field = (Code, String);

/// A header as it stands there.
pub(super) struct RawHeader {
    /// In the order of the file, duplicates included.
    pub(super) tensors: Vec<RawTensor>,
    /// The pairs of `__metadata__`.
    pub(super) metadata: Vec<(String, String)>,
}

/// A tensor as it stands there.
pub(super) struct RawTensor {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// Reads a header.
///
/// # Errors
///
/// One sentence.
pub(super) fn header(text: &str) -> Result<RawHeader, String> {
    if !text.starts_with('{') {
        return Err("it must begin with {".to_owned());
    }
    serde_json::from_str(text).map_err(|error| tame(&error))
}

/// Reads an index: the pairs of tensor and file of its `weight_map`, in order, no tensor twice.
///
/// # Errors
///
/// One sentence.
pub(super) fn weight_map(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    // A derived struct would read an array of its fields too.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err("it must begin with {".to_owned());
    }
    let Index { weight_map } = serde_json::from_slice(bytes).map_err(|error| tame(&error))?;
    weight_map.map(|StringMap(pairs)| pairs).ok_or_else(|| "it has no \"weight_map\"".to_owned())
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: Option<StringMap>,
}

/// An object of strings without duplicate keys.
struct StringMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StringMapVisitor)
    }
}

struct StringMapVisitor;

impl<'de> Visitor<'de> for StringMapVisitor {
    type Value = StringMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
        let mut pairs = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if pairs.len() >= TENSORS {
                return Err(A::Error::custom(format!("more than {TENSORS} entries")));
            }
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("{} stands twice", shown(&key))));
            }
            pairs.push((key, map.next_value()?));
        }
        Ok(StringMap(pairs))
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                let StringMap(pairs) = map.next_value()?;
                if metadata.replace(pairs).is_some() {
                    return Err(A::Error::custom("\"__metadata__\" stands twice"));
                }
                continue;
            }
            if tensors.len() >= TENSORS {
                return Err(A::Error::custom(format!("more than {TENSORS} tensors")));
            }
            check_name(&name).map_err(A::Error::custom)?;
            tensors.push(map.next_value_seed(TensorSeed(name))?);
        }
        Ok(RawHeader { tensors, metadata: metadata.unwrap_or_default() })
    }
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.len() > NAME_BYTES {
        return Err(format!("the name {} has {} bytes; at most {NAME_BYTES} are allowed", shown(name), name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the name {} has control characters", shown(name)));
    }
    Ok(())
}

/// Reads what stands under a tensor's name.
struct TensorSeed(String);

impl<'de> DeserializeSeed<'de> for TensorSeed {
    type Value = RawTensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawTensor, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TensorSeed {
    type Value = RawTensor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dtype, shape and data_offsets of {}", shown(&self.0))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawTensor, A::Error> {
        let name = shown(&self.0);
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let again = match key.as_str() {
                "dtype" => dtype.replace(map.next_value::<String>()?).is_some(),
                "shape" => shape.replace(map.next_value::<Shape>()?.0).is_some(),
                "data_offsets" => offsets.replace(map.next_value::<(u64, u64)>()?).is_some(),
                _ => return Err(A::Error::custom(format!("{name} has an unknown field {}", shown(&key)))),
            };
            if again {
                return Err(A::Error::custom(format!("{name} has {} twice", shown(&key))));
            }
        }
        let missing = |field: &str| A::Error::custom(format!("{name} has no {field}"));
        let (begin, end) = offsets.ok_or_else(|| missing("data_offsets"))?;
        let dtype = dtype.ok_or_else(|| missing("dtype"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        Ok(RawTensor { name: self.0, dtype, shape, begin, end })
    }
}

/// Dimensions, few enough.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {DIMENSIONS} dimensions, each a whole number that is not negative")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while shape.len() < DIMENSIONS {
            match seq.next_element()? {
                Some(n) => shape.push(n),
                None => return Ok(Shape(shape)),
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Shape(shape)),
            Some(_) => Err(A::Error::custom(format!("more than {DIMENSIONS} dimensions"))),
        }
    }
}

/// Whether a string or key of `value` has U+0000. Depth is bounded by the parser's.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
