//! Codes of 2, 3, 5, 6 and 7 bits, packed densely: ours, for stock readers know no layout of them that all versions share, or that
//! one of them was seen to load.
//!
//! A row is one stream of bits, lowest first: code `i` takes the bits from `bits · i` on, and bit `b` of the stream is bit
//! `b mod 8` of byte `b / 8`. Codes are stored with an offset of `2^(bits-1)`, so that they are never negative. The last byte
//! of a row is filled with zero bits. `config.json` names the modules and what they hold:
//!
//! ```json
//! "dense_packing": {
//!   "tensors": ["weight_bits", "weight_scale", "weight_shape", "weight_zero_bits"],
//!   "modules": { "bert.encoder.layer.0.output.dense": { "bits": 3, "group_size": 64, "symmetric": true } }
//! }
//! ```
//!
//! A module whose inputs are rounded to 8 bits says `"activations": "dynamic"`, or `"static"` with an `input_scale` beside it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::compressed_tensors::Activations;
use super::encoding::CodeHint;
use crate::engine::model::{InputForm, Layout};

/// The field of `config.json`.
pub const FIELD: &str = "dense_packing";

/// Widths of codes that are packed so.
pub const WIDTHS: [u32; 5] = [2, 3, 5, 6, 7];

/// Bytes for a row of `length` codes.
pub const fn row_bytes(length: usize, bits: u32) -> usize {
    length.saturating_mul(bits as usize).div_ceil(8)
}

/// Packs one row. Codes lie in `-2^(bits-1) ..= 2^(bits-1) - 1`.
pub fn pack(codes: impl IntoIterator<Item = i8>, bits: u32, out: &mut Vec<u8>) {
    let (offset, mask) = (1i32 << (bits - 1), (1u32 << bits) - 1);
    let (mut held, mut filled) = (0u32, 0u32);
    for code in codes {
        held |= ((i32::from(code) + offset).cast_unsigned() & mask) << filled;
        filled += bits;
        while filled >= 8 {
            out.push(held as u8);
            (held, filled) = (held >> 8, filled - 8);
        }
    }
    if filled > 0 {
        out.push(held as u8);
    }
}

/// The first `length` codes of a packed row; of a row that is too short the missing bits are zero.
pub fn unpack(row: &[u8], length: usize, bits: u32) -> impl Iterator<Item = i8> + '_ {
    let (offset, mask) = (1i32 << (bits - 1), (1u32 << bits) - 1);
    let mut bytes = row.iter();
    let (mut held, mut filled) = (0u32, 0u32);
    (0..length).map(move |_| {
        while filled < bits {
            held |= u32::from(bytes.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        let stored = held & mask;
        (held, filled) = (held >> bits, filled - bits);
        (stored.cast_signed() - offset) as i8
    })
}

/// The section of `config.json` for these modules; `None` if none of them has such codes.
pub fn config<'a>(modules: impl IntoIterator<Item = (&'a str, &'a Layout, InputForm)>) -> Option<Value> {
    let mut found = Map::new();
    for (module, layout, input) in modules {
        collect(module, layout, input, &mut found);
    }
    let tensors = ["weight_bits", "weight_scale", "weight_shape", "weight_zero_bits"];
    (!found.is_empty()).then(|| json!({ "tensors": tensors, "modules": found }))
}

fn collect(module: &str, layout: &Layout, input: InputForm, found: &mut Map<String, Value>) {
    match layout {
        Layout::Grouped { bits, group_size, symmetric, .. } if WIDTHS.contains(bits) => {
            let mut what = json!({ "bits": bits, "group_size": group_size, "symmetric": symmetric });
            if let Some((what, activations)) = what.as_object_mut().zip(Activations::of(input)) {
                what.insert("activations".to_owned(), json!(word(activations)));
            }
            found.insert(module.to_owned(), what);
        }
        Layout::Product { left, right } => {
            collect(&format!("{module}.u"), left, input.between(), found);
            collect(&format!("{module}.v"), right, input, found);
        }
        _ => {}
    }
}

const fn word(activations: Activations) -> &'static str {
    match activations {
        Activations::Token => "dynamic",
        Activations::Tensor => "static",
    }
}

/// What a `config.json` says of the inputs of modules with such codes.
pub fn activations(config: &Value) -> BTreeMap<String, Activations> {
    let modules = config.get(FIELD).and_then(|section| section.get("modules")).and_then(Value::as_object);
    let said = |(module, what): (&String, &Value)| {
        let found = what.get("activations")?.as_str()?;
        let known = [Activations::Token, Activations::Tensor].into_iter().find(|known| word(*known) == found)?;
        Some((module.clone(), known))
    };
    modules.into_iter().flatten().filter_map(said).collect()
}

/// What a `config.json` says of modules with such codes; what it says otherwise is left out, for shapes decide.
pub fn hints(config: &Value) -> BTreeMap<String, CodeHint> {
    let modules = config.get(FIELD).and_then(|section| section.get("modules")).and_then(Value::as_object);
    let hint = |(module, what): (&String, &Value)| {
        let bits = u32::try_from(what.get("bits")?.as_u64()?).ok()?;
        let size = what.get("group_size").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        Some((module.clone(), CodeHint { bits, group_size: size.filter(|n| *n > 0) }))
    };
    modules.into_iter().flatten().filter_map(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::Dtype;

    #[test]
    fn the_lowest_bits_come_first() {
        let mut row = Vec::new();
        // 3 bits with an offset of 4: 7, 0, 4, 5 is 111 000 001 101 from the lowest bit on
        pack([3, -4, 0, 1], 3, &mut row);
        assert_eq!(row, [0b0000_0111, 0b1011]);
    }

    #[test]
    fn every_width_round_trips_at_every_length() {
        for bits in WIDTHS {
            let half = 1i32 << (bits - 1);
            for length in 0..70usize {
                let codes: Vec<i8> = (0..length).map(|i| ((i as i32 * 7 + 3) % (2 * half) - half) as i8).collect();
                let mut row = Vec::new();
                pack(codes.iter().copied(), bits, &mut row);
                assert_eq!(row.len(), row_bytes(length, bits));
                assert_eq!(unpack(&row, length, bits).collect::<Vec<_>>(), codes);
            }
        }
    }

    #[test]
    fn what_is_written_into_the_config_is_read_back() {
        let grouped = |bits, group_size| Layout::Grouped {
            out: 8,
            r#in: 100,
            bits,
            group_size,
            per_tensor: false,
            symmetric: true,
            scale_dtype: Dtype::F16,
        };
        let product = Layout::Product { left: Box::new(grouped(2, None)), right: Box::new(grouped(6, None)) };
        let (none, fixed) = (InputForm::None, InputForm::StaticInt8 { scale_dtype: Dtype::F16 });
        let modules = [("a", grouped(3, Some(64)), none), ("b", grouped(8, None), fixed), ("c", product, fixed)];
        let section = config(modules.iter().map(|(module, layout, input)| (*module, layout, *input))).unwrap();
        let config_json = json!({ FIELD: section });
        let read = hints(&config_json);
        // What passes between two factors has a scale for every token
        let said = [("c.u", Activations::Token), ("c.v", Activations::Tensor)];
        assert_eq!(activations(&config_json), said.map(|(module, what)| (module.to_owned(), what)).into());
        let expected = [("a", 3, Some(64)), ("c.u", 2, None), ("c.v", 6, None)]
            .map(|(module, bits, group_size)| (module.to_owned(), CodeHint { bits, group_size }));
        assert_eq!(read, expected.into());
        assert_eq!(config([("b", &grouped(8, None), fixed)]), None);
    }
}
