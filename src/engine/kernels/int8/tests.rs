use proptest::prelude::*;

use super::*;

/// The dot product of AVX-512 VNNI, number by number: unsigned bytes with signed ones, sums modulo 2³².
#[derive(Debug, Clone, Copy)]
pub(super) struct Emulated;

impl Dot for Emulated {
    type Codes = [i8; 64];
    type Weights = [i8; 64];
    type Run = [u8; 4];
    type Sums = [i32; 16];

    const LANES: usize = 16;
    const SHIFT: u8 = 128;

    fn registers(codes: &[i8]) -> &[[i8; 64]] {
        codes.as_chunks().0
    }

    fn zero(self) -> [i32; 16] {
        [0; 16]
    }

    fn weights(self, codes: &[i8; 64]) -> [i8; 64] {
        *codes
    }

    fn run(self, codes: [u8; 4]) -> [u8; 4] {
        codes
    }

    fn add(self, mut sums: [i32; 16], run: [u8; 4], weights: [i8; 64]) -> [i32; 16] {
        for (row, sum) in sums.iter_mut().enumerate() {
            for (j, x) in run.iter().enumerate() {
                *sum = sum.wrapping_add(i32::from(*x) * i32::from(weights[4 * row + j]));
            }
        }
        sums
    }

    fn store(self, sums: [i32; 16], to: &mut [i32]) {
        to.copy_from_slice(&sums);
    }
}

/// Numbers that repeat late, with both signs.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + seed) * 7919 % 2003) as f32 / 500.0 - 2.0).collect()
}

/// All 256 codes, the largest of both signs in runs of four among them.
fn codes(count: usize) -> Vec<i8> {
    let code = |i: usize| match i % 97 {
        0..4 => -128,
        4..8 => 127,
        _ => ((i * 2_654_435_761) >> 9) as u8 as i8,
    };
    (0..count).map(code).collect()
}

/// The definition, in whole numbers of 64 bits.
fn by_definition(x: &[f32], codes: &[i8], scales: &[f32], bias: Option<&[f32]>, r#in: usize) -> Vec<f32> {
    let mut y = Vec::new();
    for token in x.chunks(r#in) {
        let largest = token.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let scale = if largest == 0.0 { 1.0 } else { largest / 127.0 };
        let rounded: Vec<i64> =
            token.iter().map(|x| (x / scale).round_ties_even().clamp(-127.0, 127.0) as i64).collect();
        for (row, codes) in codes.chunks(r#in).enumerate() {
            let sum: i64 = rounded.iter().zip(codes).map(|(x, w)| x * i64::from(*w)).sum();
            y.push(sum as f32 * (scale * scales[row]) + bias.map_or(0.0, |bias| bias[row]));
        }
    }
    y
}

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (2, 3, 5),
    (5, 16, 4),
    (7, 17, 33),
    (9, 31, 64),
    (13, 32, 7),
    (67, 20, 384),
    (8, 65, 130),
    (130, 33, 12),
];

