//! Codes in a model's file: tensors of one module that the bytes describe, as a whole file with a config.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::Device;
use pare::engine::export::compressed_tensors::{Activations, QuantizationConfig};
use pare::engine::export::{encoding, inputs, pack};
use pare::engine::job::InputFile;
use pare::engine::model::checkpoint::Checkpoint;
use pare::engine::model::{InputForm, Layout};
use serde_json::{Map, Value, json};

/// What a module with codes can have, and what it can't have beside them.
const PARTS: [&str; 8] = [
    "weight",
    "weight_packed",
    "weight_bits",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_zero_bits",
    "input_scale",
];
const DTYPES: [(&str, usize); 8] =
    [("I8", 1), ("U8", 1), ("I32", 4), ("I64", 8), ("F16", 2), ("BF16", 2), ("F32", 4), ("F64", 8)];
/// Sides of a tensor end below it: a file stays small.
const SIDE: u8 = 64;

/// A line of JSON, the config's `quantization_config`; three bytes for each part: whether it is there, dimensions and dtype,
/// then two sides; and what the tensors hold, one after another, zeros where the bytes end.
///
/// A module whose codes are taken has as many weights as its shape says, and where they are finite, the same ones when it was written
/// and read again; one that is refused names a tensor of its own.
pub(super) fn check(bytes: &[u8]) {
    let (line, rest) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    words(rest);
    let config = json!({ "quantization_config": serde_json::from_slice::<Value>(line).unwrap_or_default() });
    let quantization = match QuantizationConfig::read(&config) {
        Ok(read) => read.unwrap_or_default(),
        Err(problems) => return assert!(!problems.is_empty()),
    };
    let file = File::new(&tensors(rest.get(1..).unwrap_or_default()));
    let hints = |module: &str| quantization.hint(module);
    let layout = match encoding::detect("m", &file.open(), &hints, false) {
        Err((tensor, detail)) => return assert!(tensor.starts_with("m.") && !detail.is_empty()),
        Ok(layout) => layout,
    };
    if let Some(layout @ Layout::Grouped { .. }) = layout {
        taken(&layout, &file.open());
        if quantization.activations("m") == Some(Activations::Tensor) {
            input(&layout, &file.open());
        }
    }
}

fn taken(layout: &Layout, checkpoint: &Checkpoint) {
    let specs = encoding::tensors(layout, "m").expect("tensors of codes that were found");
    let read = |checkpoint: &Checkpoint| encoding::decode(layout, "m", checkpoint, &Device::Cpu);
    let map = read(checkpoint).expect("codes that were found");
    assert_eq!(map.layout(), *layout);
    let (out, columns) = layout.shape();
    let weights = map.to_vec().expect("weights");
    assert_eq!(weights.len(), out * columns);
    let written = encoding::encode(&map, "m").expect("bytes");
    assert!(written.iter().map(|(spec, _)| &spec.name).eq(specs.iter().map(|spec| &spec.name)));
    let written = written.into_iter().map(|(spec, bytes)| (spec.name, spec.dtype.as_str(), spec.shape, bytes));
    let file = File::new(&written.collect::<Vec<_>>());
    let again = read(&file.open()).expect("what was written");
    let bits = |weights: &[f32]| weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    if weights.iter().all(|w| w.is_finite()) {
        assert_eq!(bits(&again.to_vec().expect("weights")), bits(&weights));
    }
}

/// A scale of inputs that is taken is above 0.
fn input(layout: &Layout, checkpoint: &Checkpoint) {
    match inputs::detect(layout, "m", checkpoint) {
        Err(problem) => assert_eq!(problem.pointer, "/tensors/m.input_scale"),
        Ok(form @ InputForm::StaticInt8 { .. }) => {
            if let Ok(input) = inputs::decode(form, layout, "m", checkpoint) {
                assert!(input.scale().is_some_and(|scale| scale > 0.0 && scale.is_finite()));
            }
        }
        Ok(other) => panic!("{other:?} of one scale"),
    }
}

/// Any words are a run of codes of each width, and the same words come of these again.
fn words(bytes: &[u8]) {
    let words: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
    for bits in [2, 4, 8] {
        let length = words.len() * pack::per_word(bits);
        let mut packed = Vec::new();
        pack::pack(pack::unpack(&words, length, bits), bits, &mut packed);
        assert_eq!(packed, words, "{bits} bits");
    }
}

/// Name, dtype, shape and bytes.
type Tensor = (String, &'static str, Vec<usize>, Vec<u8>);

fn tensors(bytes: &[u8]) -> Vec<Tensor> {
    let (heads, mut data) = bytes.split_at(bytes.len().min(3 * PARTS.len()));
    let mut found = Vec::new();
    for (part, head) in PARTS.iter().zip(heads.as_chunks::<3>().0) {
        let [what, sides @ ..] = head;
        if what & 1 == 0 {
            continue;
        }
        let (dtype, size) = DTYPES[usize::from(what >> 3) % DTYPES.len()];
        let shape: Vec<usize> =
            sides.iter().map(|side| usize::from(side % SIDE)).take(usize::from(what >> 1 & 3).min(2)).collect();
        let length = size * shape.iter().product::<usize>();
        let (held, left) = data.split_at(length.min(data.len()));
        data = left;
        let mut held = held.to_vec();
        held.resize(length, 0);
        found.push((format!("m.{part}"), dtype, shape, held));
    }
    found
}

static FILES: AtomicU64 = AtomicU64::new(0);

/// A file that goes when it is let go of.
struct File(PathBuf);

impl File {
    fn new(tensors: &[Tensor]) -> Self {
        let (mut header, mut data) = (Map::new(), Vec::new());
        for (name, dtype, shape, bytes) in tensors {
            let start = data.len();
            data.extend_from_slice(bytes);
            header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] }));
        }
        let header = Value::Object(header).to_string();
        let unique = format!("pare-codes-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).expect("a file");
        Self(path)
    }

    fn open(&self) -> Checkpoint {
        let size_bytes = fs::metadata(&self.0).expect("the file").len();
        let file = InputFile { path: "model.safetensors".into(), location: self.0.clone(), size_bytes, sha256: None };
        Checkpoint::open(&[file]).expect("a file that was written by the format's rules")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
