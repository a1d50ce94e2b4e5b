//! What is read out of the tensors' bytes.

use half::{bf16, f16};

use super::super::finite::not_finite;
use super::*;

#[test]
fn conversions_are_exact_at_any_address() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let f32s: Vec<f32> = (0..70_000).map(|i| f32::from_bits(i * 61_001)).collect();
    let floats: Vec<u8> = f32s.iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = format!(
        r#"{{"pad":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}},
            "f16":{{"dtype":"F16","shape":[256,256],"data_offsets":[1,131073]}},
            "bf16":{{"dtype":"BF16","shape":[65536],"data_offsets":[131073,262145]}},
            "f32":{{"dtype":"F32","shape":[70000],"data_offsets":[262145,{}]}}}}"#,
        262_145 + floats.len()
    );
    let data = [&[0], halves.as_slice(), &halves, &floats].concat();
    let model = Model::of(&[("model.safetensors", &container(&header, &data))]);
    let checkpoint = model.open().unwrap();
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let numbers = checkpoint.to_f32("f16").unwrap();
    assert!((0..=u16::MAX).zip(&numbers).all(|(bits, x)| same(f16::from_bits(bits).to_f32(), *x)));
    let numbers = checkpoint.to_f32("bf16").unwrap();
    assert!((0..=u16::MAX).zip(&numbers).all(|(bits, x)| same(bf16::from_bits(bits).to_f32(), *x)));
    let numbers = checkpoint.to_f32("f32").unwrap();
    assert!(f32s.iter().zip(&numbers).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(numbers.len(), 70_000);

    let problems = checkpoint.not_finite(Some(&["f16", "bf16", "f32"]), &Silent).unwrap();
    // Exponents of ones: 2 signs times 2^10 and 2^7 mantissas. The first is infinity.
    assert!(problems[0].detail.starts_with("2048 of its 65536"), "{}", problems[0]);
    assert!(problems[0].detail.contains("[124, 0]"), "{}", problems[0]);
    assert!(problems[1].detail.starts_with("256 of its 65536"), "{}", problems[1]);
    assert!(problems[1].detail.contains("[32640]"), "{}", problems[1]);
    let bad = f32s.iter().filter(|x| !x.is_finite()).count();
    assert!(bad > 0);
    assert!(problems[2].detail.starts_with(&format!("{bad} of its 70000")), "{}", problems[2]);
}

#[test]
fn eight_and_sixty_four_bit_floats_are_scanned_too() {
    let scan = |dtype, bytes: &[u8]| not_finite(dtype, bytes).map(|found| (found.count, found.first));
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(scan(Dtype::F8_E4M3, &all), Some((2, 0x7f)));
    assert_eq!(scan(Dtype::F8_E5M2, &all), Some((8, 0x7c)));
    assert_eq!(scan(Dtype::U8, &all), None);
    let doubles: Vec<u8> = [0.0, f64::MAX, f64::NEG_INFINITY, f64::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(scan(Dtype::F64, &doubles), Some((2, 2)));
}

#[test]
fn the_first_of_many_is_found_across_chunks() {
    let mut bytes = vec![0; 4 << 20];
    for at in [700_000, 800_000, 1_000_000] {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let found = not_finite(Dtype::F32, &bytes).unwrap();
    assert_eq!((found.count, found.first), (3, 700_000));
}