#[test]
fn every_path_that_there_is_gives_the_bits_of_the_definition() {
    let mut paths = Path::all();
    for name in ["Avx512Vnni", "AvxVnni", "Avx2"] {
        if !paths.iter().any(|path| format!("{path:?}").starts_with(name)) {
            eprintln!("skipped: this processor has no {name}");
        }
    }
    paths.push(Path::Emulated(Emulated));
    for (tokens, out, r#in) in SHAPES {
        let (x, codes, scales) = (numbers(tokens * r#in, out), codes(out * r#in), numbers(out, 5));
        let bias = numbers(out, 11);
        for bias in [None, Some(bias.as_slice())] {
            let want = by_definition(&x, &codes, &scales, bias, r#in);
            for path in &paths {
                let packed = Packed::on(*path, &codes, &scales, (out, r#in)).unwrap();
                let found = packed.product(&x, bias, None);
                let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert!(bits(&found) == bits(&want), "{path:?} [{tokens}, {in}] to {out}", in = r#in);
            }
        }
    }
}

#[test]
fn the_largest_sums_neither_saturate_nor_overflow() {
    // Wide enough that a shifted sum passes 2³¹ on its way, and a pair of products the most that 16 bits must hold
    let r#in = MOST_COLUMNS;
    for (x, code) in [(1f32, -128i8), (-1.0, -128), (1.0, 127), (-1.0, 127)] {
        let (x, codes) = (vec![x; r#in], vec![code; r#in]);
        let want = 127.0 * f64::from(x[0]) * f64::from(code) * r#in as f64;
        for path in Path::all().into_iter().chain([Path::Emulated(Emulated)]) {
            let packed = Packed::on(path, &codes, &[127.0], (1, r#in)).unwrap();
            // A scale of 1/127, taken back by that of the row
            assert_eq!(f64::from(packed.product(&x, None, None)[0]), f64::from(want as f32), "{path:?} {code}");
        }
    }
    assert!(Packed::new(&vec![0; r#in + 1], &[1.0], (1, r#in + 1)).is_err());
}

#[test]
fn packed_codes_come_back_and_lie_where_the_loops_look() {
    for (_, out, r#in) in SHAPES {
        let codes = codes(out * r#in);
        for path in Path::all().into_iter().chain([Path::Emulated(Emulated)]) {
            let packed = Packed::on(path, &codes, &numbers(out, 0), (out, r#in)).unwrap();
            assert_eq!(packed.codes(), codes, "{path:?}");
            assert_eq!(packed.scales(), numbers(out, 0));
            let (rows, runs) = (REGISTERS * path.of().0, r#in.div_ceil(4));
            let last = (out - 1) * r#in + r#in - 1;
            let at = (((out - 1) / rows * runs + (r#in - 1) / 4) * rows + (out - 1) % rows) * 4 + (r#in - 1) % 4;
            assert_eq!(packed.codes[at], codes[last], "{path:?}");
        }
    }
    let packed = Packed::on(Path::Emulated(Emulated), &[1, -2, 3, 100], &[1.0, 1.0], (2, 2)).unwrap();
    assert_eq!(packed.shifts[..3], [-128, 128 * 103, 0]);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    assert!(Packed::new(&[1, 2, 3], &[1.0], (1, 2)).is_err());
    assert!(Packed::new(&[1, 2], &[1.0, 1.0], (1, 2)).is_err());
    assert!(Packed::new(&[], &[], (0, 0)).is_err());
    let packed = Arc::new(Packed::new(&[1, 2], &[1.0], (1, 2)).unwrap());
    let zeros =
        |rows: usize, columns: usize| Tensor::zeros((rows, columns), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(linear(&zeros(1, 3), &packed, None, None).is_err());
    assert!(linear(&zeros(1, 2), &packed, Some(&zeros(1, 2).flatten_all().unwrap()), None).is_err());
    assert_eq!(linear(&zeros(0, 2), &packed, None, None).unwrap().dims(), [0, 1]);
}

fn tensor(values: &[f32], columns: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    /// A power of two changes no mantissa, so codes stay and every step after them is exact.
    #[test]
    fn a_token_times_a_power_of_two_has_outputs_times_the_same(
        x in prop::collection::vec(-3f32..3.0, 24), power in -20i32..20, seed in 0usize..1000,
    ) {
        let codes: Vec<i8> = codes(24 * 5 + seed).split_off(seed);
        let packed = Arc::new(Packed::new(&codes, &numbers(5, seed), (5, 24)).unwrap());
        let factor = 2f32.powi(power);
        let scaled: Vec<f32> = x.iter().map(|x| x * factor).collect();
        let y = values(&linear(&tensor(&x, 24), &packed, None, None).unwrap());
        let other = values(&linear(&tensor(&scaled, 24), &packed, None, None).unwrap());
        prop_assert_eq!(y.iter().map(|y| y * factor).collect::<Vec<_>>(), other);
    }

    /// Numbers are off by half a step at most, and what is exact stays.
    #[test]
    fn rounding_is_off_by_half_a_step(x in prop::collection::vec(-3f32..3.0, 1..40)) {
        let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let rounded = values(&rounded(&tensor(&x, x.len()), None).unwrap());
        // a relative 2^-23 from the division, and as much from the product
        prop_assert!(x.iter().zip(&rounded).all(|(x, y)| (x - y).abs() <= largest / 254.0 + 3.0 * 2f32.powi(-23) * largest));
    }
}

#[test]
fn one_scale_for_all_is_the_token_s_own_where_they_are_equal_and_bounds_what_is_beyond() {
    let (x, codes) = (numbers(48, 3), codes(48 * 6));
    let packed = Arc::new(Packed::new(&codes, &numbers(6, 1), (6, 48)).unwrap());
    let own = x.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
    let x = tensor(&x, 48);
    for bias in [None, Some(Tensor::from_vec(numbers(6, 9), 6, &Device::Cpu).unwrap())] {
        let given = values(&linear(&x, &packed, bias.as_ref(), Some(own)).unwrap());
        assert_eq!(given, values(&linear(&x, &packed, bias.as_ref(), None).unwrap()));
    }
    assert_eq!(values(&rounded(&x, Some(own)).unwrap()), values(&rounded(&x, None).unwrap()));
    assert_eq!(values(&rounded(&tensor(&[9.0, -9.0, 0.26], 3), Some(0.0625)).unwrap()), [7.9375, -7.9375, 0.25]);
}

#[test]
fn whole_numbers_are_those_that_f32_would_find_of_rounded_inputs() {
    let (x, codes) = (tensor(&numbers(7 * 96, 3), 96), codes(96 * 10));
    let packed = Arc::new(Packed::new(&codes, &numbers(10, 1), (10, 96)).unwrap());
    let rounded = rounded(&x, None).unwrap();
    let want = values(&linear::linear(&rounded, &packed.dense().unwrap(), None).unwrap());
    let found = values(&linear(&x, &packed, None, None).unwrap());
    // f32 sums of 96 products of up to 2 · 256
    assert!(found.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-2), "{found:?} {want:?}");
}

#[test]
fn what_is_no_number_is_not_lost_and_zeros_are_zeros() {
    let packed = Arc::new(Packed::new(&[1, 2, 3], &[0.5], (1, 3)).unwrap());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let y = values(&linear(&tensor(&[0.0, bad, 0.0, 1.0, 1.0, 1.0], 3), &packed, None, None).unwrap());
        assert!(!y[0].is_finite() && (y[1] - 3.0).abs() < 1e-6, "{y:?}");
    }
    assert_eq!(values(&linear(&tensor(&[0.0; 3], 3), &packed, None, None).unwrap()), [0.0]);
    assert_eq!(values(&rounded(&tensor(&[0.0, -0.0], 2), None).unwrap()), [0.0, 0.0]);
}

#[test]
fn gradients_go_straight_through() {
    let packed = Arc::new(Packed::new(&codes(20), &numbers(4, 1), (4, 5)).unwrap());
    let x = candle_core::Var::from_tensor(&tensor(&numbers(10, 0), 5)).unwrap();
    let weights = tensor(&numbers(8, 2), 4);
    let through = |y: &Tensor| {
        let store = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        values(store.get(&x).unwrap())
    };
    let want = through(&linear::linear(&x, &packed.dense().unwrap(), None).unwrap());
    // f32 sums of four products of up to 256, in another order
    let is_near = |found: &[f32]| found.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-3);
    assert!(is_near(&through(&linear(&x, &packed, None, None).unwrap())));
    let rounded = rounded(&x, None).unwrap();
    assert!(is_near(&through(&linear::linear(&rounded, &packed.dense().unwrap(), None).unwrap())));
}
