use safetensors::tensor::{Dtype as Theirs, TensorView, serialize};
use tempfile::TempDir;

use super::super::{pack, verify};
use super::*;

type Tensor = (&'static str, Theirs, Vec<usize>, Vec<u8>);

/// A file of these tensors of the module `m`.
fn opened(tensors: &[Tensor]) -> (TempDir, Checkpoint) {
    let folder = TempDir::new().unwrap();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (format!("m.{name}"), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let file = serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let checkpoint = Checkpoint::open(&[verify::input(folder.path(), "model.safetensors").unwrap()]).unwrap();
    (folder, checkpoint)
}

fn found(tensors: &[Tensor]) -> std::result::Result<Option<Layout>, Contradiction> {
    detect("m", &opened(tensors).1, &|_| None, false)
}

fn numbers(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn halves(count: usize) -> Vec<u8> {
    float_bytes(&vec![0.5; count], Dtype::F16)
}

/// Codes of 3 rows and 20 columns in words, as compressed-tensors packs them.
fn words(codes: &[i8], bits: u32) -> Vec<Tensor> {
    let mut words = Vec::new();
    codes.chunks(20).for_each(|row| pack::pack(row.iter().copied(), bits, &mut words));
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    vec![
        ("weight_packed", Theirs::I32, vec![3, words.len() / 3], bytes),
        ("weight_scale", Theirs::F16, vec![3, 1], halves(3)),
        ("weight_shape", Theirs::I64, vec![2], numbers(&[3, 20])),
    ]
}

#[test]
fn codes_of_two_bits_are_read_out_of_words_and_written_bit_after_bit() {
    let codes: Vec<i8> = (0..60).map(|i| (i * 7 % 4) as i8 - 2).collect();
    let (_folder, checkpoint) = opened(&words(&codes, 2));
    let layout = detect("m", &checkpoint, &|_| None, false).unwrap().unwrap();
    assert_eq!(layout.bits(), 2);
    let map = decode(&layout, "m", &checkpoint, &Device::Cpu).unwrap();
    let LinearMap::Grouped(grouped) = &map else { panic!("{map:?}") };
    assert_eq!(grouped.codes, codes);
    let has = |name: &str| checkpoint.get(name).is_some();
    let replaced: Vec<_> = tensors_found(&layout, "m", &has).unwrap().into_iter().map(|spec| spec.name).collect();
    assert_eq!(replaced, ["m.weight_packed", "m.weight_scale", "m.weight_shape"]);
    let written = encode(&map, "m").unwrap();
    let names: Vec<_> = written.iter().map(|(spec, _)| spec.name.as_str()).collect();
    assert_eq!(names, ["m.weight_bits", "m.weight_scale", "m.weight_shape"]);
    assert_eq!(written[0].1.len(), 3 * 5);
}

#[test]
fn what_would_be_read_wrongly_is_refused_by_its_name() {
    let refused = |tensors: &[Tensor]| found(tensors).map(|layout| layout.map(|found| found.shape())).unwrap_err().0;
    let int8 = |zeros: Vec<u8>| {
        vec![
            ("weight", Theirs::I8, vec![2, 3], vec![1; 6]),
            ("weight_scale", Theirs::F16, vec![2, 1], halves(2)),
            ("weight_zero_point", Theirs::I8, vec![2, 1], zeros),
        ]
    };
    assert_eq!(refused(&int8(vec![0, 7])), "m.weight_zero_point");
    assert!(found(&int8(vec![0, 0])).is_ok(), "zero points that say nothing");
    let four = words(&[1; 60], 4);
    assert!(found(&four).is_ok());
    let with = |more: Tensor| [four.clone(), vec![more]].concat();
    let order = ("weight_g_idx", Theirs::I32, vec![20], vec![0; 80]);
    assert_eq!(refused(&with(order)), "m.weight_g_idx");
    assert_eq!(refused(&with(("weight", Theirs::F32, vec![3, 20], vec![0; 240]))), "m.weight_packed");
    // Not packed down the rows
    let zeros = ("weight_zero_point", Theirs::I8, vec![3, 1], vec![0; 3]);
    assert_eq!(refused(&with(zeros)), "m.weight_zero_point");
    let codebook = |indices: Vec<usize>| {
        vec![
            ("weight_indices", Theirs::U8, indices, vec![0x10; 4]),
            ("weight_codebook", Theirs::F16, vec![1, 16], halves(16)),
            ("weight_codebook_shape", Theirs::I64, vec![3], numbers(&[2, 4, 0])),
        ]
    };
    assert!(found(&codebook(vec![4])).is_ok());
    assert_eq!(refused(&codebook(vec![1, 4])), "m.weight_indices");
}
